// SPDX-License-Identifier: BSD-3-Clause
#include "mgmt/recovery/source_connection.h"

#include <fmt/format.h>

#include <array>
#include <cstring>
#include <thread>

#include "datapath/capsule.h"

namespace lagan::recovery {

using Why = SourceError::Why;
using namespace std::chrono_literals;

namespace {

constexpr auto kPause = 30us;       // with something on its way
constexpr auto kIdlePause = 200us;  // without
constexpr auto kStalled = 10s;      // longer than all retries of a request take
constexpr auto kFenceAgain = 1ms;   // an lcore's turn is shorter
constexpr uint32_t kReadBytes = 32768;

SourceConnection::About read_welcome(std::span<const uint8_t> bytes) {
    capsule::Welcome data;
    if (bytes.size() < sizeof data) throw SourceError(Why::invalid, "the source's welcome is too short");
    std::memcpy(&data, bytes.data(), sizeof data);
    if (data.version != capsule::kVersion || data.page_bytes != memory::kPageBytes)
        throw SourceError(
            Why::invalid,
            fmt::format("the source speaks version {} of the protocol with pages of {} bytes, "
                        "this appliance {} with {}",
                        data.version, uint32_t{data.page_bytes}, capsule::kVersion, memory::kPageBytes));
    if (data.size_bytes == 0 || data.size_bytes % memory::kPageBytes != 0 ||
        data.size_bytes / memory::kPageBytes > memory::kMaxRegionPages)
        throw SourceError(Why::invalid, fmt::format("the source says that the region has {} bytes",
                                                    uint64_t{data.size_bytes}));
    return {.region_id = data.region_id,
            .data_rkey = data.data_rkey,
            .dirty_rkey = data.dirty_rkey,
            .size_bytes = data.size_bytes,
            .epoch = data.epoch,
            .dirty_bytes = data.dirty_bytes};
}

[[noreturn]] void fail(roce::WorkStatus status) {
    throw SourceError(Why::lost, fmt::format("the connection to the source failed: {}", to_string(status)));
}

std::string status_text(uint16_t status) {
    switch (static_cast<capsule::Status>(status)) {
        case capsule::Status::bad_opcode:
            return "it is too old a version to be fenced";
        case capsule::Status::bad_argument:
            return "its epoch is not older than the new one";
        case capsule::Status::not_allowed:
            return "the grant is not one to recover";
        case capsule::Status::no_region:
            return "the region has been deleted there";
        default:
            return fmt::format("status {}", status);
    }
}

}  // namespace

SourceConnection::SourceConnection(const Connect& connect, const SourceAddress& to, Cancelled cancelled)
    : cancelled_(std::move(cancelled)), link_(connect(to, cancelled_)) {
    about_ = read_welcome(link_->welcome());
}

SourceConnection::~SourceConnection() {
    end_orders();
}

// Nothing is written to anybody's memory behind this. The engine answers at its next turn.
void SourceConnection::end_orders() noexcept {
    Puller& puller = link_->puller();
    if (puller.outstanding() != 0) puller.stop();
    std::array<Puller::Completion, 64> some;
    while (puller.outstanding() != 0)
        if (puller.take_completions(some) == 0) std::this_thread::sleep_for(kPause);
}

void SourceConnection::wait() {
    if (cancelled_ && cancelled_()) throw SourceError(Why::cancelled, "cancelled");
    Puller& puller = link_->puller();
    if (puller.outstanding() == 0) {
        if (puller.over()) throw SourceError(Why::lost, "the connection to the source has ended");
        progressed();
        return std::this_thread::sleep_for(kIdlePause);
    }
    if (Clock::now() - progress_ > kStalled) throw SourceError(Why::lost, "the source does not answer");
    std::this_thread::sleep_for(kPause);
}

void SourceConnection::read_all(uint32_t rkey, std::span<const Piece> pieces) {
    Puller& puller = link_->puller();
    size_t ordered = 0, done = 0;
    std::array<Puller::Completion, 64> some;
    while (done < pieces.size()) {
        while (ordered < pieces.size() &&
               puller.read(ordered + 1, rkey, pieces[ordered].va, pieces[ordered].to, pieces[ordered].bytes))
            ordered++;
        const size_t count = puller.take_completions(some);
        for (size_t i = 0; i < count; ++i)
            if (some[i].status != roce::WorkStatus::success) fail(some[i].status);
        done += count;
        if (count != 0) {
            progressed();
        } else {
            wait();
        }
    }
}

void SourceConnection::read(uint32_t rkey, std::span<const Piece> pieces) {
    progressed();
    try {
        read_all(rkey, pieces);
    } catch (...) {
        end_orders();
        throw;
    }
}

void SourceConnection::read(uint32_t rkey, uint64_t va, std::span<std::byte> to) {
    std::vector<Piece> pieces;
    for (size_t at = 0; at < to.size(); at += kReadBytes)
        pieces.push_back(
            {va + at, to.data() + at, static_cast<uint32_t>(std::min<size_t>(kReadBytes, to.size() - at))});
    read(rkey, pieces);
}

size_t SourceConnection::take_arrivals(std::span<Arrival> out) {
    std::array<Puller::Completion, 64> some;
    const size_t count =
        link_->puller().take_completions(std::span(some).first(std::min(out.size(), some.size())));
    for (size_t i = 0; i < count; ++i)
        out[i] = {some[i].cookie - 1, some[i].status};
    if (count != 0) progressed();
    return count;
}

// A message and its answer.
std::vector<std::byte> SourceConnection::ask(std::span<const std::byte> message) {
    const auto end = Clock::now() + kStalled;
    Puller& puller = link_->puller();
    try {
        while (!puller.send(1, message))
            wait();
        std::vector<std::byte> answer(kMaxMessageBytes);
        std::array<Puller::Completion, 1> sent;
        for (size_t bytes = 0; bytes == 0 || puller.outstanding() != 0; wait()) {
            if (bytes == 0) bytes = puller.take_message(answer);
            if (bytes != 0) answer.resize(bytes);
            if (puller.take_completions(sent) != 0 && sent[0].status != roce::WorkStatus::success)
                fail(sent[0].status);
            if (Clock::now() > end) throw SourceError(Why::lost, "the source does not answer");
        }
        return answer;
    } catch (...) {
        end_orders();
        throw;
    }
}

void SourceConnection::fence(uint64_t epoch) {
    struct {
        capsule::Header header{};
        capsule::Fence fence{};
    } request;
    const auto end = Clock::now() + kStalled;
    while (true) {
        request.header.version = capsule::kVersion;
        request.header.opcode = static_cast<uint8_t>(capsule::Opcode::fence);
        request.header.tag = next_tag_;
        request.fence.epoch = epoch;
        const std::vector<std::byte> bytes = ask(std::as_bytes(std::span(&request, 1)));
        capsule::FenceReply reply{};
        if (bytes.size() < sizeof reply.header)
            throw SourceError(Why::invalid, "the source's answer to FENCE is too short");
        std::memcpy(&reply, bytes.data(), std::min(bytes.size(), sizeof reply));
        if (reply.header.opcode != (request.header.opcode | capsule::kReply) ||
            reply.header.tag != next_tag_++)
            throw SourceError(Why::invalid, "the source has answered something else than FENCE");
        if (reply.header.status != static_cast<uint16_t>(capsule::Status::ok))
            throw SourceError(Why::refused, fmt::format("the source refuses to be fenced: {}",
                                                        status_text(reply.header.status)));
        if (bytes.size() < sizeof reply)
            throw SourceError(Why::invalid, "the source's answer to FENCE is too short");
        if (reply.settled == 1) return;
        if (Clock::now() > end)
            throw SourceError(Why::lost, "the source's lcores do not let go of the region");
        std::this_thread::sleep_for(kFenceAgain);
    }
}

}  // namespace lagan::recovery
