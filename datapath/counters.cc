// SPDX-License-Identifier: BSD-3-Clause
#include "datapath/counters.h"

#include <iterator>

namespace lagan {

const char* refusal_name(Refusal refusal) {
    static constexpr const char* kNames[] = {
#define LAGAN_X(name, nak, help) #name,
        LAGAN_REFUSALS(LAGAN_X)
#undef LAGAN_X
    };
    return kNames[static_cast<unsigned>(refusal)];
}

const char* refusal_help(Refusal refusal) {
    static constexpr const char* kHelp[] = {
#define LAGAN_X(name, nak, help) help,
        LAGAN_REFUSALS(LAGAN_X)
#undef LAGAN_X
    };
    return kHelp[static_cast<unsigned>(refusal)];
}

const CounterInfo* counter_table(unsigned& count) {
    static constexpr CounterInfo kTable[] = {
#define LAGAN_X(name, help) {#name, help, &Counters::name},
        LAGAN_COUNTERS(LAGAN_X)
#undef LAGAN_X
    };
    count = std::size(kTable);
    return kTable;
}

}  // namespace lagan
