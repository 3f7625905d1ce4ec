// SPDX-License-Identifier: BSD-3-Clause
// A region as plain memory: what random operations are compared with.
#pragma once

#include <algorithm>
#include <boost/test/unit_test.hpp>
#include <cstring>
#include <vector>

#include "datapath/memory/frame_pool.h"
#include "datapath/memory/region.h"

namespace lagan::test {

using Bytes = std::vector<uint8_t>;

class Model {
  public:
    explicit Model(uint64_t bytes) : Model(Bytes(bytes)) {}
    explicit Model(Bytes content)
        : bytes_(std::move(content)), changed_(bytes_.size() / memory::kPageBytes) {}

    const uint8_t* at(uint64_t offset) const { return bytes_.data() + offset; }

    // Pages whose bytes differ after it count as changed, once and for ever.
    void write(uint64_t offset, const uint8_t* from, uint64_t bytes) {
        while (bytes != 0) {
            const uint64_t part = std::min(bytes, memory::kPageBytes - offset % memory::kPageBytes);
            if (std::memcmp(&bytes_[offset], from, part) != 0) {
                changed_[offset / memory::kPageBytes] = true;
                std::memcpy(&bytes_[offset], from, part);
            }
            offset += part;
            from += part;
            bytes -= part;
        }
    }
    void clear(uint64_t offset, uint64_t bytes) { write(offset, Bytes(bytes).data(), bytes); }
    bool changed(uint64_t page) const { return changed_[page]; }

  private:
    Bytes bytes_;
    std::vector<bool> changed_;
};

// The region's bytes as they lie in its frames.
inline Bytes memory_of(const memory::Region& region, memory::FramePool& frames) {
    Bytes bytes(region.size_bytes);
    for (uint64_t page = 0; page < region.page_count; page++) {
        const memory::Pte pte = region.page_table[page].load();
        if (!memory::is_empty(pte))
            std::memcpy(&bytes[page * memory::kPageBytes], frames.data(memory::pte_frame(pte)),
                        memory::kPageBytes);
    }
    return bytes;
}

inline uint64_t present_pages(const memory::Region& region) {
    uint64_t present = 0;
    for (uint64_t page = 0; page < region.page_count; page++)
        present += !memory::is_empty(region.page_table[page].load());
    return present;
}

}  // namespace lagan::test
