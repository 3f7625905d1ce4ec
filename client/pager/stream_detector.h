// SPDX-License-Identifier: BSD-3-Clause
// Recognises faults that walk through memory, up or down, several walks at a time. After two steps in a row
// it proposes to fetch ahead, twice as much each time, because every fault that is saved is a wakeup across
// cores that is saved.
#pragma once

#include <array>
#include <cstdint>

namespace lagan::client::pager {

class StreamDetector {
  public:
    static constexpr uint32_t kMaxWindow = 16;

    struct Advice {
        int direction;   // +1, -1
        uint32_t pages;  // beyond the page itself; 0: none
    };

    Advice on_fault(uint32_t page);

  private:
    static constexpr uint32_t kStreams = 16;
    struct Stream {
        uint32_t next_up = 0;  // where the walk goes on, by direction
        uint32_t next_down = 0;
        uint32_t window = 1;
        int direction = 0;  // 0: one fault only, not known yet
        uint64_t used = 0;  // 0: no walk here
    };
    std::array<Stream, kStreams> streams_{};
    uint64_t clock_ = 0;
};

}  // namespace lagan::client::pager
