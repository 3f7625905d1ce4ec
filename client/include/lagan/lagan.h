/* SPDX-License-Identifier: BSD-3-Clause */
/* liblagan: far memory without paging. Read byte ranges of a region in place, store and free pages of it.
 *
 * lagan_open() is for an appliance on this machine; a process may call it with success once in its life
 * (DPDK's environment runs in it). lagan_open_verbs() is for this machine's RDMA device, and any number of
 * connections. lagan_open_managed() finds the region through its manager, wherever it lives, also when that
 * changes: through an RDMA device, or (once, as lagan_open()) a network interface. All calls on one
 * connection come from one thread. Sizes and offsets are bytes unless a name says pages; a page is
 * LAGAN_PAGE_BYTES. Functions that can fail return a lagan_status; lagan_error() says more in words. C++: see
 * lagan.hpp. */
/* C, whoever includes it. NOLINTBEGIN(modernize-deprecated-headers,modernize-use-using) */
#ifndef LAGAN_LAGAN_H
#define LAGAN_LAGAN_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define LAGAN_PAGE_BYTES 4096
#define LAGAN_GRANT_BYTES 56

typedef enum lagan_status {
    LAGAN_OK = 0,
    LAGAN_ACCESS = 1,    /* outside the region, or a right that the connection does not have */
    LAGAN_INVALID = 2,   /* a request that the appliance does not understand */
    LAGAN_NO_FRAMES = 3, /* the appliance has no memory left for the page, or the page is damaged there */
    LAGAN_LOST = 4,      /* the connection has failed: what was not completed may or may not have happened */
    LAGAN_BUSY = 5,      /* the send queue is full: call lagan_poll() and try again */
    /* The connection has failed for good: after a failover, stores that were acknowledged are missing. */
    LAGAN_ROLLED_BACK = 6
} lagan_status;

typedef enum lagan_role { LAGAN_READ = 1, LAGAN_WRITE = 2 } lagan_role;

typedef struct lagan_region lagan_region;

typedef struct lagan_completion {
    uint64_t cookie;
    lagan_status status;
} lagan_completion;

/* Connects to a region that exists, through the appliance's node API socket (null: /run/lagan/lagand.sock).
 * Null on failure: then `error` (may be null) holds one line, cut to `error_bytes`. */
lagan_region* lagan_open(const char* appliance_socket, const char* region, lagan_role role, char* error,
                         size_t error_bytes);
/* Connects through an RDMA device (an RNIC, or rxe) to the appliance at `address` ("10.77.0.1" or
 * "10.77.0.1:7471"). `grant`: LAGAN_GRANT_BYTES bytes from the appliance's node API; it says which region,
 * and which role. */
lagan_region* lagan_open_verbs(const char* address, const void* grant, char* error, size_t error_bytes);

/* Who knows where a region lives. Texts that are not needed are null; all are copied. */
typedef struct lagan_manager {
    const char* urls;       /* "https://far:7480"; of a cluster, several with commas between */
    const char* token_file; /* a file with the token */
    const char* ca_file;    /* of the manager's certificate; null: the system's */
    const char* interface;  /* null: an RDMA device. Else a network interface that leads to the appliances */
    const char* local_address;   /* an address there that nobody has, not the kernel either: "10.77.0.9/24" */
    int continue_after_rollback; /* 0: operations fail with LAGAN_ROLLED_BACK when stores are missing */
} lagan_manager;

/* Connects to a region that exists, where its manager says. With lagan_reconnect(), the connection follows
 * the region after a failover or a move. */
lagan_region* lagan_open_managed(const lagan_manager* manager, const char* region, lagan_role role,
                                 char* error, size_t error_bytes);
void lagan_close(lagan_region* region);

/* Optional: memory that many operations will use. An RDMA device reaches it without a copy from then on. It
 * must stay allocated until the last operation has been posted. Counts against RLIMIT_MEMLOCK; when that is
 * too small, the status is LAGAN_LOST, lagan_error() says so, and the connection goes on. */
lagan_status lagan_register(lagan_region* region, void* memory, size_t bytes);

/* From now on, a connection that is lost is made again by itself, and what was not acknowledged is repeated:
 * operations take longer, for so many seconds at most until the status is LAGAN_LOST. 0, as after opening: at
 * once. Meanwhile lagan_poll() may block for a quarter of a second, or for one when a manager does not
 * answer. */
void lagan_reconnect(lagan_region* region, unsigned seconds);

uint64_t lagan_size(const lagan_region* region);
/* One line about what went wrong with the connection; empty while it is well. Valid until the next call. */
const char* lagan_error(const lagan_region* region);

/* Blocking. Any byte range; whole pages for stores and frees. A store is done, and safe, when this returns
 * LAGAN_OK. Only while nothing asynchronous is outstanding. */
lagan_status lagan_read(lagan_region* region, uint64_t offset, void* to, uint64_t bytes);
lagan_status lagan_store(lagan_region* region, uint64_t first_page, const void* from, uint64_t pages);
lagan_status lagan_free(lagan_region* region, uint64_t first_page, uint64_t pages);

/* Asynchronous. LAGAN_OK: accepted, and a completion with the cookie will come out of lagan_poll().
 * LAGAN_BUSY: not now. Buffers belong to the library until then. At most 1 GiB each. On one page a store or
 * free takes effect before what is posted after it; but wait for the completion of a read before storing or
 * freeing what it reads (it may be executed again when its answer is lost). */
lagan_status lagan_post_read(lagan_region* region, uint64_t cookie, uint64_t offset, void* to,
                             uint32_t bytes);
lagan_status lagan_post_store(lagan_region* region, uint64_t cookie, uint64_t page, const void* from);
lagan_status lagan_post_free(lagan_region* region, uint64_t cookie, uint64_t first_page, uint32_t pages);
/* Drives the connection and returns how many completions it filled in; never blocks (but see
 * lagan_reconnect()). Call it often while
 * anything is outstanding, and now and then otherwise. */
size_t lagan_poll(lagan_region* region, lagan_completion* completions, size_t count);

#ifdef __cplusplus
}
#endif

#endif
/* NOLINTEND(modernize-deprecated-headers,modernize-use-using) */
