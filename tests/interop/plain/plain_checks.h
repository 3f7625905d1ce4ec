// SPDX-License-Identifier: BSD-3-Clause
// The checks of `plain_client check`: what an appliance must answer to a sound client, and to one that does
// wrong.
#pragma once

#include "plain_rdma.h"

enum { kMaxGrants = 8, kGrantNameBytes = 16 };

// What every check is given.
struct checking {
    const char *server, *port;
    const char* held;  // file that says that the appliance stands still
    struct {
        char name[kGrantNameBytes];
        uint8_t bytes[kGrantBytes];
    } grants[kMaxGrants];
    unsigned grant_count;
    uint8_t* shadow;  // what the region must hold, byte for byte; zeros at first
    uint64_t shadow_bytes;
    char why[400];  // of a failure
};

struct check {
    const char* name;
    bool (*run)(struct checking* all);  // false: all->why says why
};

enum { kAround = 64 };  // bytes looked at on either side of what was written

extern const struct check kDataChecks[];  // ended by a null name
extern const struct check kAtomicChecks[];
extern const struct check kRefusalChecks[];
extern const struct check kHeldChecks[];  // need an appliance that is held for a while: see --held

// The grant of that name; ends the program if there is none, since then the caller forgot it.
const uint8_t* grant_named(const struct checking* all, const char* name);
// Connects with the grant; false with all->why set.
bool open_with(struct checking* all, struct link* link, const char* grant);
// Connects as the options say; server, port and grant are filled in.
bool open_as(struct checking* all, struct link* link, const char* grant, struct link_options options);
// READs [offset, offset + bytes) and compares with the shadow.
bool holds(struct checking* all, struct link* link, uint64_t offset, uint32_t bytes);
// WRITEs bytes that differ from one place and size to the next, here and into the shadow.
bool store(struct checking* all, struct link* link, uint64_t offset, uint32_t bytes,
           enum ibv_wr_opcode opcode);
// Says that it is time to hold the appliance, and returns when that is done.
bool wait_until_held(struct checking* all);
bool unlike(struct checking* all, const char* format, ...) __attribute__((format(printf, 2, 3)));
// True if the status is the one; or all->why says what was done and what came instead.
bool expect_status(struct checking* all, const char* what, enum ibv_wc_status got, enum ibv_wc_status wanted);
