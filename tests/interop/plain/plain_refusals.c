// SPDX-License-Identifier: BSD-3-Clause
// Checks of what an appliance must refuse, and how: the completion or the rejection that a client of verbs
// sees.
#include <stdio.h>
#include <string.h>

#include "plain_checks.h"

enum { kPage = 4096 };
enum { kRejectService = 8, kRejectConsumer = 28 };

// One operation that must end with the status, and with it the connection: what is posted behind it is
// flushed.
static bool refused(struct checking* all, struct link* link, enum ibv_wr_opcode opcode, uint32_t bytes,
                    uint64_t remote, uint32_t rkey, enum ibv_wc_status wanted) {
    struct ibv_sge sge;
    struct ibv_send_wr wr = work(link, &sge, opcode, 0, bytes);
    wr.wr.rdma.remote_addr = remote;
    wr.wr.rdma.rkey = rkey;
    if (!expect_status(all, "what must be refused", run_work(link, &wr), wanted)) return false;
    return expect_status(all, "the next operation",
                         run_rdma(link, IBV_WR_RDMA_READ, 0, 1, 0, link->welcome.data_rkey),
                         IBV_WC_WR_FLUSH_ERR);
}

// As above on a connection of its own; afterwards a new one works.
static bool refused_alone(struct checking* all, const char* grant, enum ibv_wr_opcode opcode, uint32_t bytes,
                          uint64_t remote, uint32_t rkey, enum ibv_wc_status wanted) {
    struct link link;
    bool good = open_with(all, &link, grant) &&
                refused(all, &link, opcode, bytes, remote, rkey != 0 ? rkey : link.welcome.data_rkey, wanted);
    link_close(&link);
    if (!good) return false;
    good = open_with(all, &link, grant) &&
           expect_status(all, "a READ on a new connection",
                         run_rdma(&link, IBV_WR_RDMA_READ, 0, 1, 0, link.welcome.data_rkey), IBV_WC_SUCCESS);
    link_close(&link);
    return good;
}

static bool wrong_rkey_read(struct checking* all) {
    return refused_alone(all, "write", IBV_WR_RDMA_READ, kPage, 0, 0x66600000, IBV_WC_REM_ACCESS_ERR);
}

static bool wrong_rkey_write(struct checking* all) {
    return refused_alone(all, "write", IBV_WR_RDMA_WRITE, kPage, 0, 0x66600000, IBV_WC_REM_ACCESS_ERR);
}

static bool another_regions_rkey(struct checking* all) {
    struct link other;
    const bool good =
        open_with(all, &other, "other") &&
        refused_alone(all, "write", IBV_WR_RDMA_READ, kPage, 0, other.welcome.data_rkey,
                      IBV_WC_REM_ACCESS_ERR) &&
        // The connection whose R_Key it was has seen nothing of it.
        expect_status(all, "a READ by the owner",
                      run_rdma(&other, IBV_WR_RDMA_READ, 0, 1, 0, other.welcome.data_rkey), IBV_WC_SUCCESS);
    link_close(&other);
    return good;
}

static bool out_of_range_read(struct checking* all) {
    return refused_alone(all, "write", IBV_WR_RDMA_READ, kPage, all->shadow_bytes - kPage + 1, 0,
                         IBV_WC_REM_ACCESS_ERR);
}

static bool out_of_range_write(struct checking* all) {
    return refused_alone(all, "write", IBV_WR_RDMA_WRITE, 3 * kPage, all->shadow_bytes - kPage, 0,
                         IBV_WC_REM_ACCESS_ERR);
}

static bool address_wraps(struct checking* all) {
    return refused_alone(all, "write", IBV_WR_RDMA_READ, 2 * kPage, ~0ULL - kPage + 1, 0,
                         IBV_WC_REM_ACCESS_ERR);
}

static bool role_read_may_not_write(struct checking* all) {
    return refused_alone(all, "read", IBV_WR_RDMA_WRITE, 64, 0, 0, IBV_WC_REM_ACCESS_ERR);
}

static bool dirty_list_is_read_only(struct checking* all) {
    struct link link;
    bool good = open_with(all, &link, "write") &&
                refused(all, &link, IBV_WR_RDMA_WRITE, 8, 0, link.welcome.dirty_rkey, IBV_WC_REM_ACCESS_ERR);
    link_close(&link);
    return good;
}

