// SPDX-License-Identifier: BSD-3-Clause
#include "plain_rdma.h"

#include <errno.h>
#include <netdb.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { kResolveMs = 10000, kEventMs = 90000, kCompletionS = 60 };
enum { kRetries = 7, kRnrRetries = 7 };

static bool fail(struct link* link, const char* format, ...) {
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(link->error, sizeof link->error, format, arguments);
    va_end(arguments);
    return false;
}

static bool fail_errno(struct link* link, const char* call) {
    return fail(link, "%s: %s", call, strerror(errno));
}

uint64_t load_be(const uint8_t* bytes, unsigned count) {
    uint64_t value = 0;
    for (unsigned i = 0; i < count; ++i)
        value = value << 8 | bytes[i];
    return value;
}

void store_be(uint8_t* bytes, uint64_t value, unsigned count) {
    for (unsigned i = 0; i < count; ++i)
        bytes[i] = (uint8_t)(value >> 8 * (count - 1 - i));
}

static void decode_welcome(struct welcome* welcome, const uint8_t* bytes) {
    welcome->version = bytes[0];
    welcome->region_id = (uint32_t)load_be(bytes + 4, 4);
    welcome->page_bytes = (uint32_t)load_be(bytes + 8, 4);
    welcome->data_rkey = (uint32_t)load_be(bytes + 12, 4);
    welcome->dirty_rkey = (uint32_t)load_be(bytes + 16, 4);
    welcome->size_bytes = load_be(bytes + 24, 8);
    welcome->epoch = load_be(bytes + 32, 8);
    welcome->dirty_bytes = load_be(bytes + 40, 8);
}

void encode_welcome(uint8_t bytes[kWelcomeBytes], const struct welcome* welcome) {
    memset(bytes, 0, kWelcomeBytes);
    bytes[0] = welcome->version;
    store_be(bytes + 4, welcome->region_id, 4);
    store_be(bytes + 8, welcome->page_bytes, 4);
    store_be(bytes + 12, welcome->data_rkey, 4);
    store_be(bytes + 16, welcome->dirty_rkey, 4);
    store_be(bytes + 24, welcome->size_bytes, 8);
    store_be(bytes + 32, welcome->epoch, 8);
    store_be(bytes + 40, welcome->dirty_bytes, 8);
}

// --- connecting

static void note_rejection(struct link* link, const struct rdma_cm_event* event) {
    const struct rdma_conn_param* told = &event->param.conn;
    const size_t bytes =
        told->private_data_len < kRejectTextBytes ? told->private_data_len : kRejectTextBytes - 1;
    link->reject_reason = event->status;
    memcpy(link->reject_text, told->private_data, bytes);
    link->reject_text[bytes] = '\0';
}

static bool wait_event(struct link* link, enum rdma_cm_event_type wanted) {
    struct pollfd ready = {.fd = link->channel->fd, .events = POLLIN};
    struct rdma_cm_event* event = NULL;
    if (poll(&ready, 1, kEventMs) != 1)
        return fail(link, "no %s in %d s", rdma_event_str(wanted), kEventMs / 1000);
    if (rdma_get_cm_event(link->channel, &event) != 0) return fail_errno(link, "rdma_get_cm_event");
    const bool good = event->event == wanted;
    if (!good)
        fail(link, "%s (status %d), not %s", rdma_event_str(event->event), event->status,
             rdma_event_str(wanted));
    if (event->event == RDMA_CM_EVENT_REJECTED) note_rejection(link, event);
    // Without an RTU of the kernel's the REP comes as a response that is still to be confirmed.
    const bool rep =
        event->event == RDMA_CM_EVENT_ESTABLISHED || event->event == RDMA_CM_EVENT_CONNECT_RESPONSE;
    if (rep && event->param.conn.private_data_len >= kWelcomeBytes)
        decode_welcome(&link->welcome, event->param.conn.private_data);
    rdma_ack_cm_event(event);
    return good;
}

static bool resolve(struct link* link, const struct link_options* options) {
    struct addrinfo* found = NULL;
    const struct addrinfo hints = {.ai_flags = AI_NUMERICHOST, .ai_socktype = SOCK_STREAM};
    const int error = getaddrinfo(options->server, options->port, &hints, &found);
    if (error != 0) return fail(link, "%s: %s", options->server, gai_strerror(error));
    const int status = rdma_resolve_addr(link->id, NULL, found->ai_addr, kResolveMs);
    freeaddrinfo(found);
    if (status != 0) return fail_errno(link, "rdma_resolve_addr");
    if (!wait_event(link, RDMA_CM_EVENT_ADDR_RESOLVED)) return false;
    if (rdma_resolve_route(link->id, kResolveMs) != 0) return fail_errno(link, "rdma_resolve_route");
    return wait_event(link, RDMA_CM_EVENT_ROUTE_RESOLVED);
}

