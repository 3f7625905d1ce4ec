// SPDX-License-Identifier: BSD-3-Clause
#include "client/pager/stream_detector.h"

#include <algorithm>

namespace lagan::client::pager {

namespace {

// Pages that are resident already raise no fault, so a walk may seem to jump over some.
constexpr uint32_t kSlack = StreamDetector::kMaxWindow;

bool continues_up(uint32_t next, uint32_t page) {
    return page >= next && page - next <= kSlack;
}
bool continues_down(uint32_t next, uint32_t page) {
    return page <= next && next - page <= kSlack;
}

}  // namespace

StreamDetector::Advice StreamDetector::on_fault(uint32_t page) {
    ++clock_;
    for (Stream& stream : streams_) {
        const bool up = stream.direction >= 0 && continues_up(stream.next_up, page);
        const bool down = !up && stream.direction <= 0 && continues_down(stream.next_down, page);
        if (stream.used == 0 || (!up && !down)) continue;
        stream.used = clock_;
        stream.direction = up ? 1 : -1;
        stream.window = std::min(stream.window * 2, kMaxWindow);
        const uint32_t ahead = up ? stream.window - 1 : std::min(stream.window - 1, page);
        stream.next_up = page + ahead + 1;
        stream.next_down = page - ahead - (page > ahead ? 1 : 0);
        return {stream.direction, ahead};
    }
    Stream& oldest = *std::min_element(streams_.begin(), streams_.end(),
                                       [](const Stream& a, const Stream& b) { return a.used < b.used; });
    oldest = {page + 1, page - (page > 0 ? 1 : 0), 1, 0, clock_};
    return {1, 0};
}

}  // namespace lagan::client::pager
