// SPDX-License-Identifier: BSD-3-Clause
// Fabric for tests: connections to a region in this process that fail wherever they can. The appliance's side
// of a connection goes on by itself: what was posted is carried out in order, some time; acknowledgements and
// replies come later or are lost. After a failure the appliance goes on with what it has until the connection
// has been ended, as packets that are still on their way do.
#pragma once

#include <cstring>
#include <deque>
#include <random>
#include <stdexcept>
#include <utility>
#include <vector>

#include "client/fabric.h"
#include "datapath/capsule.h"

namespace lagan::test {

// The appliance: memory, and the connections that it has not let go of.
struct FailingAppliance {
    FailingAppliance(uint64_t count, uint64_t seed) : bytes(count * 4096), random(seed) {}

    bool happens(double chance) { return std::uniform_real_distribution<double>(0, 1)(random) < chance; }

    std::vector<std::byte> bytes;
    std::mt19937_64 random;
    double failure_chance = 0;  // at each poll
    double refusal_chance = 0;  // at each poll: the next operation gets a NAK
    bool silent = false;        // does nothing, and says nothing
    bool serves_capsules = true;
    bool never_lets_go = false;  // nobody answers the end of a connection
    uint32_t region_id = 1;
    uint64_t epoch = 1;
    uint32_t next_key = 100;
    int live = 0;       // connections not ended
    int abandoned = 0;  // of those that failed: not ended by who had them
    uint64_t failures = 0, refusals = 0;
};

class FailingFabric final : public client::Fabric {
  public:
    FailingFabric(FailingAppliance& appliance, uint32_t depth)
        : a_(appliance), depth_(depth), region_{a_.region_id, a_.next_key,     a_.next_key + 1,
                                                4096,         a_.bytes.size(), a_.epoch} {
        a_.next_key += 2;
        if (a_.live != 0) throw std::logic_error("a connection is made before the old one has ended");
        a_.live++;
    }
    ~FailingFabric() override {
        if (failed_ && !ended_) a_.abandoned++;
        end();
    }

    void register_memory(std::span<std::byte> memory) override { registered.push_back(memory); }
    bool post_read(uint64_t cookie, uint32_t rkey, uint64_t offset, void* local, uint32_t bytes) override {
        return post({.cookie = cookie, .offset = offset, .to = local, .bytes = bytes}, rkey);
    }
    bool post_write(uint64_t cookie, uint32_t rkey, uint64_t offset, const void* local,
                    uint32_t bytes) override {
        const auto* from = static_cast<const std::byte*>(local);
        return post({.cookie = cookie, .offset = offset, .bytes = bytes, .data = {from, from + bytes}}, rkey);
    }
    bool post_send(uint64_t cookie, std::span<const std::byte> message) override {
        return post({.cookie = cookie, .is_capsule = true, .data = {message.begin(), message.end()}},
                    region_.data_rkey);
    }

    size_t poll(std::span<client::Completion> out) override {
        if (a_.silent && connected_) return 0;
        if (gone && connected_) {
            if (queue_.empty()) return 0;  // nothing is sent that could have no answer
            fail();
        }
        appliance_goes_on();
        if (connected_ && a_.happens(a_.failure_chance)) fail();
        size_t filled = 0;
        while (filled < out.size() && !queue_.empty() && (failed_ || (carried_out_ != 0 && a_.happens(0.6))))
            out[filled++] = complete_oldest();
        return filled;
    }

    size_t receive(std::span<std::byte> to) override {
        if (replies_.empty() || !a_.happens(0.5)) return 0;
        const std::vector<std::byte> reply = replies_.front();
        replies_.pop_front();
        std::memcpy(to.data(), reply.data(), reply.size());
        return reply.size();
    }

    const client::RegionInfo& region() const override { return region_; }
    uint32_t send_queue_depth() const override { return depth_; }
    bool connected() const override { return connected_; }
    std::string failure() const override { return connected_ ? "" : "connection lost (test)"; }
    void disconnect() override {
        if (!failed_) fail();
        end();
    }
    // The appliance goes on for some time yet.
    bool try_disconnect() override {
        if (!failed_) fail();
        appliance_goes_on();
        if (!ended_ && (a_.never_lets_go || a_.happens(0.5))) return false;
        end();
        return true;
    }

    void fail() {
        failed_ = true;
        connected_ = false;
        a_.failures++;
        first_status_ =
            a_.happens(0.5) ? client::CompletionStatus::retry_exceeded : client::CompletionStatus::flushed;
        at_appliance_.assign(queue_.begin() + static_cast<ptrdiff_t>(carried_out_), queue_.end());
    }