static bool make_memory(struct link* link) {
    const size_t bytes = kMemoryBytes + kReceives * kCapsuleBytes;
    if (posix_memalign((void**)&link->memory, 4096, bytes) != 0) return fail(link, "no memory");
    memset(link->memory, 0, bytes);
    if ((link->pd = ibv_alloc_pd(link->id->verbs)) == NULL) return fail_errno(link, "ibv_alloc_pd");
    link->cq = ibv_create_cq(link->id->verbs, kSendQueue + kReceives, NULL, NULL, 0);
    if (link->cq == NULL) return fail_errno(link, "ibv_create_cq");
    link->mr = ibv_reg_mr(link->pd, link->memory, bytes, IBV_ACCESS_LOCAL_WRITE);
    return link->mr != NULL || fail_errno(link, "ibv_reg_mr");
}

static bool goes_its_own_way(const struct link_options* options) {
    return options->used_depth != 0 || options->used_mtu != 0 || options->without_rtu;
}

static bool make_queue_pair(struct link* link, bool own) {
    struct ibv_qp_init_attr attributes = {
        .send_cq = link->cq,
        .recv_cq = link->cq,
        .cap = {.max_send_wr = kSendQueue, .max_recv_wr = kReceives, .max_send_sge = 1, .max_recv_sge = 1},
        .qp_type = IBV_QPT_RC,
        .sq_sig_all = 1,
    };
    if (own) {
        if ((link->qp = ibv_create_qp(link->pd, &attributes)) == NULL)
            return fail_errno(link, "ibv_create_qp");
        return true;
    }
    if (rdma_create_qp(link->id, link->pd, &attributes) != 0) return fail_errno(link, "rdma_create_qp");
    link->qp = link->id->qp;
    return true;
}

static bool move_queue_pair(struct link* link, enum ibv_qp_state state, const struct link_options* options) {
    struct ibv_qp_attr attributes = {.qp_state = state};
    int mask = 0;
    if (rdma_init_qp_attr(link->id, &attributes, &mask) != 0) return fail_errno(link, "rdma_init_qp_attr");
    if (state == IBV_QPS_RTR && options->used_mtu != 0) attributes.path_mtu = options->used_mtu;
    if (state == IBV_QPS_RTS && options->used_depth != 0) attributes.max_rd_atomic = options->used_depth;
    errno = ibv_modify_qp(link->qp, &attributes, mask);
    return errno == 0 || fail_errno(link, "ibv_modify_qp");
}

static bool handshake(struct link* link, const struct link_options* options, bool own) {
    struct rdma_conn_param parameters = {
        .private_data = options->grant,
        .private_data_len = options->grant != NULL ? kGrantBytes : 0,
        .responder_resources = 1,
        .initiator_depth = options->initiator_depth != 0 ? options->initiator_depth : kMaxReads,
        .retry_count = kRetries,
        .rnr_retry_count = kRnrRetries,
        .qp_num = own ? link->qp->qp_num : 0,
    };
    if (own && !move_queue_pair(link, IBV_QPS_INIT, options)) return false;
    for (unsigned i = 0; i < kReceives; ++i)
        if (!post_receive(link)) return false;
    if (rdma_connect(link->id, &parameters) != 0) return fail_errno(link, "rdma_connect");
    if (!own) return wait_event(link, RDMA_CM_EVENT_ESTABLISHED);
    if (!wait_event(link, RDMA_CM_EVENT_CONNECT_RESPONSE)) return false;
    if (options->without_rtu) return true;
    if (!move_queue_pair(link, IBV_QPS_RTR, options) || !move_queue_pair(link, IBV_QPS_RTS, options))
        return false;
    return rdma_establish(link->id) == 0 || fail_errno(link, "rdma_establish");
}

bool link_open(struct link* link, const struct link_options* options) {
    const bool own = goes_its_own_way(options);
    memset(link, 0, sizeof *link);
    if ((link->channel = rdma_create_event_channel()) == NULL)
        return fail_errno(link, "rdma_create_event_channel");
    if (rdma_create_id(link->channel, &link->id, NULL, RDMA_PS_TCP) != 0)
        return fail_errno(link, "rdma_create_id");
    if (!resolve(link, options) || !make_memory(link) || !make_queue_pair(link, own)) return false;
    if (!handshake(link, options, own)) return false;
    link->connected = !options->without_rtu;
    return true;
}

