// SPDX-License-Identifier: BSD-3-Clause
// A region at its old home, read by the appliance that takes it over. One thread. Everything that comes from
// there is hostile until it has been checked.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "mgmt/recovery/source_link.h"

namespace lagan::recovery {

class SourceConnection {
  public:
    // Connects. All functions throw SourceError; after that the connection is of no use.
    SourceConnection(const Connect& connect, const SourceAddress& to, Cancelled cancelled);
    // What is on its way is waited for.
    ~SourceConnection();
    SourceConnection(const SourceConnection&) = delete;
    SourceConnection& operator=(const SourceConnection&) = delete;

    // As it says itself; sizes are plausible.
    struct About {
        uint32_t region_id, data_rkey, dirty_rkey;
        uint64_t size_bytes, epoch, dirty_bytes;
    };
    const About& about() const { return about_; }

    // Returns when the old home acknowledges no store any more.
    void fence(uint64_t epoch);

    // Reads all pieces, many at once, and returns when they are there. Not while pages are ordered.
    struct Piece {
        uint64_t va;
        std::byte* to;
        uint32_t bytes;
    };
    void read(uint32_t rkey, std::span<const Piece> pieces);
    void read(uint32_t rkey, uint64_t va, std::span<std::byte> to);

    // ---- Pages, as many at once as the caller has memory for ----
    // False: no more at the moment.
    bool order_page(uint64_t page, std::byte* to) {
        return link_->puller().read(page + 1, about_.data_rkey, page * memory::kPageBytes, to,
                                    memory::kPageBytes);
    }
    struct Arrival {
        uint64_t page;
        roce::WorkStatus status;  // remote_operation: the page is damaged there; after any but success the
                                  // connection has ended
    };
    size_t take_arrivals(std::span<Arrival> out);
    uint32_t pages_on_their_way() { return link_->puller().outstanding(); }
    // Nothing is written to the caller's memory any more; unless nothing was on its way, the connection has
    // ended.
    void end_orders() noexcept;

    // Nothing to do: sleeps a moment. Throws when the connection has ended and all has been taken, when
    // something has been on its way without an answer for too long, or when the caller was cancelled.
    void wait();

  private:
    void progressed() { progress_ = Clock::now(); }
    void read_all(uint32_t rkey, std::span<const Piece> pieces);
    std::vector<std::byte> ask(std::span<const std::byte> capsule);

    using Clock = std::chrono::steady_clock;
    const Cancelled cancelled_;
    std::unique_ptr<SourceLink> link_;
    About about_{};
    uint32_t next_tag_ = 1;
    Clock::time_point progress_ = Clock::now();  // the last one
};

}  // namespace lagan::recovery
