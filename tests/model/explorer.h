// SPDX-License-Identifier: BSD-3-Clause
// All states that the model can get into.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "tests/model/lease_model.h"

namespace lagan::test::lease {

class Explorer {
  public:
    // Until all states are known, or one breaks a promise. Breadth first: the way to that one is a shortest.
    Explorer(const Rules& rules, const Bounds& bounds);

    size_t size() const { return states_.size(); }
    // Which promise can be broken; empty: none.
    const std::string& broken() const { return broken_; }

    // A state from which the region is not served again, whatever is done, when nothing fails any more. Two
    // are left out: no node has its memory left; and the bounds allow no further attempt. With such a state
    // for none, whatever can happen again and again happens (nothing is lost for ever, nobody hangs for
    // ever), and so the region is served again.
    std::optional<uint32_t> stuck();

    // How it comes about, line by line.
    std::string way_to(uint32_t number) const;
    std::string way_to_violation() const { return way_to(static_cast<uint32_t>(size() - 1)); }

  private:
    struct Origin {
        uint32_t from;
        Step step;
    };

    uint32_t find(const State& state, const Origin& origin);
    void make_room();
    void look_back_from_well();
    bool left_out(const State& state) const;

    const Rules rules_;
    const Bounds bounds_;
    std::vector<State> states_;
    std::vector<Origin> origins_;
    std::vector<uint32_t> table_;  // 1 + number, by hash, open addressing
    std::string broken_;
    std::vector<bool> gets_well_;
};

}  // namespace lagan::test::lease
