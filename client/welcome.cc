// SPDX-License-Identifier: BSD-3-Clause
#include "client/welcome.h"

#include <fmt/format.h>

#include <cstring>
#include <stdexcept>

#include "datapath/capsule.h"

namespace lagan::client {

static constexpr uint32_t kPageBytes = 4096;
static constexpr uint64_t kMaxRegionBytes = 1ULL << 44;  // 2^32 pages: what a capsule can name

RegionInfo read_welcome(std::span<const uint8_t> private_data) {
    capsule::Welcome data;
    if (private_data.size() < sizeof data) throw Refused("the appliance's reply is too short");
    std::memcpy(&data, private_data.data(), sizeof data);
    if (data.version != capsule::kVersion)
        throw Refused(fmt::format("the appliance speaks version {} of the protocol, this client {}",
                                  data.version, capsule::kVersion));
    if (data.page_bytes != kPageBytes)
        throw Refused(fmt::format("the appliance has pages of {} bytes, this client {}",
                                  uint32_t{data.page_bytes}, kPageBytes));
    if (data.size_bytes == 0 || data.size_bytes > kMaxRegionBytes || data.size_bytes % kPageBytes != 0)
        throw Refused(
            fmt::format("the appliance says that the region has {} bytes: not a whole number of pages of {} "
                        "between one page and 16 TiB",
                        uint64_t{data.size_bytes}, kPageBytes));
    return {.region_id = data.region_id,
            .data_rkey = data.data_rkey,
            .dirty_rkey = data.dirty_rkey,
            .page_bytes = data.page_bytes,
            .size_bytes = data.size_bytes,
            .epoch = data.epoch};
}

// Reasons that say something to who sees them (InfiniBand specification, 12.6.7.2).
static const char* reason_text(unsigned reason) {
    switch (reason) {
        case 3:
            return "it has no room for another connection";
        case 8:
            return "nobody listens on that port there";
        case 10:
            return "it still holds an older connection of this queue pair: try again";
        case 26:
            return "the path MTU does not fit its port";
        default:
            return "";
    }
}

std::string refusal_text(unsigned reason, std::span<const uint8_t> private_data) {
    const auto* text = reinterpret_cast<const char*>(private_data.data());
    std::string why(text, private_data.empty() ? 0 : strnlen(text, private_data.size()));
    if (why.empty()) why = reason_text(reason);
    return fmt::format("the appliance refuses the connection (reason {}): {}", reason, why);
}

// Of an appliance that starts, stops, or is busy with other connections.
static bool passes(unsigned reason) {
    switch (reason) {
        case 1:   // no queue pair
        case 3:   // no resources
        case 4:   // timeout
        case 6:   // invalid communication id: it has forgotten the REQ
        case 8:   // invalid service id: nobody listens, yet
        case 10:  // stale connection
            return true;
        default:
            return false;
    }
}

void throw_refusal(unsigned reason, std::span<const uint8_t> private_data) {
    const std::string text = refusal_text(reason, private_data);
    if (passes(reason)) throw std::runtime_error(text);
    throw Refused(text);
}

}  // namespace lagan::client
