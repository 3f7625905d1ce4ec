/* SPDX-License-Identifier: BSD-3-Clause */
/* A C program on liblagan, over an RDMA device: far_words ADDRESS GRANT(112 hexadecimal digits). Ends with
 * "all right". */
#include <lagan/lagan.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { kPages = 64, kDepth = 16 };

static _Alignas(LAGAN_PAGE_BYTES) unsigned char written[kPages][LAGAN_PAGE_BYTES];
static unsigned char read_back[kPages * LAGAN_PAGE_BYTES];

static void check(int good, const char* what, lagan_region* region) {
    if (good) return;
    printf("wrong: %s: %s\n", what, region ? lagan_error(region) : "");
    exit(1);
}

static void read_grant(const char* digits, unsigned char* grant) {
    check(strlen(digits) == 2 * LAGAN_GRANT_BYTES, "a grant has 112 digits", NULL);
    for (int i = 0; i < LAGAN_GRANT_BYTES; i++) {
        unsigned byte = 0;
        check(sscanf(digits + 2 * i, "%2x", &byte) == 1, "a digit of the grant", NULL);
        grant[i] = (unsigned char)byte;
    }
}

/* Reads all pages, some at a time. */
static void read_asynchronously(lagan_region* region) {
    uint64_t posted = 0, done = 0;
    while (done < kPages) {
        while (posted < kPages && posted - done < kDepth &&
               lagan_post_read(region, posted, posted * LAGAN_PAGE_BYTES,
                               read_back + posted * LAGAN_PAGE_BYTES, LAGAN_PAGE_BYTES) == LAGAN_OK)
            posted++;
        lagan_completion completions[kDepth];
        const size_t count = lagan_poll(region, completions, kDepth);
        for (size_t i = 0; i < count; i++, done++)
            check(completions[i].status == LAGAN_OK, "a READ's status", region);
    }
}

int main(int argc, char** argv) {
    unsigned char grant[LAGAN_GRANT_BYTES], wrong[LAGAN_GRANT_BYTES];
    char error[256] = "";
    check(argc == 3, "usage: far_words ADDRESS GRANT", NULL);
    read_grant(argv[2], grant);

    memcpy(wrong, grant, sizeof wrong);
    wrong[LAGAN_GRANT_BYTES - 1] ^= 1;
    check(lagan_open_verbs(argv[1], wrong, error, sizeof error) == NULL && strstr(error, "signature"),
          "a forged grant is refused with a reason", NULL);

    lagan_region* region = lagan_open_verbs(argv[1], grant, error, sizeof error);
    if (region == NULL) {
        printf("wrong: %s\n", error);
        return 1;
    }
    check(lagan_register(region, written, sizeof written) == LAGAN_OK, "registering", region);
    for (int page = 0; page < kPages; page++)
        memset(written[page], 'a' + page % 26, LAGAN_PAGE_BYTES);
    check(lagan_store(region, 0, written, kPages) == LAGAN_OK, "storing", region);
    read_asynchronously(region);
    check(memcmp(read_back, written, sizeof written) == 0, "what was stored comes back", region);
    check(lagan_free(region, 1, 2) == LAGAN_OK, "freeing", region);
    /* Not registered, and more than is copied. */
    memset(read_back, 'x', sizeof read_back);
    check(lagan_read(region, 0, read_back, 4 * LAGAN_PAGE_BYTES) == LAGAN_OK, "reading", region);
    check(read_back[LAGAN_PAGE_BYTES] == 0 && read_back[3 * LAGAN_PAGE_BYTES] == 'd', "freed pages are zeros",
          region);
    check(lagan_read(region, lagan_size(region), read_back, 1) == LAGAN_ACCESS, "beyond the end", region);

    /* A second connection of the same process, beside the first. */
    lagan_region* second = lagan_open_verbs(argv[1], grant, error, sizeof error);
    check(second != NULL && lagan_read(second, 0, read_back, 1) == LAGAN_OK && read_back[0] == 'a',
          "a second connection", region);
    lagan_close(second);
    check(lagan_read(region, 0, read_back, 1) == LAGAN_OK, "the first one goes on", region);
    lagan_close(region);
    puts("all right");
    return 0;
}
