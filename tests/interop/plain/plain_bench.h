// SPDX-License-Identifier: BSD-3-Clause
// Bandwidth and latency of a plain RDMA client, and a plain server to compare an appliance with.
#pragma once

#include "plain_rdma.h"

struct bench_options {
    struct link_options link;
    enum ibv_wr_opcode operation;  // IBV_WR_RDMA_READ or IBV_WR_RDMA_WRITE
    uint32_t bytes;
    unsigned count;  // operations of each measurement
    unsigned depth;  // in flight, for the bandwidth
};

// Prints one JSON object; the program's exit status.
int bench_run(const struct bench_options* options);
// Serves one connection after the other until it is killed: 8 MiB of memory, told of as an appliance does.
int bench_serve(const char* port);
