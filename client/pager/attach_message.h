// SPDX-License-Identifier: BSD-3-Clause
// What the preload library and the pager say to each other over the unix socket (SOCK_SEQPACKET), once:
// request with two descriptors (userfaultfd, memfd) by SCM_RIGHTS, then reply. Both run on one machine, so in
// its byte order. Also includes what `lagan run` passes through the environment.
#pragma once

#include <cstdint>

namespace lagan::client::pager {

constexpr uint32_t kAttachMagic = 0x4c47414e;  // "LGAN"
constexpr uint32_t kAttachVersion = 1;

struct AttachRequest {
    uint32_t magic;
    uint32_t version;
    uint64_t base;   // of the mapping, in the program
    uint64_t bytes;  // its size
};
static_assert(sizeof(AttachRequest) == 24);

struct AttachReply {
    uint32_t magic;
    uint32_t accepted;  // 1, or 0
};
static_assert(sizeof(AttachReply) == 8);

constexpr const char* kSocketVariable = "LAGAN_PAGER_SOCKET";  // path of the pager's socket
constexpr const char* kRegionVariable = "LAGAN_REGION_BYTES";  // size of the mapping to make
constexpr const char* kProgramVariable = "LAGAN_PROGRAM_PID";  // the process whose heap is far memory

// Exit statuses of the `lagan` command itself, as env(1) has them.
constexpr int kExitFarMemoryLost = 75;  // the program was ended because its memory could not be served
constexpr int kExitRolledBack = 76;     // ... because acknowledged stores are missing after a failover
constexpr int kExitLaganFailed = 125;
constexpr int kExitNotExecutable = 126;
constexpr int kExitNotFound = 127;

}  // namespace lagan::client::pager
