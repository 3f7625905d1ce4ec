// SPDX-License-Identifier: BSD-3-Clause
#include "client/commands/event_source.h"

#include <utility>

namespace lagan::client::commands {

bool EventSource::feed(std::string_view piece) {
    partial_ += piece;
    size_t begin = 0;
    for (size_t end; (end = partial_.find('\n', begin)) != std::string::npos; begin = end + 1) {
        std::string_view text = std::string_view(partial_).substr(begin, end - begin);
        if (text.ends_with('\r')) text.remove_suffix(1);
        if (!line(text)) return false;
    }
    partial_.erase(0, begin);
    return true;
}

bool EventSource::line(std::string_view text) {
    if (text.empty()) {
        const bool complete = std::exchange(has_data_, false);
        return !complete || take_(std::exchange(data_, {}));
    }
    constexpr std::string_view kData = "data:";
    if (!text.starts_with(kData)) return true;  // a comment, or something else about the event
    text.remove_prefix(kData.size());
    if (text.starts_with(' ')) text.remove_prefix(1);
    if (has_data_) data_ += '\n';
    data_ += text;
    has_data_ = true;
    return true;
}

}  // namespace lagan::client::commands
