// SPDX-License-Identifier: BSD-3-Clause
#include "tests/protocol/random_client.h"

#include <fmt/format.h>

#include "datapath/capsule.h"

namespace lagan::test {

using memory::kPageBytes;
using roce::WorkStatus;

namespace {

constexpr size_t kGuardBytes = 16;
constexpr uint8_t kGuard = 0xee;
constexpr uint32_t kMaxCapsules =
    4;  // fewer than kMessageSlots, so that posting one cannot fail for want of a slot

capsule::Header header_of(capsule::Opcode opcode, uint64_t cookie, uint32_t count) {
    capsule::Header header{};
    header.version = capsule::kVersion;
    header.opcode = static_cast<uint8_t>(opcode);
    header.tag = static_cast<uint32_t>(cookie);
    header.count = count;
    return header;
}

}  // namespace

RandomClient::RandomClient(Loopback& link, memory::Region& region, uint64_t begin, uint64_t end,
                           Model& posted, Model& committed, const RandomLimits& limits)
    : link_(link),
      region_(region),
      begin_(begin),
      end_(end),
      posted_(posted),
      committed_(committed),
      limits_(limits),
      pair_(link.connect(region)) {}

bool RandomClient::overlaps(const Op& op, uint64_t offset, uint64_t bytes) const {
    return op.offset < offset + bytes && offset < op.offset + op.bytes;
}

bool RandomClient::free_in_the_way(uint64_t offset, uint64_t bytes) const {
    return std::any_of(outstanding_.begin(), outstanding_.end(),
                       [&](const Op& op) { return op.kind == Kind::free && overlaps(op, offset, bytes); });
}

void RandomClient::blur_reads(uint64_t offset, uint64_t bytes) {
    for (Op& op : outstanding_)
        if (op.kind == Kind::read && overlaps(op, offset, bytes))
            op.unknown.emplace_back(offset, offset + bytes);
}

// As many short ones as long ones, by magnitude; often a round number.
uint32_t RandomClient::random_length() {
    std::mt19937_64& random = link_.random;
    if (random() % 32 == 0) return 0;
    if (random() % 3 == 0) return std::min<uint32_t>(kPageBytes << random() % 4, limits_.max_bytes);
    const auto magnitude = 1 + random() % static_cast<uint64_t>(std::bit_width(limits_.max_bytes) - 1);
    return static_cast<uint32_t>(1 + random() % (1ULL << magnitude));
}

bool RandomClient::post_one() {
    if (failed_ || outstanding_.size() >= limits_.max_outstanding) return false;
    std::mt19937_64& random = link_.random;
    Op op{};
    op.cookie = next_cookie_;
    op.bytes = std::min<uint32_t>(random_length(), static_cast<uint32_t>(end_ - begin_));
    op.offset = begin_ + random() % (end_ - begin_ - op.bytes + 1);
    if (random() % 3 == 0)
        op.offset = std::clamp(op.offset / kPageBytes * kPageBytes, begin_, end_ - op.bytes);
    const auto dice = random() % 100;
    if (dice < 40) return post_read(std::move(op));
    if (dice < 75) return post_write(std::move(op));
    if (dice < 85) return post_atomic(std::move(op));
    const auto capsules = std::count_if(outstanding_.begin(), outstanding_.end(),
                                        [](const Op& other) { return other.kind >= Kind::free; });
    if (capsules >= kMaxCapsules) return false;
    if (dice < 95) return post_free(std::move(op));
    return post_query(std::move(op));
}

bool RandomClient::post_read(Op op) {
    op.kind = Kind::read;
    op.expected.assign(posted_.at(op.offset), posted_.at(op.offset) + op.bytes);
    op.data.assign(op.bytes + kGuardBytes, kGuard);
    for (const Op& other : outstanding_)
        if (other.kind == Kind::free && overlaps(other, op.offset, op.bytes))
            op.unknown.emplace_back(other.offset, other.offset + other.bytes);
    outstanding_.push_back(std::move(op));
    Op& kept = outstanding_.back();
    BOOST_REQUIRE(roce::post_read(*link_.client, *pair_.client, kept.cookie, region_.data_rkey, kept.offset,
                                  reinterpret_cast<std::byte*>(kept.data.data()), kept.bytes));
    next_cookie_++;
    return true;
}

bool RandomClient::post_write(Op op) {
    if (free_in_the_way(op.offset, op.bytes)) return false;
    std::mt19937_64& random = link_.random;
    op.kind = Kind::write;
    op.data.resize(op.bytes);
    const bool zeros = random() % 8 == 0;  // pages of zeros take no frame
    for (uint32_t i = 0; i < op.bytes && !zeros; i += sizeof(uint64_t)) {
        const uint64_t word = random();
        std::memcpy(&op.data[i], &word, std::min<size_t>(sizeof word, op.bytes - i));
    }
    blur_reads(op.offset, op.bytes);
    posted_.write(op.offset, op.data.data(), op.bytes);
    outstanding_.push_back(std::move(op));
    const Op& kept = outstanding_.back();
    const auto* from = reinterpret_cast<const std::byte*>(kept.data.data());
    BOOST_REQUIRE(random() % 4 == 0
                      ? roce::post_write_imm(*link_.client, *pair_.client, kept.cookie, region_.data_rkey,
                                             kept.offset, from, kept.bytes, 0x12345678)
                      : roce::post_write(*link_.client, *pair_.client, kept.cookie, region_.data_rkey,
                                         kept.offset, from, kept.bytes));
    next_cookie_++;
    return true;
}

// Often on the same few words, so that some find what others have left.
bool RandomClient::post_atomic(Op op) {
    std::mt19937_64& random = link_.random;
    op.kind = Kind::atomic;
    op.bytes = sizeof(uint64_t);
    op.offset = (begin_ + (random() % 2 == 0 ? random() % 64 : random() % (end_ - begin_ - 16)) + 7) & ~7ULL;
    if (free_in_the_way(op.offset, op.bytes)) return false;
    op.expected.assign(posted_.at(op.offset), posted_.at(op.offset) + op.bytes);
    uint64_t found;
    std::memcpy(&found, op.expected.data(), sizeof found);
    const bool swap = random() % 2 == 0;
    const uint64_t compare = random() % 4 == 0 ? random() : found;
    const uint64_t operand = random() % 4 == 0 ? 0 - found : random();  // back to zero, too
    const uint64_t left = !swap ? found + operand : compare == found ? operand : found;
    op.data.resize(sizeof left);
    std::memcpy(op.data.data(), &left, sizeof left);
    blur_reads(op.offset, op.bytes);
    posted_.write(op.offset, op.data.data(), op.bytes);
    outstanding_.push_back(std::move(op));
    Op& kept = outstanding_.back();
    auto* to = reinterpret_cast<std::byte*>(&kept.found);
    BOOST_REQUIRE(swap ? roce::post_compare_swap(*link_.client, *pair_.client, kept.cookie, region_.data_rkey,
                                                 kept.offset, to, compare, operand)
                       : roce::post_fetch_add(*link_.client, *pair_.client, kept.cookie, region_.data_rkey,
                                              kept.offset, to, operand));
    next_cookie_++;
    return true;
}

bool RandomClient::send(const void* capsule, uint32_t bytes, uint64_t cookie) {
    return roce::post_send(*link_.client, *pair_.client, cookie, static_cast<const std::byte*>(capsule),
                           bytes);
}

bool RandomClient::post_free(Op op) {
    // Whole pages only.
    const uint64_t first = (op.offset + kPageBytes - 1) / kPageBytes;
    const uint64_t behind = (op.offset + op.bytes) / kPageBytes;
    if (first >= behind || free_in_the_way(first * kPageBytes, (behind - first) * kPageBytes)) return false;
    op.kind = Kind::free;
    op.offset = first * kPageBytes;
    op.bytes = static_cast<uint32_t>((behind - first) * kPageBytes);
    struct {
        capsule::Header header;
        capsule::PageRange ranges[3];
    } request{};
    request.header = header_of(capsule::Opcode::free_pages, op.cookie, 3);
    const auto middle = static_cast<uint32_t>(first + link_.random() % (behind - first));
    const auto count = static_cast<uint32_t>(behind - first);
    request.ranges[0] = {.first_page = middle, .page_count = static_cast<uint32_t>(behind) - middle};
    request.ranges[1] = {.first_page = middle, .page_count = 0};
    request.ranges[2] = {.first_page = static_cast<uint32_t>(first),
                         .page_count = count};  // some of them twice
    if (!send(&request, sizeof request, op.cookie)) return false;
    blur_reads(op.offset, op.bytes);
    posted_.clear(op.offset, op.bytes);
    outstanding_.push_back(std::move(op));
    next_cookie_++;
    return true;
}

bool RandomClient::post_query(Op op) {
    op.bytes = 0;
    if (link_.random() % 2 == 0) {
        op.kind = Kind::info;
        const auto request = header_of(capsule::Opcode::region_info, op.cookie, 0);
        if (!send(&request, sizeof request, op.cookie)) return false;
    } else {
        op.kind = Kind::query;
        struct {
            capsule::Header header;
            capsule::DirtyQuery query;
        } request{};
        request.header = header_of(capsule::Opcode::dirty_query, op.cookie, 0);
        request.query.kind = static_cast<uint8_t>(link_.random() % 2);
        if (!send(&request, sizeof request, op.cookie)) return false;
    }
    outstanding_.push_back(std::move(op));
    next_cookie_++;
    return true;
}

void RandomClient::check_atomic(const Op& op) const {
    BOOST_REQUIRE_MESSAGE(
        std::memcmp(&op.found, op.expected.data(), sizeof op.found) == 0,
        "an atomic at " << op.offset << " found " << op.found << ", not what those before it have left");
}

void RandomClient::check_read(const Op& op) const {
    const bool guard =
        std::all_of(op.data.begin() + op.bytes, op.data.end(), [](uint8_t b) { return b == kGuard; });
    BOOST_REQUIRE_MESSAGE(guard, "a READ of " << op.bytes << " bytes wrote behind its buffer");
    if (std::equal(op.expected.begin(), op.expected.end(), op.data.begin())) return;
    for (uint32_t i = 0; i < op.bytes; i++) {
        if (op.data[i] == op.expected[i]) continue;
        const uint64_t at = op.offset + i;
        const bool excused = std::any_of(op.unknown.begin(), op.unknown.end(), [&](const auto& range) {
            return at >= range.first && at < range.second;
        });
        BOOST_REQUIRE_MESSAGE(excused, "READ of " << op.bytes << " bytes at " << op.offset << ": byte " << i
                                                  << " is " << int(op.data[i]) << ", not "
                                                  << int(op.expected[i]));
    }
}

void RandomClient::take_completion(uint64_t cookie, WorkStatus status) {
    const auto op =
        std::find_if(outstanding_.begin(), outstanding_.end(), [](const Op& o) { return !o.completed; });
    BOOST_REQUIRE_MESSAGE(op != outstanding_.end() && op->cookie == cookie,
                          "completion out of order: " << cookie);
    if (status != WorkStatus::success) {
        const bool expected = status == WorkStatus::retry_exceeded ||
                              status == WorkStatus::rnr_retry_exceeded ||
                              (failed_ && status == WorkStatus::flushed);
        BOOST_REQUIRE_MESSAGE(limits_.may_fail && expected, "operation " << cookie << " failed: " << status);
        failed_ = true;
        op->completed = true;
        return;
    }
    op->completed = true;
    if (op->kind < Kind::free || op->replied) finish(op);
}

// The operation is done: this is where its effect becomes certain.
void RandomClient::finish(std::list<Op>::iterator op) {
    switch (op->kind) {
        case Kind::read:
            check_read(*op);
            tally.reads++;
            break;
        case Kind::write:
            committed_.write(op->offset, op->data.data(), op->bytes);
            tally.writes++;
            tally.write_bytes += op->bytes;
            break;
        case Kind::atomic:
            check_atomic(*op);
            committed_.write(op->offset, op->data.data(), op->bytes);
            tally.atomics++;
            break;
        case Kind::free:
            committed_.clear(op->offset, op->bytes);
            tally.frees++;
            break;
        case Kind::query:
            tally.queries++;
            break;
        case Kind::info:
            tally.infos++;
            break;
    }
    outstanding_.erase(op);
}

void RandomClient::check_results() {
    std::vector<CompletionLog::Entry> completions;
    completions.swap(completions_);
    for (const auto& entry : completions)
        take_completion(entry.cookie, entry.status);
    MessageRing& ring = pair_.client->responder.received;
    while (!ring.empty())
        take_reply(ring.at(ring.head++));
    // The server's own requester gives up as well, with a reply on its way: then a DREQ ends the connection.
    if (limits_.may_fail && pair_.server->state == QpState::error) failed_ = true;
}

std::string RandomClient::describe() const {
    std::string text = fmt::format("QP {} ({}), server's ({})", pair_.client->qpn,
                                   pair_.client->state == QpState::ready ? "ready" : "failed",
                                   pair_.server->state == QpState::ready ? "ready" : "failed");
    for (const Op& op : outstanding_)
        text +=
            fmt::format("; operation {} kind {} offset {} bytes {}{}{}", op.cookie, int(op.kind), op.offset,
                        op.bytes, op.completed ? " acknowledged" : "", op.replied ? " replied" : "");
    return text;
}

void RandomClient::take_reply(const MessageRing::Message& message) {
    BOOST_REQUIRE(message.bytes >= sizeof(capsule::Header));
    const auto& header = *reinterpret_cast<const capsule::Header*>(message.data);
    const auto op = std::find_if(outstanding_.begin(), outstanding_.end(),
                                 [](const Op& o) { return o.kind >= Kind::free && !o.replied; });
    BOOST_REQUIRE_MESSAGE(op != outstanding_.end() && static_cast<uint32_t>(op->cookie) == header.tag,
                          "a reply out of order, or a second one");
    BOOST_REQUIRE(header.status == 0);
    if (op->kind == Kind::info) {
        BOOST_REQUIRE(message.bytes == sizeof(capsule::RegionInfo));
        const auto& info = *reinterpret_cast<const capsule::RegionInfo*>(message.data);
        BOOST_REQUIRE(info.size_bytes == region_.size_bytes);
        BOOST_REQUIRE(info.present_pages <= region_.page_count);
    }
    op->replied = true;
    if (op->completed) finish(op);
}

void RandomClient::recover() {
    link_.disconnect(pair_);
    link_.settle();
    const Bytes actual = memory_of(region_, *link_.frames);
    std::vector<bool> allowed(end_ - begin_);
    for (uint64_t at = begin_; at < end_; at++)
        allowed[at - begin_] = actual[at] == *committed_.at(at);
    for (const Op& op : outstanding_) {
        if (op.kind != Kind::write && op.kind != Kind::atomic && op.kind != Kind::free) continue;
        for (uint64_t at = op.offset; at < op.offset + op.bytes; at++)
            if (actual[at] == (op.kind == Kind::free ? 0 : op.data[at - op.offset]))
                allowed[at - begin_] = true;
    }
    const auto wrong = std::find(allowed.begin(), allowed.end(), false);
    BOOST_REQUIRE_MESSAGE(wrong == allowed.end(), "after a failure byte "
                                                      << begin_ + (wrong - allowed.begin())
                                                      << " is neither old nor new");
    committed_.write(begin_, &actual[begin_], end_ - begin_);
    posted_.write(begin_, &actual[begin_], end_ - begin_);
    outstanding_.clear();
    completions_.clear();
    failed_ = false;
    tally.failures++;
    pair_ = link_.connect(region_);
}

}  // namespace lagan::test
