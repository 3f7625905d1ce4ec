/* SPDX-License-Identifier: BSD-3-Clause */
/* A program on liblagan whose appliance is restarted under it: far_restart SOCKET REGION. Stores and checks
 * pages until its standard input ends; then it says how often it did. Exit status 0: every page was right. */
#include <lagan/lagan.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>

#define PAGES 256
#define DEPTH 16

static char buffers[DEPTH][LAGAN_PAGE_BYTES];

static void fill(char* page, unsigned number, unsigned round) {
    memset(page, (int)(number * 7 + round) | 1, LAGAN_PAGE_BYTES);
}

static int check(lagan_region* region, const char* what, lagan_status status) {
    if (status != LAGAN_OK) printf("%s: status %d: %s\n", what, (int)status, lagan_error(region));
    return status == LAGAN_OK;
}

/* DEPTH pages from `first` on, all outstanding at once. */
static int store_some(lagan_region* region, unsigned first, unsigned round) {
    for (unsigned posted = 0, done = 0; done < DEPTH;) {
        if (posted < DEPTH) {
            fill(buffers[posted], first + posted, round);
            const lagan_status status = lagan_post_store(region, posted, first + posted, buffers[posted]);
            if (status == LAGAN_OK) posted++;
            if (status != LAGAN_BUSY && !check(region, "posting", status)) return 0;
        }
        lagan_completion found[DEPTH];
        const size_t count = lagan_poll(region, found, DEPTH);
        for (size_t i = 0; i < count; i++) {
            if (!check(region, "a store", found[i].status)) return 0;
        }
        done += (unsigned)count;
    }
    return 1;
}

static int is_right(lagan_region* region, unsigned number, unsigned round) {
    static char found[LAGAN_PAGE_BYTES], expected[LAGAN_PAGE_BYTES];
    fill(expected, number, round);
    if (!check(region, "a read",
               lagan_read(region, (uint64_t)number * LAGAN_PAGE_BYTES, found, sizeof found)))
        return 0;
    if (memcmp(found, expected, sizeof found) == 0) return 1;
    printf("page %u is wrong in round %u: %d instead of %d\n", number, round, found[0], expected[0]);
    return 0;
}

int main(int argc, char** argv) {
    char error[256];
    lagan_region* region = argc == 3 ? lagan_open(argv[1], argv[2], LAGAN_WRITE, error, sizeof error) : NULL;
    if (region == NULL) {
        printf("%s\n", argc == 3 ? error : "far_restart SOCKET REGION");
        return 2;
    }
    lagan_reconnect(region, 100);
    struct pollfd input = {.fd = 0, .events = POLLIN};
    unsigned round = 0;
    for (; poll(&input, 1, 0) == 0; round++) {
        for (unsigned first = 0; first < PAGES; first += DEPTH) {
            if (!store_some(region, first, round)) return 1;
        }
        if (round % 4 == 3 && !check(region, "a free", lagan_free(region, 0, 8))) return 1;
        for (unsigned number = 8; number < PAGES; number += 5) {
            if (!is_right(region, number, round)) return 1;
        }
    }
    printf("all right after %u rounds\n", round);
    lagan_close(region);
    return 0;
}
