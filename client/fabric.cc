// SPDX-License-Identifier: BSD-3-Clause
#include "client/fabric.h"

namespace lagan::client {

const char* to_string(CompletionStatus status) {
    switch (status) {
        case CompletionStatus::success:
            return "success";
        case CompletionStatus::remote_access_error:
            return "remote access error (NAK 0x62)";
        case CompletionStatus::remote_invalid_request:
            return "remote invalid request (NAK 0x61)";
        case CompletionStatus::remote_operational_error:
            return "remote operational error (NAK 0x63): out of memory there, or the page is damaged";
        case CompletionStatus::retry_exceeded:
            return "no answer";
        case CompletionStatus::rnr_retry_exceeded:
            return "receiver not ready for too long";
        case CompletionStatus::flushed:
            return "the connection had ended before";
    }
    return "unknown status";
}

}  // namespace lagan::client