// More READs in flight than were negotiated: the client's kernel counts them, so it is told a larger number.
// The appliance stands still meanwhile, so that it finds them all at once.
static bool read_depth_exceeded(struct checking* all) {
    enum { kReads = 4, kBytes = 16 * kPage };
    struct link link;
    struct ibv_sge sges[kReads];
    struct ibv_send_wr wrs[kReads];
    unsigned refusals = 0;
    bool good =
        open_as(all, &link, "write", (struct link_options){.initiator_depth = 1, .used_depth = kReads});
    for (unsigned i = 0; good && i < kReads; ++i) {
        wrs[i] = work(&link, &sges[i], IBV_WR_RDMA_READ, i * kBytes, kBytes);
        wrs[i].wr.rdma.rkey = link.welcome.data_rkey;
        if (i > 0) wrs[i - 1].next = &wrs[i];
    }
    good = good && wait_until_held(all) && (post(&link, wrs) || unlike(all, "%s", link.error));
    for (unsigned i = 0; good && i < kReads; ++i) {
        struct ibv_wc wc;
        good = next_completion(&link, &wc) || unlike(all, "%s", link.error);
        if (!good) break;
        if (wc.status == IBV_WC_REM_INV_REQ_ERR)
            ++refusals;
        else if (wc.status != IBV_WC_SUCCESS && wc.status != IBV_WC_WR_FLUSH_ERR)
            good = unlike(all, "a READ of too many: %s", ibv_wc_status_str(wc.status));
    }
    if (good && refusals != 1)
        good = unlike(all, "%u READs of too many were refused as invalid, not one", refusals);
    link_close(&link);
    return good;
}

// Packets of another size than the path MTU that the REQ named.
static bool path_mtu_changed(struct checking* all) {
    struct link link;
    const bool good =
        open_as(all, &link, "write", (struct link_options){.used_mtu = IBV_MTU_512}) &&
        refused(all, &link, IBV_WR_RDMA_WRITE, kPage, 0, link.welcome.data_rkey, IBV_WC_REM_INV_REQ_ERR);
    link_close(&link);
    return good;
}

static bool rejected(struct checking* all, struct link_options options, const char* grant, int reason,
                     const char* text) {
    struct link link;
    uint8_t bytes[kGrantBytes] = {0};
    options.server = all->server;
    if (options.port == NULL) options.port = all->port;
    if (options.grant == NULL && grant != NULL) memcpy(bytes, grant_named(all, grant), sizeof bytes);
    if (options.grant == NULL) options.grant = bytes;
    const bool opened = link_open(&link, &options);
    bool good = !opened && link.reject_reason == reason && strstr(link.reject_text, text) != NULL;
    if (!good)
        unlike(all, "%s, reason %d, text \"%s\"; expected reason %d with \"%s\"",
               opened ? "connected" : link.error, link.reject_reason, link.reject_text, reason, text);
    link_close(&link);
    return good;
}

static bool expired_grant(struct checking* all) {
    return rejected(all, (struct link_options){0}, "expired", kRejectConsumer, "expired");
}

static bool forged_grant(struct checking* all) {
    uint8_t bytes[kGrantBytes];
    memcpy(bytes, grant_named(all, "read"), sizeof bytes);
    bytes[1] = 2;  // the role: write instead of read
    return rejected(all, (struct link_options){.grant = bytes}, NULL, kRejectConsumer, "signature");
}

static bool no_grant(struct checking* all) {
    return rejected(all, (struct link_options){0}, NULL, kRejectConsumer, "grant");
}

static bool another_port(struct checking* all) {
    return rejected(all, (struct link_options){.port = "7999"}, "write", kRejectService, "");
}

const struct check kRefusalChecks[] = {
    {"wrong_rkey_read", wrong_rkey_read},
    {"wrong_rkey_write", wrong_rkey_write},
    {"another_regions_rkey", another_regions_rkey},
    {"out_of_range_read", out_of_range_read},
    {"out_of_range_write", out_of_range_write},
    {"address_wraps", address_wraps},
    {"role_read_may_not_write", role_read_may_not_write},
    {"dirty_list_is_read_only", dirty_list_is_read_only},
    {"path_mtu_changed", path_mtu_changed},
    {"expired_grant", expired_grant},
    {"forged_grant", forged_grant},
    {"no_grant", no_grant},
    {"another_port", another_port},
    {NULL, NULL},
};

const struct check kHeldChecks[] = {
    {"read_depth_exceeded", read_depth_exceeded},
    {NULL, NULL},
};