    std::vector<std::span<std::byte>> registered;
    bool gone = false;  // the appliance: found out by whatever is sent

  private:
    struct Operation {
        uint64_t cookie = 0, offset = 0;
        void* to = nullptr;
        uint32_t bytes = 0;
        bool is_capsule = false;
        std::vector<std::byte> data;
    };

    bool post(Operation operation, uint32_t rkey) {
        if (rkey != region_.data_rkey && operation.bytes != 0)
            throw std::logic_error("an R_Key of another connection");
        if (!connected_ || queue_.size() == depth_) return false;
        queue_.push_back(std::move(operation));
        return true;
    }

    // Some of what has been posted, and some of what capsules ask for.
    void appliance_goes_on() {
        if (ended_) return;
        while (a_.happens(0.7)) {
            if (failed_) {
                if (at_appliance_.empty()) break;
                carry_out(at_appliance_.front());
                at_appliance_.pop_front();
            } else {
                if (carried_out_ == queue_.size()) break;
                if (queue_[carried_out_].bytes != 0 && a_.happens(a_.refusal_chance)) return refuse();
                carry_out(queue_[carried_out_++]);
            }
        }
        while (a_.serves_capsules && !capsules_.empty() && a_.happens(0.8))
            serve_capsule();
    }

    // A NAK: what came before is acknowledged with it, and the appliance forgets what came behind.
    void refuse() {
        a_.refusals++;
        failed_ = true;
        connected_ = false;
        acknowledged_ = carried_out_;
        first_status_ = client::CompletionStatus::remote_operational_error;
    }

    void carry_out(const Operation& o) {
        if (o.is_capsule) {
            capsules_.push_back(o.data);
        } else if (o.to != nullptr) {
            if (!failed_ && o.bytes != 0) std::memcpy(o.to, &a_.bytes[o.offset], o.bytes);
        } else if (o.bytes != 0) {
            std::memcpy(&a_.bytes[o.offset], o.data.data(), o.bytes);
        }
    }

    client::Completion complete_oldest() {
        client::CompletionStatus status = client::CompletionStatus::success;
        if (!failed_) {
            carried_out_--;
        } else if (acknowledged_ != 0) {
            acknowledged_--;
        } else {
            status = std::exchange(first_status_, client::CompletionStatus::flushed);
        }
        const Operation oldest = std::move(queue_.front());
        queue_.pop_front();
        // A READ whose response was lost has been carried out again.
        if (status == client::CompletionStatus::success && oldest.to != nullptr && !failed_ &&
            oldest.bytes != 0 && a_.happens(0.3))
            std::memcpy(oldest.to, &a_.bytes[oldest.offset], oldest.bytes);
        return {oldest.cookie, status};
    }

    // One range of the oldest capsule, so that what came behind it overtakes it.
    void serve_capsule() {
        const std::vector<std::byte>& message = capsules_.front();
        const auto& request = *reinterpret_cast<const capsule::Header*>(message.data());
        const auto* ranges = reinterpret_cast<const capsule::PageRange*>(&request + 1);
        if (served_ranges_ < request.count) {
            const capsule::PageRange& range = ranges[served_ranges_++];
            std::memset(&a_.bytes[range.first_page * 4096UL], 0, range.page_count * 4096UL);
            return;
        }
        capsule::FreeReply reply{};
        reply.header = request;
        reply.header.opcode = request.opcode | capsule::kReply;
        const auto* bytes = reinterpret_cast<const std::byte*>(&reply);
        replies_.emplace_back(bytes, bytes + sizeof reply);
        capsules_.pop_front();
        served_ranges_ = 0;
    }

    void end() {
        if (!std::exchange(ended_, true)) a_.live--;
    }

    FailingAppliance& a_;
    const uint32_t depth_;
    const client::RegionInfo region_;
    bool connected_ = true, failed_ = false, ended_ = false;
    std::deque<Operation> queue_;         // posted and not completed
    size_t carried_out_ = 0;              // of queue_, while it has not failed
    size_t acknowledged_ = 0;             // of queue_, by a NAK
    std::deque<Operation> at_appliance_;  // on their way when it failed
    client::CompletionStatus first_status_{};
    std::deque<std::vector<std::byte>> capsules_, replies_;
    uint32_t served_ranges_ = 0;  // of the oldest capsule
};

}  // namespace lagan::test