void link_close(struct link* link) {
    // The other side may have been first; the event has come then.
    if (link->connected) {
        rdma_disconnect(link->id);
        wait_event(link, RDMA_CM_EVENT_DISCONNECTED);
    }
    if (link->qp != NULL && link->id->qp != NULL)
        rdma_destroy_qp(link->id);
    else if (link->qp != NULL)
        ibv_destroy_qp(link->qp);
    if (link->mr != NULL) ibv_dereg_mr(link->mr);
    if (link->cq != NULL) ibv_destroy_cq(link->cq);
    if (link->pd != NULL) ibv_dealloc_pd(link->pd);
    if (link->id != NULL) rdma_destroy_id(link->id);
    if (link->channel != NULL) rdma_destroy_event_channel(link->channel);
    free(link->memory);
    link->memory = NULL;
}

// --- work

struct ibv_send_wr work(const struct link* link, struct ibv_sge* sge, enum ibv_wr_opcode opcode, size_t local,
                        uint32_t bytes) {
    *sge = (struct ibv_sge){.addr = (uintptr_t)link->memory + local, .length = bytes, .lkey = link->mr->lkey};
    return (struct ibv_send_wr){.sg_list = sge, .num_sge = bytes != 0 ? 1 : 0, .opcode = opcode};
}

bool post(struct link* link, struct ibv_send_wr* wr) {
    struct ibv_send_wr* refused = NULL;
    errno = ibv_post_send(link->qp, wr, &refused);
    return errno == 0 || fail_errno(link, "ibv_post_send");
}

bool post_receive(struct link* link) {
    const unsigned slot = link->next_receive++ % kReceives;
    struct ibv_sge sge = {.addr = (uintptr_t)link->memory + kMemoryBytes + slot * kCapsuleBytes,
                          .length = kCapsuleBytes,
                          .lkey = link->mr->lkey};
    struct ibv_recv_wr wr = {.wr_id = slot, .sg_list = &sge, .num_sge = 1};
    struct ibv_recv_wr* refused = NULL;
    errno = ibv_post_recv(link->qp, &wr, &refused);
    return errno == 0 || fail_errno(link, "ibv_post_recv");
}

bool next_completion(struct link* link, struct ibv_wc* wc) {
    const time_t end = time(NULL) + kCompletionS;
    int found;
    while ((found = ibv_poll_cq(link->cq, 1, wc)) == 0)
        if (time(NULL) > end) return fail(link, "no completion in %d s", kCompletionS);
    return found == 1 || fail(link, "ibv_poll_cq failed");
}

enum ibv_wc_status run_work(struct link* link, struct ibv_send_wr* wr) {
    struct ibv_wc wc = {.status = IBV_WC_GENERAL_ERR};
    return post(link, wr) && next_completion(link, &wc) ? wc.status : IBV_WC_GENERAL_ERR;
}

enum ibv_wc_status run_rdma(struct link* link, enum ibv_wr_opcode opcode, size_t local, uint32_t bytes,
                            uint64_t remote, uint32_t rkey) {
    struct ibv_sge sge;
    struct ibv_send_wr wr = work(link, &sge, opcode, local, bytes);
    wr.wr.rdma.remote_addr = remote;
    wr.wr.rdma.rkey = rkey;
    return run_work(link, &wr);
}

int exchange_capsule(struct link* link, const uint8_t* request, uint32_t bytes, const uint8_t** reply) {
    struct ibv_sge sge;
    struct ibv_send_wr wr = work(link, &sge, IBV_WR_SEND, 0, bytes);
    struct ibv_wc wc;
    int length = -1;
    memcpy(link->memory, request, bytes);
    if (!post(link, &wr)) return -1;
    for (unsigned i = 0; i < 2; ++i) {  // the SEND's own completion and the receive's, in either order
        if (!next_completion(link, &wc)) return -1;
        if (wc.status != IBV_WC_SUCCESS)
            return (int)fail(link, "a capsule: %s", ibv_wc_status_str(wc.status)) - 1;
        if (wc.opcode == IBV_WC_RECV) {
            length = (int)wc.byte_len;
            *reply = link->memory + kMemoryBytes + wc.wr_id * kCapsuleBytes;
        }
    }
    return post_receive(link) ? length : -1;
}
