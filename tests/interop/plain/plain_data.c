// SPDX-License-Identifier: BSD-3-Clause
// Checks of what a sound client may do: READs, WRITEs and capsules, and that memory holds what it
// must.
#include <string.h>

#include "plain_checks.h"

enum { kCapsuleFree = 1, kCapsuleInfo = 3, kHeader = 16 };

static const uint64_t kMagic = 0x4c4147414e444c31;  // of dirty list memory

static void fill(uint8_t* bytes, size_t count, uint64_t seed) {
    uint64_t state = seed * 0x9e3779b97f4a7c15U + 1;
    for (size_t i = 0; i < count; ++i) {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes[i] = (uint8_t)state;
    }
}

bool holds(struct checking* all, struct link* link, uint64_t offset, uint32_t bytes) {
    memset(link->memory, 0xee, bytes);
    const enum ibv_wc_status status =
        run_rdma(link, IBV_WR_RDMA_READ, 0, bytes, offset, link->welcome.data_rkey);
    if (!expect_status(all, "READ", status, IBV_WC_SUCCESS)) return false;
    for (uint32_t i = 0; i < bytes; ++i)
        if (link->memory[i] != all->shadow[offset + i])
            return unlike(all, "READ of %u bytes at %llu: byte %u is %02x, not %02x", bytes,
                          (unsigned long long)offset, i, link->memory[i], all->shadow[offset + i]);
    return true;
}

bool store(struct checking* all, struct link* link, uint64_t offset, uint32_t bytes,
           enum ibv_wr_opcode opcode) {
    struct ibv_sge sge;
    struct ibv_send_wr wr = work(link, &sge, opcode, 0, bytes);
    fill(link->memory, bytes, offset + bytes);
    wr.wr.rdma.remote_addr = offset;
    wr.wr.rdma.rkey = link->welcome.data_rkey;
    wr.imm_data = 0x12345678;
    if (!expect_status(all, "WRITE", run_work(link, &wr), IBV_WC_SUCCESS)) return false;
    memcpy(all->shadow + offset, link->memory, bytes);
    return true;
}

static bool write_then_read(struct checking* all, uint32_t bytes, enum ibv_wr_opcode opcode) {
    // Aligned, at the first and the last byte of a page, odd, and up to the end of the region.
    const uint64_t offsets[] = {0, 8192, 1, 4095, 12289, 65536 + 777, all->shadow_bytes - bytes};
    struct link link;
    bool good = open_with(all, &link, "write");
    for (size_t i = 0; good && i < sizeof offsets / sizeof *offsets; ++i) {
        const uint64_t begin = offsets[i] < kAround ? 0 : offsets[i] - kAround;
        uint64_t end = offsets[i] + bytes + kAround;
        if (end > all->shadow_bytes) end = all->shadow_bytes;
        good = store(all, &link, offsets[i], bytes, opcode) && holds(all, &link, offsets[i], bytes) &&
               holds(all, &link, begin, (uint32_t)(end - begin));
    }
    link_close(&link);
    return good;
}

#define SIZE_CHECK(SIZE)                                       \
    static bool write_then_read_##SIZE(struct checking* all) { \
        return write_then_read(all, SIZE, IBV_WR_RDMA_WRITE);  \
    }
SIZE_CHECK(0)
SIZE_CHECK(1)
SIZE_CHECK(4095)
SIZE_CHECK(4096)
SIZE_CHECK(4097)
SIZE_CHECK(1048576)

static bool write_with_immediate(struct checking* all) {
    return write_then_read(all, 1, IBV_WR_RDMA_WRITE_WITH_IMM) &&
           write_then_read(all, 4097, IBV_WR_RDMA_WRITE_WITH_IMM);
}

// C9-88: an operation of no bytes needs no R_Key.
static bool nothing_needs_no_rkey(struct checking* all) {
    struct link link;
    const bool good =
        open_with(all, &link, "write") &&
        expect_status(all, "READ", run_rdma(&link, IBV_WR_RDMA_READ, 0, 0, ~0U, 0x666), IBV_WC_SUCCESS) &&
        expect_status(all, "WRITE", run_rdma(&link, IBV_WR_RDMA_WRITE, 0, 0, ~0U, 0x666), IBV_WC_SUCCESS);
    link_close(&link);
    return good;
}

// Many READs at once, as many as were negotiated in flight: each gets its own bytes.
static bool reads_in_flight(struct checking* all) {
    enum { kReads = 48, kBytes = 8192 };
    struct link link;
    bool good =
        open_with(all, &link, "write") && store(all, &link, 0, kReads * 4096 + kBytes, IBV_WR_RDMA_WRITE);
    if (good) memset(link.memory, 0xee, kMemoryBytes);
    for (unsigned i = 0; good && i < kReads; ++i) {
        struct ibv_sge sge;
        struct ibv_send_wr wr = work(&link, &sge, IBV_WR_RDMA_READ, i * kBytes, kBytes);
        wr.wr_id = i;
        wr.wr.rdma.remote_addr = i * 4096;
        wr.wr.rdma.rkey = link.welcome.data_rkey;
        good = post(&link, &wr) || unlike(all, "%s", link.error);
    }
    for (unsigned i = 0; good && i < kReads; ++i) {
        struct ibv_wc wc;
        if (!next_completion(&link, &wc))
            good = unlike(all, "%s", link.error);
        else if (!expect_status(all, "a READ of many", wc.status, IBV_WC_SUCCESS))
            good = false;
        else if (wc.wr_id != i)
            good = unlike(all, "READ %u completed in place of %u", (unsigned)wc.wr_id, i);
        else if (memcmp(link.memory + i * kBytes, all->shadow + i * 4096, kBytes) != 0)
            good = unlike(all, "READ %u brought other bytes", i);
    }
    link_close(&link);
    return good;
}

