// SPDX-License-Identifier: BSD-3-Clause
#include "plain_bench.h"

#include <netdb.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { kServedBytes = 8 << 20, kPage = 4096, kWarmUp = 100 };

static uint64_t now_ns(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec;
}

static bool post_one(struct link* link, const struct bench_options* options, unsigned number) {
    struct ibv_sge sge;
    const uint64_t slots = link->welcome.size_bytes / options->bytes;
    struct ibv_send_wr wr =
        work(link, &sge, options->operation, number % options->depth * options->bytes, options->bytes);
    wr.wr.rdma.remote_addr = number * 7919ULL % slots * options->bytes;
    wr.wr.rdma.rkey = link->welcome.data_rkey;
    return post(link, &wr);
}

static bool take_one(struct link* link) {
    struct ibv_wc wc;
    if (!next_completion(link, &wc)) return false;
    if (wc.status == IBV_WC_SUCCESS) return true;
    snprintf(link->error, sizeof link->error, "%s", ibv_wc_status_str(wc.status));
    return false;
}

// Operations with so many in flight; the nanoseconds they took, 0 if one failed.
static uint64_t run_many(struct link* link, const struct bench_options* options, unsigned count) {
    const uint64_t begin = now_ns();
    unsigned posted = 0;
    for (unsigned done = 0; done < count; ++done) {
        for (; posted < count && posted - done < options->depth; ++posted)
            if (!post_one(link, options, posted)) return 0;
        if (!take_one(link)) return 0;
    }
    return now_ns() - begin;
}

static int by_size(const void* left, const void* right) {
    const uint64_t a = *(const uint64_t*)left, b = *(const uint64_t*)right;
    return (a > b) - (a < b);
}

// The median of operations one by one, 0 if one failed.
static uint64_t median_ns(struct link* link, const struct bench_options* options) {
    uint64_t* const times = malloc(options->count * sizeof *times);
    uint64_t median = 0;
    bool good = times != NULL;
    for (unsigned i = 0; good && i < options->count; ++i) {
        const uint64_t begin = now_ns();
        good = post_one(link, options, i) && take_one(link);
        times[i] = now_ns() - begin;
    }
    if (good) {
        qsort(times, options->count, sizeof *times, by_size);
        median = times[options->count / 2];
    }
    free(times);
    return median;
}

// Every page of the memory has content: one that was never stored is answered without any.
static bool fill(struct link* link) {
    memset(link->memory, 0x5a, 1 << 20);
    for (uint64_t at = 0; at + (1 << 20) <= link->welcome.size_bytes; at += 1 << 20)
        if (run_rdma(link, IBV_WR_RDMA_WRITE, 0, 1 << 20, at, link->welcome.data_rkey) != IBV_WC_SUCCESS)
            return false;
    return true;
}

int bench_run(const struct bench_options* options) {
    struct link link;
    uint64_t all_ns = 0, one_ns = 0;
    if (options->bytes == 0 || options->count == 0 || options->depth == 0 || options->depth > kMaxReads ||
        (uint64_t)options->bytes * options->depth > kMemoryBytes) {
        fprintf(stderr, "plain_client: bench takes up to %d in flight, in %d bytes of memory\n", kMaxReads,
                kMemoryBytes);
        return 2;
    }
    bool good = link_open(&link, &options->link) && fill(&link) && run_many(&link, options, kWarmUp) != 0;
    good = good && (all_ns = run_many(&link, options, options->count)) != 0 &&
           (one_ns = median_ns(&link, options)) != 0;
    if (!good)
        fprintf(stderr, "plain_client: bench: %s %s\n", link.error, link.reject_text);
    else
        printf("{\"bytes_per_second\": %.0f, \"median_us\": %.3f}\n",
               (double)options->bytes * options->count * 1e9 / (double)all_ns, (double)one_ns / 1000);
    link_close(&link);
    return good ? 0 : 1;
}

// --- the server

// What one connection needs besides its id.
struct served {
    struct ibv_pd* pd;
    struct ibv_cq* cq;
    struct ibv_mr* mr;
    uint8_t* memory;
};

static bool accept_one(struct rdma_cm_id* id) {
    struct served* served = calloc(1, sizeof *served);
    const int access = IBV_ACCESS_LOCAL_WRITE | IBV_ACCESS_REMOTE_READ | IBV_ACCESS_REMOTE_WRITE;
    if (served == NULL || posix_memalign((void**)&served->memory, kPage, kServedBytes) != 0) return false;
    id->context = served;
    memset(served->memory, 0, kServedBytes);
    if ((served->pd = ibv_alloc_pd(id->verbs)) == NULL) return false;
    if ((served->cq = ibv_create_cq(id->verbs, 2, NULL, NULL, 0)) == NULL) return false;
    // Addresses begin at 0, as an appliance's do.
    if ((served->mr = ibv_reg_mr_iova(served->pd, served->memory, kServedBytes, 0, access)) == NULL)
        return false;
    struct ibv_qp_init_attr attributes = {
        .send_cq = served->cq,
        .recv_cq = served->cq,
        .cap = {.max_send_wr = 1, .max_recv_wr = 1, .max_send_sge = 1, .max_recv_sge = 1},
        .qp_type = IBV_QPT_RC,
    };
    uint8_t told[kWelcomeBytes];
    const struct welcome welcome = {
        .version = 1, .page_bytes = kPage, .data_rkey = served->mr->rkey, .size_bytes = kServedBytes};
    encode_welcome(told, &welcome);
    struct rdma_conn_param parameters = {
        .private_data = told,
        .private_data_len = sizeof told,
        .responder_resources = kMaxReads,
        .initiator_depth = 1,
        .rnr_retry_count = 7,
    };
    return rdma_create_qp(id, served->pd, &attributes) == 0 && rdma_accept(id, &parameters) == 0;
}

static void end_one(struct rdma_cm_id* id) {
    struct served* served = id->context;
    rdma_disconnect(id);
    if (id->qp != NULL) rdma_destroy_qp(id);
    ibv_dereg_mr(served->mr);
    ibv_destroy_cq(served->cq);
    ibv_dealloc_pd(served->pd);
    free(served->memory);
    free(served);
    rdma_destroy_id(id);
}

int bench_serve(const char* port) {
    struct rdma_event_channel* const channel = rdma_create_event_channel();
    struct rdma_cm_id* listener = NULL;
    struct addrinfo* any = NULL;
    const struct addrinfo hints = {.ai_flags = AI_PASSIVE, .ai_family = AF_INET, .ai_socktype = SOCK_STREAM};
    if (channel == NULL || getaddrinfo(NULL, port, &hints, &any) != 0 ||
        rdma_create_id(channel, &listener, NULL, RDMA_PS_TCP) != 0 ||
        rdma_bind_addr(listener, any->ai_addr) != 0 || rdma_listen(listener, 4) != 0) {
        perror("plain_client: serve");
        return 1;
    }
    freeaddrinfo(any);
    printf("serving\n");
    fflush(stdout);
    struct rdma_cm_event* event;
    while (rdma_get_cm_event(channel, &event) == 0) {
        struct rdma_cm_id* const id = event->id;
        const enum rdma_cm_event_type type = event->event;
        rdma_ack_cm_event(event);
        if (type == RDMA_CM_EVENT_CONNECT_REQUEST && !accept_one(id)) {
            perror("plain_client: serve: a connection");
            return 1;
        }
        if (type == RDMA_CM_EVENT_DISCONNECTED) end_one(id);
    }
    perror("plain_client: serve");
    return 1;
}
