// SPDX-License-Identifier: BSD-3-Clause
// A connection to an appliance as any program on librdmacm and libibverbs makes it. No header of Lagan is
// included here or in the files beside it: what they know is in docs/protocol.md.
#pragma once

#include <infiniband/verbs.h>
#include <rdma/rdma_cma.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { kGrantBytes = 56, kWelcomeBytes = 48, kCapsuleBytes = 2048, kReceives = 8 };
enum { kMemoryBytes = 8 << 20 };  // registered: what is sent from and received into
enum { kSendQueue = 64, kMaxReads = 16 };
enum { kRejectTextBytes = 160 };

// What the appliance's REP says of the region (docs/protocol.md, "Welcome").
struct welcome {
    uint8_t version;
    uint32_t region_id, page_bytes, data_rkey, dirty_rkey;
    uint64_t size_bytes, epoch, dirty_bytes;
};

// How to connect. All zeros but server, port and grant is what a sound client does.
struct link_options {
    const char *server, *port;
    const uint8_t* grant;     // kGrantBytes
    uint8_t initiator_depth;  // READs and atomics outstanding that the REQ asks for; 0: kMaxReads
    // What a client may do wrong. Any of them makes it move its queue pair through its states by itself.
    uint8_t used_depth;     // keep so many READs outstanding, whatever was negotiated
    enum ibv_mtu used_mtu;  // send with this path MTU, whatever the REQ said
    bool without_rtu;       // stop when the REP has come
};

struct link {
    struct rdma_event_channel* channel;
    struct rdma_cm_id* id;
    struct ibv_pd* pd;
    struct ibv_cq* cq;
    struct ibv_qp* qp;
    struct ibv_mr* mr;
    uint8_t* memory;  // kMemoryBytes, then kReceives × kCapsuleBytes of receive buffers
    struct welcome welcome;
    unsigned next_receive;
    bool connected;
    int reject_reason;  // of a REJ, 0: none
    char reject_text[kRejectTextBytes];
    char error[256];  // why the last call failed
};

// True when connected. False: link->error says why, and after a REJ reject_reason and reject_text. In both
// cases link_close() is due.
bool link_open(struct link* link, const struct link_options* options);
void link_close(struct link* link);  // DREQ, if connected, and everything is freed

// Prepares a work request of `bytes` at memory[local]; sge is its storage.
struct ibv_send_wr work(const struct link* link, struct ibv_sge* sge, enum ibv_wr_opcode opcode, size_t local,
                        uint32_t bytes);
bool post(struct link* link, struct ibv_send_wr* wr);
bool post_receive(struct link* link);
// The next completion of either queue, also a bad one; false when there is none in a minute.
bool next_completion(struct link* link, struct ibv_wc* wc);
// Posts one READ, WRITE or atomic and waits for its completion.
enum ibv_wc_status run_rdma(struct link* link, enum ibv_wr_opcode opcode, size_t local, uint32_t bytes,
                            uint64_t remote, uint32_t rkey);
enum ibv_wc_status run_work(struct link* link, struct ibv_send_wr* wr);
// Sends a capsule and waits for its answer, whose bytes are at *reply until the next call; its length, or -1.
int exchange_capsule(struct link* link, const uint8_t* request, uint32_t bytes, const uint8_t** reply);

// Endian.
uint64_t load_be(const uint8_t* bytes, unsigned count);
void store_be(uint8_t* bytes, uint64_t value, unsigned count);

// What a server of our own tells (plain_bench.c), in the same layout.
void encode_welcome(uint8_t bytes[kWelcomeBytes], const struct welcome* welcome);
