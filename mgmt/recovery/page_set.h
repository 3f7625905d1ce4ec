// SPDX-License-Identifier: BSD-3-Clause
// A set of pages that takes memory where there are any: 512 bytes for each 4096 pages of which one is in it.
#pragma once

#include <algorithm>
#include <bit>
#include <cstdint>
#include <span>
#include <vector>

#include "datapath/memory/dirty_list.h"

namespace lagan::recovery {

class PageSet {
  public:
    static constexpr uint64_t kChunkPages = memory::kPagesPerSummaryBit;
    static constexpr uint32_t kChunkWords = kChunkPages / 64;
    static constexpr uint64_t kEnd = ~0ULL;

    PageSet() = default;
    // Empty, with room for these chunks: ascending numbers. words() is then filled in.
    explicit PageSet(std::vector<uint64_t> chunks)
        : chunks_(std::move(chunks)), words_(chunks_.size() * kChunkWords) {}

    std::span<const uint64_t> chunks() const { return chunks_; }
    std::span<uint64_t> words() { return words_; }  // kChunkWords a chunk, in their order

    // Takes out pages that are none.
    void cut_at(uint64_t page_count) {
        for (size_t i = 0; i < words_.size(); ++i) {
            const uint64_t first = chunks_[i / kChunkWords] * kChunkPages + i % kChunkWords * 64;
            if (first >= page_count) {
                words_[i] = 0;
            } else if (page_count - first < 64) {
                words_[i] &= (1ULL << (page_count - first)) - 1;
            }
        }
    }
    bool contains(uint64_t page) const {
        const auto found = std::lower_bound(chunks_.begin(), chunks_.end(), page / kChunkPages);
        if (found == chunks_.end() || *found != page / kChunkPages) return false;
        const auto chunk = static_cast<size_t>(found - chunks_.begin());
        return (words_[chunk * kChunkWords + page % kChunkPages / 64] >> (page % 64) & 1) != 0;
    }
    uint64_t count() const {
        uint64_t pages = 0;
        for (const uint64_t word : words_)
            pages += static_cast<uint64_t>(std::popcount(word));
        return pages;
    }

    // Goes over all pages once, ascending.
    class Cursor {
      public:
        explicit Cursor(const PageSet& set) : set_(set) {}
        // kEnd behind the last one.
        uint64_t next() {
            while (rest_ == 0) {
                if (word_ == set_.words_.size()) return kEnd;
                rest_ = set_.words_[word_++];
            }
            const auto bit = static_cast<uint64_t>(std::countr_zero(rest_));
            rest_ &= rest_ - 1;
            const size_t at = word_ - 1;
            return set_.chunks_[at / kChunkWords] * kChunkPages + at % kChunkWords * 64 + bit;
        }

      private:
        const PageSet& set_;
        size_t word_ = 0;
        uint64_t rest_ = 0;
    };

  private:
    std::vector<uint64_t> chunks_;
    std::vector<uint64_t> words_;
};

}  // namespace lagan::recovery
