// SPDX-License-Identifier: BSD-3-Clause
#include "mgmt/baseline/object_store.h"

namespace lagan::baseline {

const char* name_of(ErrorKind kind) {
    switch (kind) {
        case ErrorKind::unavailable:
            return "unavailable";
        case ErrorKind::no_space:
            return "no_space";
        case ErrorKind::refused:
            return "refused";
        case ErrorKind::missing:
            return "missing";
        case ErrorKind::damaged:
            return "damaged";
        case ErrorKind::invalid:
            return "invalid";
    }
    return "unknown";
}

uint64_t total_bytes(std::span<const Bytes> content) {
    uint64_t sum = 0;
    for (const Bytes piece : content)
        sum += piece.size();
    return sum;
}

}  // namespace lagan::baseline
