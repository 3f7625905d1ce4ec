// SPDX-License-Identifier: BSD-3-Clause
// A connection over an RDMA device of this machine (an RNIC, or rxe), by libibverbs and librdmacm: one RC
// queue pair, one completion queue, which is polled.
//
// Memory: what register_memory() got is reached directly. From and to other memory up to 4 KiB is copied
// through memory that is registered here; more than that is registered for the one operation, which costs a
// system call and must fit RLIMIT_MEMLOCK.
#pragma once

#include <array>
#include <chrono>

#include "client/fabric.h"
#include "client/verbs_connection.h"
#include "client/verbs_memory.h"

namespace lagan::client {

class VerbsFabric final : public Fabric {
  public:
    // Connects. Throws std::runtime_error that says why not.
    explicit VerbsFabric(const VerbsConnectOptions& options);
    ~VerbsFabric() override;
    VerbsFabric(const VerbsFabric&) = delete;
    VerbsFabric& operator=(const VerbsFabric&) = delete;

    void register_memory(std::span<std::byte> memory) override { memory_.add(memory); }
    bool post_read(uint64_t cookie, uint32_t rkey, uint64_t remote_offset, void* local,
                   uint32_t bytes) override;
    bool post_write(uint64_t cookie, uint32_t rkey, uint64_t remote_offset, const void* local,
                    uint32_t bytes) override;
    // At most 4 KiB.
    bool post_send(uint64_t cookie, std::span<const std::byte> message) override;
    size_t poll(std::span<Completion> out) override;
    size_t receive(std::span<std::byte> to) override;

    const RegionInfo& region() const override { return region_; }
    uint32_t send_queue_depth() const override { return kSendQueueDepth; }
    bool connected() const override { return failure_.empty(); }
    std::string failure() const override { return failure_; }
    void disconnect() override;
    bool try_disconnect() override;

  private:
    static constexpr uint32_t kSendQueueDepth = 256;
    static constexpr uint32_t kReceiveDepth = 16;  // replies that may arrive before receive() is called
    static constexpr uint32_t kSlotBytes = 4096;

    // An operation that is outstanding, by its place in the send queue.
    struct Slot {
        uint64_t cookie = 0;
        void* copy_to = nullptr;  // of a READ into this slot's staging memory: where it is to go
        uint32_t bytes = 0;
        RegisteredMemory registered;  // for this operation alone
    };
    struct Operation {
        ibv_wr_opcode opcode;
        uint64_t cookie;
        uint32_t rkey;
        uint64_t remote_offset;
        const void* local;
        uint32_t bytes;
    };
    struct Received {
        uint32_t slot;
        uint32_t bytes;
    };

    bool post(const Operation& operation);
    ibv_sge make_reachable(uint32_t number, const Operation& operation);
    void post_receive(uint32_t slot);
    Completion completed(const ibv_wc& entry);
    void received(const ibv_wc& entry);
    size_t flush(std::span<Completion> out);
    void look_for_end();
    void fail(const std::string& why) {
        if (failure_.empty()) failure_ = why;
    }
    std::byte* send_staging(uint32_t slot) { return staging_.get() + size_t{slot} * kSlotBytes; }
    std::byte* receive_staging(uint32_t slot) { return send_staging(kSendQueueDepth + slot); }

    // Goes before the connection does, and after its queue pair.
    std::unique_ptr<std::byte[]> staging_;  // of all sends, then of all receives
    VerbsConnection connection_;
    VerbsMemory memory_;
    uint32_t staging_key_ = 0;

    RegionInfo region_{};
    std::string failure_;
    std::array<Slot, kSendQueueDepth> slots_;
    uint64_t posted_ = 0, completed_ = 0;  // operations; they complete in order
    std::array<Received, kReceiveDepth> received_{};
    uint64_t arrived_ = 0, taken_ = 0;  // messages
    std::chrono::steady_clock::time_point last_look_{};
};

}  // namespace lagan::client