// --- capsules

static void capsule(uint8_t* bytes, uint8_t version, uint8_t opcode, uint32_t tag, uint32_t count) {
    memset(bytes, 0, kHeader);
    bytes[0] = version;
    bytes[1] = opcode;
    store_be(bytes + 4, tag, 4);
    store_be(bytes + 8, count, 4);
}

// Sends the capsule; its reply must have this length and status.
static bool capsule_reply(struct checking* all, struct link* link, const uint8_t* request, uint32_t bytes,
                          int length, uint64_t status, const uint8_t** reply) {
    const int got = exchange_capsule(link, request, bytes, reply);
    if (got < 0) return unlike(all, "%s", link->error);
    if (got != length || load_be(*reply + 2, 2) != status)
        return unlike(all, "a reply of %d bytes with status %u, not %d with %u", got,
                      (unsigned)load_be(*reply + 2, 2), length, (unsigned)status);
    if ((*reply)[1] != (request[1] | 0x80) || memcmp(*reply + 4, request + 4, 4) != 0)
        return unlike(all, "the reply is to another request: opcode %02x", (*reply)[1]);
    return true;
}

static bool free_pages(struct checking* all, struct link* link, uint32_t page, uint32_t pages,
                       uint64_t freed) {
    uint8_t request[kHeader + 8];
    const uint8_t* reply;
    capsule(request, 1, kCapsuleFree, page, 1);
    store_be(request + kHeader, page, 4);
    store_be(request + kHeader + 4, pages, 4);
    if (!capsule_reply(all, link, request, sizeof request, kHeader + 8, 0, &reply)) return false;
    if (load_be(reply + kHeader, 8) != freed)
        return unlike(all, "%llu pages freed, not %llu", (unsigned long long)load_be(reply + kHeader, 8),
                      (unsigned long long)freed);
    memset(all->shadow + page * 4096UL, 0, pages * 4096UL);
    return true;
}

static bool free_by_send(struct checking* all) {
    struct link link;
    // Whatever the pages held before, afterwards two of three hold nothing, and freeing them again frees
    // none.
    const bool good =
        open_with(all, &link, "write") && store(all, &link, 5 * 4096, 3 * 4096, IBV_WR_RDMA_WRITE) &&
        free_pages(all, &link, 5, 2, 2) && holds(all, &link, 4 * 4096, 5 * 4096) &&
        free_pages(all, &link, 5, 2, 0) && store(all, &link, 5 * 4096 + 1, 1, IBV_WR_RDMA_WRITE) &&
        holds(all, &link, 4 * 4096, 5 * 4096);
    link_close(&link);
    return good;
}

// A capsule that cannot be executed gets a status, and the connection stays.
static bool capsules_with_errors(struct checking* all) {
    uint8_t request[kHeader + 8];
    const uint8_t* reply;
    struct link link;
    bool good = open_with(all, &link, "write");
    capsule(request, 2, kCapsuleInfo, 1, 0);
    good = good && capsule_reply(all, &link, request, kHeader, kHeader, 1, &reply);
    capsule(request, 1, 99, 2, 0);
    good = good && capsule_reply(all, &link, request, kHeader, kHeader, 2, &reply);
    capsule(request, 1, kCapsuleFree, 3, 2);
    good = good && capsule_reply(all, &link, request, sizeof request, kHeader, 3, &reply);
    capsule(request, 1, kCapsuleFree, 4, 1);
    store_be(request + kHeader, all->shadow_bytes / 4096 - 1, 4);
    store_be(request + kHeader + 4, 2, 4);
    good = good && capsule_reply(all, &link, request, sizeof request, kHeader, 4, &reply);
    capsule(request, 1, kCapsuleInfo, 5, 0);
    good = good && capsule_reply(all, &link, request, kHeader, 80, 0, &reply);
    if (good && load_be(reply + 32, 8) != link.welcome.size_bytes)
        good = unlike(all, "REGION_INFO tells another size than the REP");
    link_close(&link);
    return good;
}

static bool dirty_list_is_readable(struct checking* all) {
    struct link link;
    bool good =
        open_with(all, &link, "read") &&
        expect_status(all, "READ of the dirty list",
                      run_rdma(&link, IBV_WR_RDMA_READ, 0, 64, 0, link.welcome.dirty_rkey), IBV_WC_SUCCESS);
    uint64_t magic = 0;  // little-endian, as this memory is
    for (unsigned i = 0; good && i < 8; ++i)
        magic |= (uint64_t)link.memory[i] << 8 * i;
    if (good && magic != kMagic)
        good = unlike(all, "the dirty list begins with %llx", (unsigned long long)magic);
    link_close(&link);
    return good;
}

const struct check kDataChecks[] = {
    {"write_then_read_0", write_then_read_0},
    {"write_then_read_1", write_then_read_1},
    {"write_then_read_4095", write_then_read_4095},
    {"write_then_read_4096", write_then_read_4096},
    {"write_then_read_4097", write_then_read_4097},
    {"write_then_read_1048576", write_then_read_1048576},
    {"write_with_immediate", write_with_immediate},
    {"nothing_needs_no_rkey", nothing_needs_no_rkey},
    {"reads_in_flight", reads_in_flight},
    {"free_by_send", free_by_send},
    {"capsules_with_errors", capsules_with_errors},
    {"dirty_list_is_readable", dirty_list_is_readable},
    {NULL, NULL},
};
