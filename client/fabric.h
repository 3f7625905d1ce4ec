// SPDX-License-Identifier: BSD-3-Clause
// One RC connection from a compute host to an appliance, whatever carries it: our own requester on a DPDK
// port (dpdk_fabric.h), or an RDMA device of this machine (verbs_fabric.h). Single-threaded: one thread makes
// all calls of one fabric.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <span>
#include <stdexcept>
#include <string>

namespace lagan::client {

// The appliance has answered, and its answer is no: to ask again does not help.
struct Refused : std::runtime_error {
    using std::runtime_error::runtime_error;
};

// The region has lost stores that were acknowledged, and the caller wants to stop then.
struct RolledBack : Refused {
    using Refused::Refused;
};

enum class CompletionStatus : uint8_t {
    success,
    remote_access_error,       // NAK 0x62: wrong R_Key, range or right
    remote_invalid_request,    // NAK 0x61
    remote_operational_error,  // NAK 0x63: the appliance ran out of frames, or the page is damaged
    retry_exceeded,            // no answer
    rnr_retry_exceeded,
    flushed,  // the connection had failed or was closed before this was carried out
};
const char* to_string(CompletionStatus status);

struct Completion {
    uint64_t cookie;
    CompletionStatus status;
};

// Where to find a region, as the CM reply says it (docs/protocol.md, "Connection").
struct RegionInfo {
    uint32_t region_id;
    uint32_t data_rkey;
    uint32_t dirty_rkey;
    uint32_t page_bytes;
    uint64_t size_bytes;
    uint64_t epoch;
};

class Fabric {
  public:
    virtual ~Fabric() = default;

    // Memory that many operations will use: an RDMA device reaches it without a copy from then on. Memory
    // that is not registered works as well, but slower. It must stay what it is until the last operation has
    // been posted. Throws std::runtime_error, which names the limit that was hit and how to raise it.
    virtual void register_memory(std::span<std::byte> memory) = 0;

    // Operations complete in the order they were posted. False: the send queue is full, poll first. `local`
    // must stay valid (and for writes unchanged) until the completion. bytes <= 1 GiB; zero is allowed.
    virtual bool post_read(uint64_t cookie, uint32_t rkey, uint64_t remote_offset, void* local,
                           uint32_t bytes) = 0;
    virtual bool post_write(uint64_t cookie, uint32_t rkey, uint64_t remote_offset, const void* local,
                            uint32_t bytes) = 0;
    // The message is copied.
    virtual bool post_send(uint64_t cookie, std::span<const std::byte> message) = 0;

    // Drives the connection. Fills in completions and returns how many. Never blocks. `out` has room for one
    // at least.
    virtual size_t poll(std::span<Completion> out) = 0;

    // The oldest message received and not yet taken: copies it to `to` and returns its size, 0 if there is
    // none.
    virtual size_t receive(std::span<std::byte> to) = 0;

    virtual const RegionInfo& region() const = 0;
    virtual uint32_t send_queue_depth() const = 0;
    virtual bool connected() const = 0;       // false once the connection has failed
    virtual std::string failure() const = 0;  // one line for people; empty while connected
    // Orderly: DREQ, DREP. What is outstanding is flushed: the caller's memory is not touched any more.
    virtual void disconnect() = 0;

    // disconnect() in steps that never block, also of a connection that has failed: call it until it is true.
    // Then the peer has let go of the connection, or has not answered any of the connection manager's tries:
    // nothing that was sent on it is carried out any more.
    virtual bool try_disconnect() {
        disconnect();
        return true;
    }

    // Of one that reconnects by itself (reconnecting_fabric.h): how often it has; has it failed because the
    // region was rolled back; and for how long it tries to from now on. 0: a connection that is lost, or has
    // been, fails at once.
    virtual uint64_t reconnections() const { return 0; }
    virtual bool rolled_back() const { return false; }
    virtual void set_reconnect_limit(std::chrono::milliseconds) {}
};

}  // namespace lagan::client
