// SPDX-License-Identifier: BSD-3-Clause
#include "client/free_collector.h"

#include <algorithm>
#include <cstring>
#include <utility>

#include "datapath/capsule.h"

namespace lagan::client {

void FreeCollector::add(uint64_t cookie, uint64_t first_page, uint32_t page_count) {
    auto& ranges = collected_.ranges;
    // A count has 32 bits in the capsule, and the largest region has one page too many for them.
    const bool follows = !ranges.empty() && ranges.back().first_page + ranges.back().page_count == first_page;
    if (follows && page_count <= UINT32_MAX - ranges.back().page_count) {
        ranges.back().page_count += page_count;
    } else {
        ranges.push_back({first_page, page_count});
    }
    collected_.cookies.push_back(cookie);
}

bool FreeCollector::overlaps(const Batch& batch, uint64_t first_page, uint64_t page_count) {
    return std::any_of(batch.ranges.begin(), batch.ranges.end(), [&](const Range& range) {
        return range.first_page < first_page + page_count && first_page < range.first_page + range.page_count;
    });
}

bool FreeCollector::conflicts(uint64_t first_page, uint64_t page_count) const {
    return overlaps(collected_, first_page, page_count) ||
           std::any_of(in_flight_.begin(), in_flight_.end(),
                       [&](const Batch& batch) { return overlaps(batch, first_page, page_count); });
}

std::vector<std::byte> FreeCollector::capsule() const {
    std::vector<std::byte> message(sizeof(capsule::Header) +
                                   collected_.ranges.size() * sizeof(capsule::PageRange));
    auto& header = *reinterpret_cast<capsule::Header*>(message.data());
    header.version = capsule::kVersion;
    header.opcode = static_cast<uint8_t>(capsule::Opcode::free_pages);
    header.tag = next_tag_;
    header.count = static_cast<uint32_t>(collected_.ranges.size());
    auto* ranges = reinterpret_cast<capsule::PageRange*>(&header + 1);
    for (const Range& range : collected_.ranges)
        *ranges++ = {.first_page = static_cast<uint32_t>(range.first_page), .page_count = range.page_count};
    return message;
}

void FreeCollector::sent() {
    collected_.tag = next_tag_++;
    in_flight_.push_back(std::exchange(collected_, {}));
}

std::vector<uint64_t> FreeCollector::answered(uint32_t tag) {
    if (in_flight_.empty() || in_flight_.front().tag != tag) return {};
    std::vector<uint64_t> cookies = std::move(in_flight_.front().cookies);
    in_flight_.pop_front();
    return cookies;
}

std::vector<uint64_t> FreeCollector::abandon() {
    std::vector<uint64_t> cookies = std::exchange(collected_, {}).cookies;
    for (Batch& batch : in_flight_)
        cookies.insert(cookies.end(), batch.cookies.begin(), batch.cookies.end());
    in_flight_.clear();
    return cookies;
}

}  // namespace lagan::client
