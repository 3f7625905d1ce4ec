// SPDX-License-Identifier: BSD-3-Clause
#include "client/bench/load.h"

#include <algorithm>

namespace lagan::bench {

inline constexpr uint64_t kSecondNs = 1'000'000'000;
inline constexpr uint64_t kDrainNs = 10 * kSecondNs;

static uint64_t places(uint64_t bytes, const Options& options) {
    return (bytes - options.op_bytes) / options.align_bytes + 1;
}

static uint64_t to_ns(double seconds) {
    return static_cast<uint64_t>(seconds * 1e9);
}

Load::Load(const Options& options, uint64_t region_bytes, const Connections& connections, Figures& figures,
           const std::atomic<bool>& stop)
    : options_(options), connections_(connections), figures_(figures), stop_(stop), random_(options.seed) {
    const uint64_t read_places = places(region_bytes, options);
    for (size_t i = 0; i < connections.size(); i++) {
        const Connection::Share share =
            options.verify ? connections[i]->share() : Connection::Share{0, region_bytes};
        const uint64_t write_places = places(share.end - share.begin, options);
        sources_.push_back(
            {.connection = connections[i].get(),
             .reads = Pattern(options.pattern, read_places, i * read_places / connections.size()),
             .writes = Pattern(options.pattern, write_places,
                               options.verify ? 0 : i * write_places / connections.size()),
             .write_base = share.begin,
             .next = {}});
    }
}

std::string Load::failure() const {
    for (const auto& connection : connections_) {
        if (!connection->connected()) return connection->failure();
    }
    return {};
}

Request Load::choose(Source& source, uint64_t due_ns) {
    const OpKind kind = options_.mix.pick(random_);
    if (kind == OpKind::read)
        return {kind, source.reads.next(random_) * options_.align_bytes, options_.op_bytes, due_ns};
    const uint64_t offset = source.write_base + source.writes.next(random_) * options_.align_bytes;
    if (kind == OpKind::write) return {kind, offset, options_.op_bytes, due_ns};
    return {kind, offset / kPageBytes * kPageBytes, options_.free_bytes(), due_ns};
}

void Load::fill() {
    const uint32_t chunk = std::max(options_.op_bytes / kPageBytes, 1U) * kPageBytes;
    std::vector<uint64_t> at;
    for (const auto& connection : connections_)
        at.push_back(connection->share().begin);
    figures_.from_ns = ~0ULL;  // nothing of this counts
    bool done = false;
    while (!done && !stop_ && failure().empty()) {
        done = true;
        for (size_t i = 0; i < connections_.size(); i++) {
            Connection& connection = *connections_[i];
            const uint64_t end = connection.share().end;
            while (at[i] < end) {
                const auto bytes = static_cast<uint32_t>(std::min<uint64_t>(chunk, end - at[i]));
                if (!connection.post({OpKind::write, at[i], bytes, 0})) break;
                at[i] += bytes;
            }
            connection.poll();
            done = done && at[i] == end && connection.is_idle();
        }
    }
}

bool Load::is_due(uint64_t now, uint64_t& due_ns) const {
    due_ns = now;
    if (options_.rate == 0) return true;
    due_ns = start_ns_ + to_ns(static_cast<double>(scheduled_) / options_.rate);
    return due_ns <= now && due_ns < end_ns_;
}

bool Load::over(uint64_t now) const {
    if (options_.ops != 0 ? measured_ >= options_.ops : now >= end_ns_) return true;
    return stop_ || !failure().empty();
}

void Load::post_due(Source& source) {
    while (source.connection->has_room()) {
        if (!source.next) {
            const uint64_t now = now_ns();
            uint64_t due_ns;
            if (over(now) || !is_due(now, due_ns)) return;
            source.next = choose(source, due_ns);
            scheduled_++;
            if (due_ns >= figures_.from_ns) measured_++;
        }
        if (!source.connection->post(*source.next)) return;
        source.next.reset();
    }
}

void Load::drain() {
    const uint64_t end = now_ns() + kDrainNs + options_.target.reconnect_seconds * kSecondNs;
    const auto busy = [](const auto& connection) { return !connection->is_idle(); };
    while (failure().empty() && std::any_of(connections_.begin(), connections_.end(), busy) &&
           now_ns() < end) {
        for (const auto& connection : connections_) {
            if (stop_) connection->stay_down();
            connection->poll();
        }
    }
}

void Load::run(const std::function<void()>& every_second) {
    start_ns_ = now_ns();
    figures_.from_ns = start_ns_ + to_ns(options_.warmup_seconds);
    end_ns_ = options_.ops != 0 ? ~0ULL : figures_.from_ns + to_ns(options_.seconds);
    uint64_t next_second = start_ns_ + kSecondNs;
    while (true) {
        const uint64_t now = now_ns();
        if (over(now)) break;
        if (now >= next_second) {
            every_second();
            next_second += kSecondNs;
        }
        for (Source& source : sources_) {
            post_due(source);
            source.connection->poll();
        }
    }
    uint64_t due_ns;
    const uint64_t ended = now_ns();
    if (options_.rate != 0 && options_.ops == 0) {
        for (; is_due(ended, due_ns); scheduled_++)
            figures_.unsent++;
    }
    for (const Source& source : sources_)
        figures_.unsent += source.next ? 1 : 0;
    drain();
}

}  // namespace lagan::bench
