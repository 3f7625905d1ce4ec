// SPDX-License-Identifier: BSD-3-Clause
// Fabric for tests: several connections to one region in this process, without an appliance. Operations take
// effect and complete in order, one at a poll.
#pragma once

#include <cstring>
#include <deque>
#include <set>
#include <vector>

#include "client/fabric.h"
#include "datapath/capsule.h"

namespace lagan::test {

struct MemoryRegion {
    explicit MemoryRegion(uint64_t count) : bytes(count * 4096) {}
    std::vector<std::byte> bytes;
    std::set<uint64_t> present;  // pages
};

class MemoryFabric : public client::Fabric {
  public:
    MemoryFabric(MemoryRegion& memory, uint32_t depth)
        : memory_(memory), depth_(depth), region_{1, 2, 3, 4096, memory.bytes.size(), 1} {}

    void register_memory(std::span<std::byte>) override {}
    bool post_read(uint64_t cookie, uint32_t, uint64_t offset, void* local, uint32_t bytes) override {
        return post({cookie, offset, static_cast<std::byte*>(local), nullptr, bytes, {}});
    }
    bool post_write(uint64_t cookie, uint32_t, uint64_t offset, const void* local, uint32_t bytes) override {
        return post({cookie, offset, nullptr, static_cast<const std::byte*>(local), bytes, {}});
    }
    bool post_send(uint64_t cookie, std::span<const std::byte> message) override {
        return post({cookie, 0, nullptr, nullptr, 0, {message.begin(), message.end()}});
    }

    size_t poll(std::span<client::Completion> out) override {
        if (queue_.empty()) return 0;
        const Operation oldest = queue_.front();
        queue_.pop_front();
        out[0] = {oldest.cookie,
                  connected() ? client::CompletionStatus::success : client::CompletionStatus::flushed};
        if (connected()) carry_out(oldest);
        return 1;
    }
    size_t receive(std::span<std::byte> to) override {
        if (replies_.empty()) return 0;
        const std::vector<std::byte> reply = replies_.front();
        replies_.pop_front();
        std::memcpy(to.data(), reply.data(), reply.size());
        return reply.size();
    }

    const client::RegionInfo& region() const override { return region_; }
    uint32_t send_queue_depth() const override { return depth_; }
    bool connected() const override { return connected_; }
    std::string failure() const override { return connected_ ? "" : "connection lost (test)"; }
    void disconnect() override { connected_ = false; }

    size_t outstanding() const { return queue_.size(); }

  private:
    struct Operation {
        uint64_t cookie, offset;
        std::byte* to;
        const std::byte* from;
        uint32_t bytes;
        std::vector<std::byte> message;
    };

    bool post(Operation operation) {
        if (!connected_ || queue_.size() == depth_) return false;
        queue_.push_back(std::move(operation));
        return true;
    }

    void carry_out(const Operation& o) {
        if (o.to != nullptr) std::memcpy(o.to, &memory_.bytes[o.offset], o.bytes);
        if (o.from != nullptr) {
            std::memcpy(&memory_.bytes[o.offset], o.from, o.bytes);
            for (uint64_t page = o.offset / 4096; page <= (o.offset + o.bytes - 1) / 4096; page++)
                memory_.present.insert(page);
        }
        if (!o.message.empty()) answer(o.message);
    }

    void answer(const std::vector<std::byte>& message) {
        const auto& request = *reinterpret_cast<const capsule::Header*>(message.data());
        const bool is_free = request.opcode == static_cast<uint8_t>(capsule::Opcode::free_pages);
        std::vector<std::byte> reply(is_free ? sizeof(capsule::FreeReply) : sizeof(capsule::DirtyCounts));
        auto& header = *reinterpret_cast<capsule::Header*>(reply.data());
        header = request;
        header.opcode = request.opcode | capsule::kReply;
        if (is_free) {
            const auto* ranges = reinterpret_cast<const capsule::PageRange*>(&request + 1);
            for (uint32_t i = 0; i < request.count; i++)
                free_pages(ranges[i].first_page, ranges[i].page_count);
        } else {
            reinterpret_cast<capsule::DirtyCounts*>(reply.data())->present_pages = memory_.present.size();
        }
        replies_.push_back(std::move(reply));
    }

    void free_pages(uint64_t first, uint64_t count) {
        std::memset(&memory_.bytes[first * 4096], 0, count * 4096);
        for (uint64_t page = first; page < first + count; page++)
            memory_.present.erase(page);
    }

    MemoryRegion& memory_;
    const uint32_t depth_;
    const client::RegionInfo region_;
    bool connected_ = true;
    std::deque<Operation> queue_;
    std::deque<std::vector<std::byte>> replies_;
};

}  // namespace lagan::test
