// SPDX-License-Identifier: BSD-3-Clause
// Checks of CmpSwap and FetchAdd. A misaligned one never leaves a Linux host: its own library refuses to post
// it.
#include <string.h>

#include "plain_checks.h"

static uint64_t word_at(const uint8_t* bytes) {
    uint64_t word;
    memcpy(&word, bytes, sizeof word);  // an atomic's words are in the client's byte order on its own side
    return word;
}

static struct ibv_send_wr atomic_work(const struct link* link, struct ibv_sge* sge, enum ibv_wr_opcode opcode,
                                      uint64_t offset, uint32_t rkey, uint64_t compare_add, uint64_t swap) {
    struct ibv_send_wr wr = work(link, sge, opcode, 0, 8);
    wr.wr.atomic.remote_addr = offset;
    wr.wr.atomic.rkey = rkey;
    wr.wr.atomic.compare_add = compare_add;
    wr.wr.atomic.swap = swap;
    return wr;
}

// One atomic on the 8 bytes at `offset`; the word that was there comes back.
static bool atomic(struct checking* all, struct link* link, enum ibv_wr_opcode opcode, uint64_t offset,
                   uint64_t compare_add, uint64_t swap, uint64_t* before) {
    struct ibv_sge sge;
    struct ibv_send_wr wr =
        atomic_work(link, &sge, opcode, offset, link->welcome.data_rkey, compare_add, swap);
    if (!expect_status(all, "an atomic", run_work(link, &wr), IBV_WC_SUCCESS)) return false;
    *before = word_at(link->memory);
    return true;
}

// The word in memory, and that nothing beside it has changed.
static bool word_is(struct checking* all, struct link* link, uint64_t offset, uint64_t value) {
    memcpy(all->shadow + offset, &value, sizeof value);
    return holds(all, link, offset < kAround ? 0 : offset - kAround, 2 * kAround);
}

static bool cmp_swap_at(struct checking* all, struct link* link, uint64_t offset) {
    uint64_t before, first;
    memcpy(&first, all->shadow + offset, sizeof first);
    if (!atomic(all, link, IBV_WR_ATOMIC_CMP_AND_SWP, offset, first, 0x1122334455667788, &before))
        return false;
    if (before != first)
        return unlike(all, "CmpSwap brought %llx, not what was there", (unsigned long long)before);
    if (!word_is(all, link, offset, 0x1122334455667788)) return false;
    if (!atomic(all, link, IBV_WR_ATOMIC_CMP_AND_SWP, offset, first + 1, 7, &before)) return false;
    if (before != 0x1122334455667788)
        return unlike(all, "CmpSwap brought %llx back", (unsigned long long)before);
    return word_is(all, link, offset, 0x1122334455667788);
}

static bool fetch_add_at(struct checking* all, struct link* link, uint64_t offset) {
    uint64_t before, first;
    memcpy(&first, all->shadow + offset, sizeof first);
    for (uint64_t i = 0; i < 4; ++i) {
        const uint64_t step = i == 0 ? ~0ULL : 0x0100000000000003;  // a carry through the whole word, too
        if (!atomic(all, link, IBV_WR_ATOMIC_FETCH_AND_ADD, offset, step, 0, &before)) return false;
        if (before != first) return unlike(all, "FetchAdd brought %llx back", (unsigned long long)before);
        first += step;
    }
    return word_is(all, link, offset, first);
}

static bool atomics(struct checking* all, bool (*at)(struct checking*, struct link*, uint64_t)) {
    struct link link;
    // The first word of a page, the last one, and one of a page that nobody has stored.
    bool good = open_with(all, &link, "write") && store(all, &link, 1 << 20, 8192, IBV_WR_RDMA_WRITE) &&
                at(all, &link, 1 << 20) && at(all, &link, (1 << 20) + 4088) && at(all, &link, 3 << 20);
    link_close(&link);
    return good;
}

static bool cmp_swap(struct checking* all) {
    return atomics(all, cmp_swap_at);
}

static bool fetch_add(struct checking* all) {
    return atomics(all, fetch_add_at);
}

// An atomic that must be refused, and what it must leave alone.
static bool refused(struct checking* all, const char* grant, uint64_t offset, uint32_t wrong_rkey) {
    struct link link;
    struct ibv_sge sge;
    bool good = open_with(all, &link, grant);
    if (good) {
        struct ibv_send_wr wr = atomic_work(&link, &sge, IBV_WR_ATOMIC_FETCH_AND_ADD, offset,
                                            wrong_rkey != 0 ? wrong_rkey : link.welcome.data_rkey, 1, 0);
        good = expect_status(all, "FetchAdd", run_work(&link, &wr), IBV_WC_REM_ACCESS_ERR);
    }
    link_close(&link);
    good = good && open_with(all, &link, "read");
    if (!good) return false;
    good = holds(all, &link, 0, 4096);
    link_close(&link);
    return good;
}

static bool role_read_may_not_add(struct checking* all) {
    return refused(all, "read", 0, 0);
}

static bool atomic_with_a_wrong_rkey(struct checking* all) {
    return refused(all, "write", 16, 0x66600000);
}

static bool atomic_out_of_range(struct checking* all) {
    return refused(all, "write", all->shadow_bytes, 0);
}

const struct check kAtomicChecks[] = {
    {"cmp_swap", cmp_swap},
    {"fetch_add", fetch_add},
    {"role_read_may_not_add", role_read_may_not_add},
    {"atomic_with_a_wrong_rkey", atomic_with_a_wrong_rkey},
    {"atomic_out_of_range", atomic_out_of_range},
    {NULL, NULL},
};
