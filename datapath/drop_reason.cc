// SPDX-License-Identifier: BSD-3-Clause
#include "datapath/drop_reason.h"

namespace lagan {

namespace {

struct Text {
    const char* name;
    const char* help;
};

constexpr Text kTexts[kDropReasonCount] = {
#define LAGAN_X(name, help) {#name, help},
    LAGAN_DROP_REASONS(LAGAN_X)
#undef LAGAN_X
};

}  // namespace

const char* drop_reason_name(DropReason reason) {
    return kTexts[static_cast<unsigned>(reason)].name;
}
const char* drop_reason_help(DropReason reason) {
    return kTexts[static_cast<unsigned>(reason)].help;
}

}  // namespace lagan
