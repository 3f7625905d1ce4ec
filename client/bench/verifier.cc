// SPDX-License-Identifier: BSD-3-Clause
#include "client/bench/verifier.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstring>

namespace lagan::bench {

inline constexpr size_t kMaxReports = 8;

Verifier::Verifier(uint64_t region_bytes, uint32_t cell_bytes, uint32_t seed)
    : cell_bytes_(cell_bytes), seed_(seed), cells_(region_bytes / cell_bytes) {}

bool Verifier::writable(uint64_t offset, uint64_t bytes) const {
    const auto first = cells_.begin() + static_cast<ptrdiff_t>(offset / cell_bytes_);
    return std::all_of(first, first + static_cast<ptrdiff_t>(bytes / cell_bytes_),
                       [](const Cell& cell) { return cell.posted - cell.completed < kRemembered - 1; });
}

// The first two words can be read by people; the others differ in most bits from those of any other cell or
// version.
uint64_t Verifier::word(uint64_t cell, uint32_t version, uint32_t index) const {
    const uint64_t label = uint64_t{version} << 32 | seed_;
    if (index == 0) return cell;
    if (index == 1) return label;
    uint64_t mixed = (cell + 1) * 0x9e3779b97f4a7c15 ^ label * 0xd6e8feb86659fd93;
    mixed ^= mixed >> 32;
    return (mixed + index) * 0xff51afd7ed558ccd;
}

void Verifier::fill(uint64_t offset, std::span<std::byte> to) const {
    uint64_t cell = offset / cell_bytes_;
    for (size_t at = 0; at < to.size(); at += cell_bytes_, cell++) {
        const uint32_t version = cells_[cell].posted + 1;
        for (uint32_t index = 0; index < cell_bytes_ / sizeof(uint64_t); index++) {
            const uint64_t value = word(cell, version, index);
            std::memcpy(to.data() + at + index * sizeof value, &value, sizeof value);
        }
    }
}

void Verifier::posted(uint64_t offset, uint64_t bytes, bool is_free) {
    for (uint64_t i = offset / cell_bytes_; i < (offset + bytes) / cell_bytes_; i++) {
        Cell& cell = cells_[i];
        cell.posted++;
        const uint64_t bit = 1ULL << cell.posted % kRemembered;
        cell.freed = is_free ? cell.freed | bit : cell.freed & ~bit;
    }
}

void Verifier::completed_change(uint64_t offset, uint64_t bytes) {
    for (uint64_t i = offset / cell_bytes_; i < (offset + bytes) / cell_bytes_; i++)
        cells_[i].completed++;
}

void Verifier::posted_read(uint64_t offset, uint64_t bytes, bool own, std::vector<uint32_t>& oldest) const {
    oldest.clear();
    for (uint64_t i = offset / cell_bytes_; i < (offset + bytes) / cell_bytes_; i++)
        oldest.push_back(own ? cells_[i].posted : cells_[i].completed);
}

bool Verifier::holds(std::span<const std::byte> data, uint64_t cell, uint32_t version) const {
    for (uint32_t index = 0; index < data.size() / sizeof(uint64_t); index++) {
        const uint64_t expected = word(cell, version, index);
        if (std::memcmp(data.data() + index * sizeof expected, &expected, sizeof expected) != 0) return false;
    }
    return true;
}

bool Verifier::acceptable(std::span<const std::byte> data, uint64_t number, uint32_t oldest) const {
    const Cell& cell = cells_[number];
    const uint32_t newer = cell.posted - oldest;
    if (std::all_of(data.begin(), data.end(), [](std::byte b) { return b == std::byte{0}; })) {
        if (newer >= kRemembered)
            return true;  // so many versions since: which of them were frees is forgotten
        for (uint32_t i = 0; i <= newer; i++) {
            if ((cell.freed >> (oldest + i) % kRemembered & 1) != 0) return true;
        }
        return false;
    }
    for (uint32_t i = 0; i <= newer; i++) {
        const bool was_free = newer < kRemembered && (cell.freed >> (oldest + i) % kRemembered & 1) != 0;
        if (!was_free && holds(data, number, oldest + i)) return true;
    }
    return false;
}

std::string Verifier::describe(std::span<const std::byte> data, uint64_t number, uint32_t oldest) const {
    const std::string expected =
        fmt::format("offset {:#x} ({} bytes): expected versions {} to {} (freed {:#x})", number * cell_bytes_,
                    cell_bytes_, oldest, cells_[number].posted, cells_[number].freed);
    uint64_t found[2];
    std::memcpy(found, data.data(), sizeof found);
    const auto version = static_cast<uint32_t>(found[1] >> 32);
    if (std::all_of(data.begin(), data.end(), [](std::byte b) { return b == std::byte{0}; }))
        return expected + ", found zeros";
    if (static_cast<uint32_t>(found[1]) != seed_ || found[0] >= cells_.size())
        return fmt::format("{}, found no stamp: {:#018x} {:#018x}", expected, found[0], found[1]);
    return fmt::format("{}, found version {} of offset {:#x}{}", expected, version, found[0] * cell_bytes_,
                       holds(data, found[0], version) ? "" : ", torn");
}

void Verifier::check_read(uint64_t offset, std::span<const std::byte> data,
                          std::span<const uint32_t> oldest) {
    const uint64_t first = offset / cell_bytes_;
    for (size_t i = 0; i < oldest.size(); i++) {
        const auto cell = data.subspan(i * cell_bytes_, cell_bytes_);
        cells_checked_++;
        if (acceptable(cell, first + i, oldest[i])) continue;
        mismatches_++;
        if (reports_.size() < kMaxReports) reports_.push_back(describe(cell, first + i, oldest[i]));
    }
}

}  // namespace lagan::bench
