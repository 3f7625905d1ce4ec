// SPDX-License-Identifier: BSD-3-Clause
#include "tests/model/explorer.h"

#include <fmt/format.h>

#include <algorithm>
#include <functional>
#include <string_view>
#include <type_traits>

namespace lagan::test::lease {

static size_t hash(const State& state) {
    static_assert(std::has_unique_object_representations_v<State>);
    return std::hash<std::string_view>()({reinterpret_cast<const char*>(&state), sizeof state});
}

Explorer::Explorer(const Rules& rules, const Bounds& bounds)
    : rules_(rules), bounds_(bounds), table_(1 << 16) {
    find(first_state(bounds), {0, {"the beginning", 0}});
    for (uint32_t i = 0; i < states_.size() && broken_.empty(); i++) {
        const State from = states_[i];
        successors(from, rules_, bounds_, [&](const State& to, const Step& step) {
            if (broken_.empty()) find(to, {i, step});
        });
    }
}

// Its number; it gets one if it is new.
uint32_t Explorer::find(const State& state, const Origin& origin) {
    if (2 * states_.size() >= table_.size()) make_room();
    const size_t mask = table_.size() - 1;
    size_t at = hash(state) & mask;
    while (table_[at] != 0) {
        if (states_[table_[at] - 1] == state) return table_[at] - 1;
        at = (at + 1) & mask;
    }
    states_.push_back(state);
    origins_.push_back(origin);
    table_[at] = static_cast<uint32_t>(states_.size());
    broken_ = violation(state);
    return table_[at] - 1;
}

void Explorer::make_room() {
    const size_t mask = 4 * table_.size() - 1;
    table_.assign(mask + 1, 0);
    for (uint32_t i = 0; i < states_.size(); i++) {
        size_t at = hash(states_[i]) & mask;
        while (table_[at] != 0)
            at = (at + 1) & mask;
        table_[at] = i + 1;
    }
}

std::string Explorer::way_to(uint32_t number) const {
    std::string text;
    for (; number != 0; number = origins_[number].from) {
        const Step& step = origins_[number].step;
        text.insert(0, "  " + fmt::format(fmt::runtime(step.what), step.who) + "\n");
    }
    return text;
}

static bool any_up(const State& state) {
    return std::any_of(state.node.begin(), state.node.end(),
                       [](const Node& node) { return node.power == Node::up; });
}

// Which states have a way to a good one, without a fault, and without the return of a node that another can
// stand in for.
void Explorer::look_back_from_well() {
    struct Edge {
        uint32_t to, from;
    };
    std::vector<Edge> edges;
    std::vector<uint32_t> reached;
    gets_well_.assign(states_.size(), false);
    for (uint32_t i = 0; i < states_.size(); i++) {
        const State from = states_[i];
        if (is_well(from)) {
            gets_well_[i] = true;
            reached.push_back(i);
        }
        successors(from, rules_, bounds_, [&](const State& to, const Step& step) {
            if (!step.fault && !(step.comes_back && any_up(from))) edges.push_back({find(to, {i, step}), i});
        });
    }
    std::sort(edges.begin(), edges.end(), [](const Edge& a, const Edge& b) { return a.to < b.to; });
    while (!reached.empty()) {
        const uint32_t to = reached.back();
        reached.pop_back();
        auto edge = std::lower_bound(edges.begin(), edges.end(), to,
                                     [](const Edge& e, uint32_t number) { return e.to < number; });
        for (; edge != edges.end() && edge->to == to; ++edge) {
            if (gets_well_[edge->from]) continue;
            gets_well_[edge->from] = true;
            reached.push_back(edge->from);
        }
    }
}

bool Explorer::left_out(const State& state) const {
    return state.last_epoch == bounds_.last_epoch ||
           std::all_of(state.node.begin(), state.node.end(),
                       [](const Node& node) { return node.power == Node::gone; });
}

std::optional<uint32_t> Explorer::stuck() {
    look_back_from_well();
    for (uint32_t i = 0; i < states_.size(); i++) {
        if (!gets_well_[i] && !left_out(states_[i])) return i;
    }
    return std::nullopt;
}

}  // namespace lagan::test::lease
