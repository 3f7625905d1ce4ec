// SPDX-License-Identifier: BSD-3-Clause
#include "client/reconnecting_fabric.h"

#include <fmt/format.h>

#include <algorithm>
#include <thread>
#include <utility>

namespace lagan::client {

using std::chrono::milliseconds;

namespace {

constexpr milliseconds kLastBackoff{1000};
// What is over sooner is not worth a line.
constexpr milliseconds kWorthTelling{1000};
// Between looks at a connection that is lost. Whoever calls poll() in a loop would take the processor from an
// appliance on this machine otherwise.
constexpr milliseconds kPause{1};
// Without an answer for so long, a region that may move is asked after: before the connection has used up its
// tries.
constexpr milliseconds kDoubt{500};
constexpr milliseconds kDoubtAgain{200};

// Ended by the way to the appliance, not by the appliance's answer to the operation.
bool mends(CompletionStatus status) {
    return status == CompletionStatus::retry_exceeded || status == CompletionStatus::rnr_retry_exceeded ||
           status == CompletionStatus::flushed;
}

double seconds(std::chrono::steady_clock::duration time) {
    return std::chrono::duration<double>(time).count();
}

}  // namespace

ReconnectingFabric::ReconnectingFabric(std::unique_ptr<Fabric> first, WayBack way, ReconnectOptions options)
    : way_(std::move(way)),
      options_(std::move(options)),
      region_(first->region()),
      region_now_(region_),
      send_queue_depth_(first->send_queue_depth()),
      connection_(std::move(first)),
      backoff_(options_.first_backoff) {}

void ReconnectingFabric::register_memory(std::span<std::byte> memory) {
    if (connection_) connection_->register_memory(memory);
    registered_.push_back(memory);
}

// ---- Posting ----

bool ReconnectingFabric::post_read(uint64_t cookie, uint32_t rkey, uint64_t remote_offset, void* local,
                                   uint32_t bytes) {
    return post({.kind = Kind::read,
                 .cookie = cookie,
                 .rkey = rkey,
                 .remote_offset = remote_offset,
                 .local = local,
                 .bytes = bytes});
}

bool ReconnectingFabric::post_write(uint64_t cookie, uint32_t rkey, uint64_t remote_offset, const void* local,
                                    uint32_t bytes) {
    return post({.kind = Kind::write,
                 .cookie = cookie,
                 .rkey = rkey,
                 .remote_offset = remote_offset,
                 .local = const_cast<void*>(local),
                 .bytes = bytes});
}

bool ReconnectingFabric::post_send(uint64_t cookie, std::span<const std::byte> message) {
    return post({.kind = Kind::message, .cookie = cookie, .message = {message.begin(), message.end()}});
}

// New operations only behind all that is repeated.
bool ReconnectingFabric::post(Operation operation) {
    if (!connection_ && connected() && !waiting_since_) waiting_since_ = Clock::now();
    if (!connection_ || posted_ != operations_.size() || !post_to_connection(operation)) return false;
    if (operations_.empty()) last_answer_ = Clock::now();
    operations_.push_back(std::move(operation));
    posted_++;
    return true;
}

uint32_t ReconnectingFabric::key_now(uint32_t rkey) const {
    if (rkey == region_.data_rkey) return region_now_.data_rkey;
    return rkey == region_.dirty_rkey ? region_now_.dirty_rkey : rkey;
}

bool ReconnectingFabric::post_to_connection(const Operation& o) {
    switch (o.kind) {
        case Kind::read:
            return connection_->post_read(o.cookie, key_now(o.rkey), o.remote_offset, o.local, o.bytes);
        case Kind::write:
            return connection_->post_write(o.cookie, key_now(o.rkey), o.remote_offset, o.local, o.bytes);
        case Kind::message:
            return connection_->post_send(o.cookie, o.message);
    }
    return false;
}

void ReconnectingFabric::post_what_is_left() {
    while (posted_ < operations_.size() && post_to_connection(operations_[posted_]))
        posted_++;
}

// ---- Completions and replies ----

// Of the oldest operation; a fabric completes in order. False: the caller knows already.
bool ReconnectingFabric::complete_oldest(CompletionStatus status) {
    Operation oldest = std::move(operations_.front());
    operations_.pop_front();
    posted_--;
    const bool known = oldest.told;
    if (status == CompletionStatus::success) {
        if (way_.moved) last_answer_ = Clock::now();
        waiting_since_.reset();
        backoff_ = options_.first_backoff;
        oldest.told = true;
        if (oldest.kind == Kind::message && !oldest.answered) {
            last_answer_ = Clock::now();
            unanswered_.push_back(std::move(oldest));
        }
    } else if (known) {
        end(fmt::format("the appliance refuses to repeat what it has taken before: {}", to_string(status)));
    }
    return !known;
}

size_t ReconnectingFabric::poll(std::span<Completion> out) {
    if (!connected()) return flush(out);
    if (!connection_) {
        try_again();
        return 0;
    }
    const size_t count = connection_->poll(out);
    size_t filled = 0;
    bool lost = count == 0 && !connection_->connected();
    if (count == 0 && !lost) ask_for_life();
    if (count == 0 && !lost && doubtful()) {
        go_down("the region lives elsewhere now");
        return 0;
    }
    for (size_t i = 0; i < count && !lost && connection_; i++) {
        lost = mends(out[i].status);
        if (!lost && complete_oldest(out[i].status)) out[filled++] = out[i];
    }
    if (!connection_) return filled;  // for good: a refusal
    lost ? go_down(connection_->failure()) : post_what_is_left();
    return filled;
}

// A reply is missing, and nothing is on its way that would find out whether anybody is there: a READ of no
// bytes does.
void ReconnectingFabric::ask_for_life() {
    if (unanswered_.empty() || posted_ != 0) return;
    const auto now = Clock::now();
    if (now - last_answer_ < kDoubt) return;
    last_answer_ = now;
    operations_.push_back({.kind = Kind::read, .told = true});
    post_what_is_left();
}

// Has the appliance been silent for long, and is the region elsewhere?
bool ReconnectingFabric::doubtful() {
    if (!way_.moved || posted_ == 0 || options_.limit.count() == 0) return false;
    const auto now = Clock::now();
    if (now - last_answer_ < kDoubt) return false;
    last_answer_ = now - kDoubt + kDoubtAgain;  // to be asked again then
    return way_.moved();
}

size_t ReconnectingFabric::receive(std::span<std::byte> to) {
    const size_t bytes = connection_ ? connection_->receive(to) : 0;
    if (bytes != 0) note_reply();
    return bytes;
}

// The oldest message without a reply has it now. Its acknowledgement may be lost, or still on its way.
void ReconnectingFabric::note_reply() {
    if (!unanswered_.empty()) return unanswered_.pop_front();
    const auto oldest = std::find_if(operations_.begin(), operations_.end(), [](const Operation& operation) {
        return operation.kind == Kind::message && !operation.answered;
    });
    if (oldest != operations_.end()) oldest->answered = true;
}

// ---- Losing the connection, and making it anew ----

void ReconnectingFabric::go_down(const std::string& why) {
    trouble_ = why;
    old_ = std::move(connection_);
    operations_.insert(operations_.begin(), std::make_move_iterator(unanswered_.begin()),
                       std::make_move_iterator(unanswered_.end()));
    unanswered_.clear();
    posted_ = 0;
    leave_out_what_was_done();
    lost_at_ = next_try_ = Clock::now();
    if (!operations_.empty() && !waiting_since_) waiting_since_ = lost_at_;
    if (options_.limit.count() == 0) end(trouble_);
}

// A reply says that its request has been carried out, and all that was posted before. To do so again could
// undo what the caller has posted since: a FREE, what was stored to its pages; a WRITE, the FREE behind it.
// READs of no bytes take their places. READs still want their data.
void ReconnectingFabric::leave_out_what_was_done() {
    const auto newest = std::find_if(operations_.rbegin(), operations_.rend(),
                                     [](const Operation& operation) { return operation.answered; });
    std::for_each(newest, operations_.rend(), [](Operation& operation) {
        if (operation.kind == Kind::read) return;
        operation = {.kind = Kind::read, .cookie = operation.cookie, .told = operation.told};
    });
}

void ReconnectingFabric::try_again() {
    const auto now = Clock::now();
    if (waiting_since_ && now - *waiting_since_ > options_.limit)
        return end(fmt::format("the appliance does not answer: {}; given up after {:.0f} s", trouble_,
                               seconds(now - *waiting_since_)));
    const bool wanted_elsewhere = options_.interrupted && options_.interrupted();
    if (wanted_elsewhere || now < next_try_) return std::this_thread::sleep_for(kPause);
    try {
        reconnect();
    } catch (const RolledBack& loss) {
        rolled_back_ = true;
        end(loss.what());
    } catch (const Refused& refusal) {
        end(refusal.what());
    } catch (const std::exception& error) {
        trouble_ = error.what();
        next_try_ = Clock::now() + backoff_;
        backoff_ = std::min(2 * backoff_, kLastBackoff);
    }
    if (!connection_ && connected()) tell_of_trouble();
}

void ReconnectingFabric::reconnect() {
    way_.restore();
    // First the old connection's end: what was sent on it may still be on its way, and must not be carried
    // out behind what is sent anew. Where the region does not live any more, nothing is carried out.
    if (old_ && !old_->try_disconnect() && !(way_.moved && way_.moved()))
        return std::this_thread::sleep_for(kPause);
    old_.reset();
    std::unique_ptr<Fabric> made = way_.connect();
    check_same_region(made->region());
    for (const std::span<std::byte> memory : registered_)
        made->register_memory(memory);
    connection_ = std::move(made);
    region_now_ = connection_->region();
    last_answer_ = Clock::now();
    reconnections_++;
    if (told_ && options_.tell)
        options_.tell(fmt::format("the appliance is back after {:.1f} s", seconds(Clock::now() - lost_at_)));
    told_ = false;
    if (operations_.empty()) waiting_since_.reset();
    post_what_is_left();
}

void ReconnectingFabric::check_same_region(const RegionInfo& found) const {
    // A number means something at one appliance only; of a region that moves, way_.connect() knows more.
    const bool other_number = !way_.moved && found.region_id != region_.region_id;
    if (other_number || found.size_bytes != region_.size_bytes || found.page_bytes != region_.page_bytes)
        throw Refused(
            fmt::format("the appliance has another region now (id {}, {} bytes; it was id {}, {} bytes)",
                        found.region_id, found.size_bytes, region_.region_id, region_.size_bytes));
    if (found.epoch < region_now_.epoch)
        throw Refused(fmt::format("the appliance has an older state of the region (epoch {}, it was {})",
                                  found.epoch, region_now_.epoch));
}

void ReconnectingFabric::tell_of_trouble() {
    if (told_ || Clock::now() - lost_at_ < kWorthTelling) return;
    told_ = true;
    // An operation that nobody waits for yet has all the time.
    const std::string how_long =
        waiting_since_ ? fmt::format(" for {:.0f} s", seconds(options_.limit)) : std::string();
    if (options_.tell)
        options_.tell(fmt::format("the appliance does not answer: {}; trying again{}", trouble_, how_long));
}

// For good.
void ReconnectingFabric::end(const std::string& why) {
    failure_ = why;
    for (std::unique_ptr<Fabric>* each : {&connection_, &old_}) {
        if (*each) (*each)->disconnect();
        each->reset();
    }
}

void ReconnectingFabric::set_reconnect_limit(milliseconds limit) {
    options_.limit = limit;
    if (limit.count() == 0 && !connection_ && connected()) end(trouble_);
}

void ReconnectingFabric::disconnect() {
    if (connected()) end("the connection has ended: closed here");
}

size_t ReconnectingFabric::flush(std::span<Completion> out) {
    size_t filled = 0;
    for (; filled < out.size() && !operations_.empty(); operations_.pop_front()) {
        if (!operations_.front().told)
            out[filled++] = {operations_.front().cookie, CompletionStatus::flushed};
    }
    return filled;
}

}  // namespace lagan::client
