// SPDX-License-Identifier: BSD-3-Clause
// A Loopback's server as the old home of a region: both engines go round on a thread of their own, and
// whoever rebuilds connects through the client's.
#pragma once

#include <atomic>
#include <thread>

#include "datapath/capsule.h"
#include "mgmt/recovery/source_link.h"
#include "tests/support/loopback.h"

namespace lagan::test {

class LoopbackSource {
  public:
    // Until it goes, nobody else polls the link.
    LoopbackSource(Loopback& link, const memory::Region& region)
        : link_(link), region_(region), poller_([this](const std::stop_token& stop) {
              while (!stop.stop_requested())
                  link_.poll();
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

    Loopback& link_;
    const memory::Region& region_;
    std::jthread poller_;
};

}  // namespace lagan::test
