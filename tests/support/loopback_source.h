// SPDX-License-Identifier: BSD-3-Clause
// A Loopback's server as the old home of a region: both engines go round on a thread of their own, and
// whoever rebuilds connects through the client's.
#pragma once

#include <atomic>
#include <cstring>
#include <functional>
#include <thread>
#include <vector>

#include "datapath/capsule.h"
#include "mgmt/recovery/source_link.h"
#include "tests/support/loopback.h"

namespace lagan::test {

// A reply to FENCE, with this status.
inline capsule::FenceReply reply_to(const MessageRing::Message& message, capsule::Status status,
                                    uint64_t settled) {
    capsule::FenceReply reply{};
    std::memcpy(&reply.header, message.data, sizeof reply.header);
    reply.header.opcode |= capsule::kReply;
    reply.header.status = static_cast<uint16_t>(status);
    reply.settled = settled;
    return reply;
}
inline std::vector<std::byte> bytes_of(const capsule::FenceReply& reply,
                                       size_t bytes = sizeof(capsule::FenceReply)) {
    const auto* begin = reinterpret_cast<const std::byte*>(&reply);
    return {begin, begin + bytes};
}
inline std::vector<std::byte> fence_settles(const MessageRing::Message& message) {
    return bytes_of(reply_to(message, capsule::Status::ok, 1));
}

class LoopbackSource {
  public:
    // What the old home says to a capsule, on a link whose server does not answer them.
    using Answers = std::function<std::vector<std::byte>(const MessageRing::Message&)>;

    // Until it goes, nobody else polls the link.
    LoopbackSource(Loopback& link, const memory::Region& region, Answers answers = {})
        : link_(link),
          region_(region),
          answers_(std::move(answers)),
          poller_([this](const std::stop_token& stop) {
              while (!stop.stop_requested()) {
                  link_.poll();
                  if (answers_) answer();
              }
          }) {}

    recovery::Connect connect() {
        return [this](const recovery::SourceAddress&, const recovery::Cancelled&) {
            ++connections;
            if (refuse_next > 0) {
                --refuse_next;
                throw recovery::SourceError(recovery::SourceError::Why::lost, "nobody answers");
            }
            auto made = std::make_unique<Link>(*this);
            if (change_welcome) change_welcome(made->welcome_);
            return std::unique_ptr<recovery::SourceLink>(std::move(made));
        };
    }

    std::atomic<uint32_t> connections{0};
    std::atomic<uint32_t> refuse_next{0};  // attempts to connect that fail
    std::function<void(capsule::Welcome&)> change_welcome;

  private:
    struct Link final : recovery::SourceLink {
        explicit Link(LoopbackSource& owner) : pair_(owner.link_.connect(owner.region_, Role::recover)) {
            welcome_.version = capsule::kVersion;
            welcome_.region_id = owner.region_.id;
            welcome_.page_bytes = memory::kPageBytes;
            welcome_.data_rkey = owner.region_.data_rkey;
            welcome_.dirty_rkey = owner.region_.dirty_rkey;
            welcome_.size_bytes = owner.region_.size_bytes;
            welcome_.epoch = owner.region_.epoch;
            welcome_.dirty_bytes = owner.region_.dirty->memory().size();
            if (!owner.link_.client->attach_puller(*pair_.client, puller_))
                throw std::runtime_error("the engine takes no puller");
        }
        ~Link() override {
            puller_.stop();
            while (!puller_.over())
                std::this_thread::yield();
        }
        Puller& puller() override { return puller_; }
        std::span<const uint8_t> welcome() const override {
            return {reinterpret_cast<const uint8_t*>(&welcome_), sizeof welcome_};
        }

        Loopback::Pair pair_;
        Puller puller_;
        capsule::Welcome welcome_{};
    };

    void answer() {
        link_.server_qps->for_each([&](Qp& qp) {
            for (MessageRing& ring = qp.responder.received; !ring.empty(); ring.head++) {
                const std::vector<std::byte> reply = answers_(ring.at(ring.head));
                roce::post_send(*link_.server, qp, 0, reply.data(), static_cast<uint32_t>(reply.size()));
            }
        });
    }

    Loopback& link_;
    const memory::Region& region_;
    const Answers answers_;
    std::jthread poller_;
};

}  // namespace lagan::test
