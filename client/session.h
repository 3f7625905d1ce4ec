// SPDX-License-Identifier: BSD-3-Clause
// A region as the client sees it: reads of byte ranges, stores and frees of pages, through the chunk map.
// Everything is asynchronous and single-threaded; the blocking forms below poll until their operation is
// done.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "client/chunk_map.h"
#include "client/fabric.h"
#include "client/free_collector.h"
#include "client/page_store.h"

namespace lagan::client {

struct SessionStats {
    uint64_t reads = 0, read_bytes = 0;
    uint64_t stores = 0;  // pages
    uint64_t frees = 0;   // pages
    uint64_t free_capsules = 0;
};

class Session final : public PageStore {
  public:
    // Takes a connected fabric. The chunk map names it for every chunk: one appliance for now.
    explicit Session(std::unique_ptr<Fabric> fabric);
    ~Session() override;

    uint64_t size_bytes() const { return chunks_.size_bytes(); }
    uint64_t page_count() const override { return size_bytes() / page_bytes_; }
    void register_memory(std::span<std::byte> memory) override { fabric_->register_memory(memory); }

    // page_store.h has the rules. A range is at most 1 GiB; one that reaches beyond the region's end
    // completes with remote_access_error and never reaches the appliance, whose NAK would end the connection.
    bool read(uint64_t cookie, uint64_t offset, void* to, uint32_t bytes) override;
    bool store(uint64_t cookie, uint64_t offset, const void* from, uint32_t bytes);
    bool store_page(uint64_t cookie, uint64_t page, const void* from) override;
    // Collected into capsules, which leave when they are full or at the next poll(). Complete when the
    // appliance has answered.
    bool free_pages(uint64_t cookie, uint64_t first_page, uint32_t page_count) override;

    size_t poll(std::span<Completion> out) override;
    void settle() override;
    uint32_t outstanding() const override { return outstanding_ + static_cast<uint32_t>(completed_.size()); }
    bool connected() const override { return fabric_->connected() && failure_.empty(); }
    std::string failure() const override { return failure_.empty() ? fabric_->failure() : failure_; }
    uint64_t reconnections() const override { return fabric_->reconnections(); }
    bool rolled_back() const override { return fabric_->rolled_back(); }

    // Blocking forms, for callers without a loop of their own: only while nothing asynchronous is
    // outstanding.
    CompletionStatus read_blocking(uint64_t offset, void* to, uint64_t bytes);
    CompletionStatus store_blocking(uint64_t first_page, const void* from, uint64_t page_count);
    CompletionStatus free_blocking(uint64_t first_page, uint64_t page_count);
    struct DirtyCounts {
        CompletionStatus status;
        uint64_t dirty_pages;
        uint64_t present_pages;
    };
    DirtyCounts dirty_counts_blocking();

    // As Fabric has it.
    void set_reconnect_limit(std::chrono::milliseconds limit) { fabric_->set_reconnect_limit(limit); }

    const SessionStats& stats() const { return stats_; }
    const RegionInfo& region() const { return fabric_->region(); }
    void disconnect() { fabric_->disconnect(); }

  private:
    // An operation of the caller's: complete when all its parts are. One part for each run of chunks that lie
    // together.
    struct Operation {
        uint64_t cookie = 0;
        uint64_t offset = 0;  // of what is not posted yet
        std::byte* local = nullptr;
        uint32_t bytes = 0;
        uint32_t parts = 0;  // posted and not completed
        bool is_read = false;
        CompletionStatus status = CompletionStatus::success;
    };

    bool transfer(uint64_t cookie, uint64_t offset, std::byte* local, uint32_t bytes, bool is_read);
    void post_extents(uint32_t slot);
    bool out_of_range(uint64_t cookie, uint64_t offset, uint64_t bytes);
    void finish(uint64_t cookie, CompletionStatus status);
    void take_fabric_completion(const Completion& completion);
    void take_replies();
    void send_frees();
    void flush();
    void fail(const std::string& why);
    template <typename Post>
    CompletionStatus run_blocking(uint64_t count, Post&& post);

    std::unique_ptr<Fabric> fabric_;
    const uint32_t page_bytes_;
    ChunkMap chunks_;
    FreeCollector frees_;
    std::vector<Operation> operations_;
    std::vector<uint32_t> free_slots_;
    std::vector<uint32_t> unfinished_;   // slots with something still to post
    std::vector<Completion> completed_;  // found outside poll(), or too many for its caller
    std::vector<std::byte> last_reply_;  // of a query
    uint32_t outstanding_ = 0;           // not completed
    std::string failure_;
    SessionStats stats_;
};

}  // namespace lagan::client
