/* SPDX-License-Identifier: BSD-3-Clause */
/* Far memory from C: stores pages, reads a byte range back, frees a page, and keeps many reads outstanding.
 *
 *   far_notes SOCKET REGION        the region is there already, 64 pages or more */
#include <lagan/lagan.h>
#include <stdio.h>
#include <string.h>

enum { kPages = 64, kDepth = 16 };

static unsigned char page[LAGAN_PAGE_BYTES];
static unsigned char buffers[kDepth][LAGAN_PAGE_BYTES];

static int failed(const lagan_region* region, const char* what, lagan_status status) {
    if (status == LAGAN_OK) return 0;
    fprintf(stderr, "%s: status %d %s\n", what, (int)status, lagan_error(region));
    return 1;
}

/* All pages once more, sixteen reads at a time. The cookie says which buffer a completion is about. */
static int read_all(lagan_region* region) {
    uint64_t idle[kDepth], posted = 0, done = 0;
    size_t idle_count = 0;
    while (idle_count < kDepth) {
        idle[idle_count] = idle_count;
        idle_count++;
    }
    while (done < kPages) {
        while (posted < kPages && idle_count > 0) {
            const uint64_t cookie = idle[idle_count - 1];
            const lagan_status status =
                lagan_post_read(region, cookie, posted * LAGAN_PAGE_BYTES, buffers[cookie], LAGAN_PAGE_BYTES);
            if (status == LAGAN_BUSY) break;
            if (failed(region, "post_read", status)) return 1;
            idle_count--;
            posted++;
        }
        lagan_completion completions[kDepth];
        const size_t count = lagan_poll(region, completions, kDepth);
        for (size_t i = 0; i < count; i++) {
            if (failed(region, "read", completions[i].status)) return 1;
            idle[idle_count++] = completions[i].cookie; /* its buffer may be looked at, and used again */
        }
        done += count;
    }
    printf("%d pages read, %d at a time\n", kPages, kDepth);
    return 0;
}

static int work(lagan_region* region) {
    for (uint64_t i = 0; i < kPages; i++) {
        memset(page, 0, sizeof page);
        snprintf((char*)page, sizeof page, "note %d", (int)i);
        if (failed(region, "store", lagan_store(region, i, page, 1))) return 1;
    }
    char text[8] = "";
    if (failed(region, "read", lagan_read(region, 7 * LAGAN_PAGE_BYTES, text, sizeof text - 1))) return 1;
    printf("page 7 begins with \"%s\"\n", text);

    if (failed(region, "free", lagan_free(region, 7, 1))) return 1;
    if (failed(region, "read", lagan_read(region, 7 * LAGAN_PAGE_BYTES, text, sizeof text - 1))) return 1;
    printf("freed, it begins with a byte of %d\n", text[0]);
    return read_all(region);
}

int main(int argc, char** argv) {
    if (argc != 3) {
        fprintf(stderr, "usage: far_notes SOCKET REGION\n");
        return 2;
    }
    char why[256];
    lagan_region* region = lagan_open(argv[1], argv[2], LAGAN_WRITE, why, sizeof why);
    if (region == NULL) {
        fprintf(stderr, "far_notes: %s\n", why);
        return 1;
    }
    printf("%s has %llu bytes\n", argv[2], (unsigned long long)lagan_size(region));
    const int status = work(region);
    lagan_close(region);
    return status;
}
