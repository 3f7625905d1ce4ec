// SPDX-License-Identifier: BSD-3-Clause
#include "client/session.h"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <cstring>

#include "datapath/capsule.h"

namespace lagan::client {

namespace {

inline constexpr uint32_t kMaxOperations = 512;
inline constexpr uint64_t kSendCookie = ~0ULL;  // of capsules: their replies are what counts
inline constexpr uint32_t kMaxTransferBytes = 1U << 30;
inline constexpr uint32_t kBlockingBytes = 1U << 20;  // of one operation of the blocking forms
inline constexpr uint32_t kMaxReplyBytes = 4096;
// Longer than either fabric waits for an appliance that is silent: reached only if that goes wrong.
inline constexpr std::chrono::seconds kSettleTime{20};

}  // namespace

Session::Session(std::unique_ptr<Fabric> fabric)
    : fabric_(std::move(fabric)), page_bytes_(fabric_->region().page_bytes), chunks_(fabric_->region()) {
    operations_.resize(kMaxOperations);
    for (uint32_t i = 0; i < kMaxOperations; i++)
        free_slots_.push_back(i);
}

Session::~Session() = default;

void Session::finish(uint64_t cookie, CompletionStatus status) {
    completed_.push_back({cookie, status});
    outstanding_--;
}

bool Session::out_of_range(uint64_t cookie, uint64_t offset, uint64_t bytes) {
    if (offset <= size_bytes() && bytes <= size_bytes() - offset && bytes <= kMaxTransferBytes) return false;
    outstanding_++;
    finish(cookie, CompletionStatus::remote_access_error);
    return true;
}

bool Session::transfer(uint64_t cookie, uint64_t offset, std::byte* local, uint32_t bytes, bool is_read) {
    if (out_of_range(cookie, offset, bytes)) return true;
    if (free_slots_.empty() || !connected()) return false;
    const uint64_t first_page = offset / page_bytes_;
    if (bytes != 0 && frees_.conflicts(first_page, (offset + bytes - 1) / page_bytes_ - first_page + 1)) {
        send_frees();
        return false;  // until the appliance has answered
    }
    const uint32_t slot = free_slots_.back();
    Operation& operation = operations_[slot];
    operation = {.cookie = cookie, .offset = offset, .local = local, .bytes = bytes, .is_read = is_read};
    post_extents(slot);
    if (operation.parts == 0) return false;
    if (operation.bytes != 0) unfinished_.push_back(slot);
    free_slots_.pop_back();
    outstanding_++;
    return true;
}

// Posts what is left of an operation, extent by extent, as far as the send queue goes.
void Session::post_extents(uint32_t slot) {
    Operation& o = operations_[slot];
    do {
        const ChunkMap::Extent extent =
            o.bytes == 0 ? ChunkMap::Extent{} : chunks_.first_extent(o.offset, o.bytes);
        const bool posted =
            o.is_read ? fabric_->post_read(slot, extent.rkey, extent.remote_offset, o.local, extent.bytes)
                      : fabric_->post_write(slot, extent.rkey, extent.remote_offset, o.local, extent.bytes);
        if (!posted) return;
        o.parts++;
        o.offset += extent.bytes;
        o.local += extent.bytes;
        o.bytes -= extent.bytes;
    } while (o.bytes != 0);
}

bool Session::read(uint64_t cookie, uint64_t offset, void* to, uint32_t bytes) {
    if (!transfer(cookie, offset, static_cast<std::byte*>(to), bytes, true)) return false;
    stats_.reads++;
    stats_.read_bytes += bytes;
    return true;
}

bool Session::store(uint64_t cookie, uint64_t offset, const void* from, uint32_t bytes) {
    if (!transfer(cookie, offset, const_cast<std::byte*>(static_cast<const std::byte*>(from)), bytes, false))
        return false;
    stats_.stores += (bytes + page_bytes_ - 1) / page_bytes_;
    return true;
}

bool Session::store_page(uint64_t cookie, uint64_t page, const void* from) {
    return store(cookie, page < page_count() ? page * page_bytes_ : ~0ULL, from, page_bytes_);
}

bool Session::free_pages(uint64_t cookie, uint64_t first_page, uint32_t pages) {
    if (first_page > page_count() || pages > page_count() - first_page) {
        outstanding_++;
        finish(cookie, CompletionStatus::remote_access_error);
        return true;
    }
    if (!connected()) return false;
    if (frees_.full()) send_frees();
    if (!frees_.has_room()) return false;
    frees_.add(cookie, first_page, pages);
    outstanding_++;
    stats_.frees += pages;
    return true;
}

void Session::send_frees() {
    if (!frees_.anything_to_send() || !fabric_->post_send(kSendCookie, frees_.capsule())) return;
    frees_.sent();
    stats_.free_capsules++;
}

void Session::take_fabric_completion(const Completion& completion) {
    if (completion.cookie == kSendCookie) return;
    Operation& operation = operations_[completion.cookie];
    if (completion.status != CompletionStatus::success) operation.status = completion.status;
    if (--operation.parts != 0 || (operation.bytes != 0 && connected())) return;
    std::erase(unfinished_, static_cast<uint32_t>(completion.cookie));
    free_slots_.push_back(static_cast<uint32_t>(completion.cookie));
    finish(operation.cookie, operation.status);
}

void Session::take_replies() {
    std::byte reply[kMaxReplyBytes];
    while (const size_t bytes = fabric_->receive(reply)) {
        const auto& header = *reinterpret_cast<const capsule::Header*>(reply);
        if (bytes < sizeof header || header.version != capsule::kVersion) {
            fail("the appliance sent a capsule that is none");
            continue;
        }
        if (header.opcode != (static_cast<uint8_t>(capsule::Opcode::free_pages) | capsule::kReply)) {
            last_reply_.assign(reply, reply + bytes);
            continue;
        }
        if (header.status != static_cast<uint16_t>(capsule::Status::ok))
            fail(fmt::format("the appliance refused a FREE with status {}",
                             static_cast<unsigned>(header.status)));
        for (uint64_t cookie : frees_.answered(header.tag))
            finish(cookie,
                   failure_.empty() ? CompletionStatus::success : CompletionStatus::remote_invalid_request);
    }
}

void Session::fail(const std::string& why) {
    if (failure_.empty()) failure_ = why;
}

// What the fabric does not know of has nobody else to complete it.
void Session::flush() {
    for (uint64_t cookie : frees_.abandon())
        finish(cookie, CompletionStatus::flushed);
    std::erase_if(unfinished_, [this](uint32_t slot) {
        Operation& operation = operations_[slot];
        if (operation.parts != 0) return false;
        free_slots_.push_back(slot);
        finish(operation.cookie, CompletionStatus::flushed);
        return true;
    });
}

size_t Session::poll(std::span<Completion> out) {
    Completion found[64];
    const size_t count = fabric_->poll(found);
    for (size_t i = 0; i < count; i++)
        take_fabric_completion(found[i]);
    take_replies();
    if (connected()) {
        for (uint32_t slot : unfinished_)
            post_extents(slot);
        std::erase_if(unfinished_, [this](uint32_t slot) { return operations_[slot].bytes == 0; });
        send_frees();
    } else {
        flush();
    }
    const size_t given = std::min(out.size(), completed_.size());
    std::copy_n(completed_.begin(), given, out.begin());
    completed_.erase(completed_.begin(), completed_.begin() + static_cast<ptrdiff_t>(given));
    return given;
}

void Session::settle() {
    Completion dropped[64];
    set_reconnect_limit(std::chrono::seconds(0));
    const auto end = std::chrono::steady_clock::now() + kSettleTime;
    while (outstanding() != 0 && std::chrono::steady_clock::now() < end)
        poll(dropped);
    if (outstanding_ != 0) fabric_->disconnect();
}

// Posts `count` operations, as many at a time as go, and waits for all. The first failure is the result.
template <typename Post>
CompletionStatus Session::run_blocking(uint64_t count, Post&& post) {
    CompletionStatus status = CompletionStatus::success;
    uint64_t posted = 0, done = 0;
    while (done < posted || (posted < count && status == CompletionStatus::success)) {
        while (posted < count && status == CompletionStatus::success && post(posted))
            posted++;
        Completion found[64];
        const size_t n = poll(found);
        for (size_t i = 0; i < n; i++) {
            done++;
            if (status == CompletionStatus::success) status = found[i].status;
        }
        if (!connected() && n == 0 && done == posted) return CompletionStatus::flushed;
    }
    return status;
}

CompletionStatus Session::read_blocking(uint64_t offset, void* to, uint64_t bytes) {
    const uint64_t count = std::max<uint64_t>(1, (bytes + kBlockingBytes - 1) / kBlockingBytes);
    return run_blocking(count, [&](uint64_t i) {
        const uint64_t at = i * kBlockingBytes;
        return read(i, offset + at, static_cast<std::byte*>(to) + at,
                    static_cast<uint32_t>(std::min<uint64_t>(bytes - at, kBlockingBytes)));
    });
}

CompletionStatus Session::store_blocking(uint64_t first_page, const void* from, uint64_t pages) {
    return run_blocking(pages, [&](uint64_t i) {
        return store_page(i, first_page + i, static_cast<const std::byte*>(from) + i * page_bytes_);
    });
}

CompletionStatus Session::free_blocking(uint64_t first_page, uint64_t pages) {
    if (first_page > page_count() || pages > page_count() - first_page)
        return CompletionStatus::remote_access_error;
    constexpr uint64_t kPagesAtOnce = 1U << 20;
    return run_blocking((pages + kPagesAtOnce - 1) / kPagesAtOnce, [&](uint64_t i) {
        const uint64_t at = i * kPagesAtOnce;
        return free_pages(i, first_page + at, static_cast<uint32_t>(std::min(pages - at, kPagesAtOnce)));
    });
}

Session::DirtyCounts Session::dirty_counts_blocking() {
    struct {
        capsule::Header header;
        capsule::DirtyQuery query;
    } request{};
    request.header.version = capsule::kVersion;
    request.header.opcode = static_cast<uint8_t>(capsule::Opcode::dirty_query);
    last_reply_.clear();
    const auto message = std::as_bytes(std::span(&request, 1));
    while (connected() && !fabric_->post_send(kSendCookie, message))
        poll({});
    while (connected() && last_reply_.empty())
        poll({});
    if (last_reply_.size() < sizeof(capsule::DirtyCounts)) return {CompletionStatus::flushed, 0, 0};
    const auto& counts = *reinterpret_cast<const capsule::DirtyCounts*>(last_reply_.data());
    return {CompletionStatus::success, counts.dirty_pages, counts.present_pages};
}

}  // namespace lagan::client
