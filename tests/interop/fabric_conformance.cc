// SPDX-License-Identifier: BSD-3-Clause
// What every fabric must do (client/fabric.h), against a real appliance: run with --fabric dpdk and --fabric
// verbs by fabric_conformance_test.py of tests/system and verbs_test.py of tests/interop. One line per case:
// "PASS name" or "FAIL name: why".
#include <fmt/format.h>

#include <chrono>
#include <cstring>
#include <deque>
#include <functional>
#include <random>
#include <stdexcept>

#include "client/target_options.h"
#include "datapath/capsule.h"

using namespace lagan;
using namespace lagan::client;

namespace {

using Bytes = std::vector<std::byte>;
constexpr uint32_t kMiB = 1U << 20;
// Only ever reached by a failure.
constexpr std::chrono::seconds kPatience{120};

void check(bool good, const std::string& what) {
    if (!good) throw std::runtime_error(what);
}

struct Context {
    Target& target;
    std::mt19937_64 random;

    uint64_t below(uint64_t end) { return std::uniform_int_distribution<uint64_t>(0, end - 1)(random); }
    Bytes bytes(size_t count) {
        Bytes made(count);
        for (std::byte& byte : made)
            byte = static_cast<std::byte>(random());
        return made;
    }
};

// A connection whose operations are waited for.
class Link {
  public:
    explicit Link(Context& context) : fabric_(context.target.connect_fabric(Role::write)) {}

    Fabric& operator*() { return *fabric_; }
    Fabric* operator->() { return fabric_.get(); }
    uint32_t key() const { return fabric_->region().data_rkey; }

    // The next completion. Completions come in the order of posting, so it is known whose it must be.
    CompletionStatus next(uint64_t cookie) {
        const auto end = std::chrono::steady_clock::now() + kPatience;
        while (ready_.empty()) {
            Completion found[16];
            const size_t count = fabric_->poll(found);
            ready_.insert(ready_.end(), found, found + count);
            check(count != 0 || std::chrono::steady_clock::now() < end,
                  fmt::format("no completion of operation {}", cookie));
        }
        const Completion first = ready_.front();
        ready_.pop_front();
        check(first.cookie == cookie,
              fmt::format("completion of operation {} instead of {}", first.cookie, cookie));
        return first.status;
    }
    void expect(uint64_t cookie, CompletionStatus status) {
        const CompletionStatus got = next(cookie);
        check(got == status, fmt::format("operation {}: \"{}\" instead of \"{}\"", cookie, to_string(got),
                                         to_string(status)));
    }
    void read(uint64_t offset, std::span<std::byte> to) {
        check(fabric_->post_read(1, key(), offset, to.data(), static_cast<uint32_t>(to.size())),
              "a READ is not accepted by an empty send queue");
        expect(1, CompletionStatus::success);
    }
    void write(uint64_t offset, std::span<const std::byte> from) {
        check(fabric_->post_write(2, key(), offset, from.data(), static_cast<uint32_t>(from.size())),
              "a WRITE is not accepted by an empty send queue");
        expect(2, CompletionStatus::success);
    }
    Bytes receive() {
        const auto end = std::chrono::steady_clock::now() + kPatience;
        Bytes message(4096);
        for (;;) {
            if (const size_t bytes = fabric_->receive(message)) {
                message.resize(bytes);
                return message;
            }
            Completion found[16];
            const size_t count = fabric_->poll(found);
            ready_.insert(ready_.end(), found, found + count);
            check(std::chrono::steady_clock::now() < end, "no reply to a capsule");
        }
    }

  private:
    std::unique_ptr<Fabric> fabric_;
    std::deque<Completion> ready_;
};

// Writes and reads back, with the local memory in the middle of bytes that must not change.
void transfer(Context& context, Link& link, std::span<std::byte> from, std::span<std::byte> around) {
    constexpr size_t kMargin = 64;
    constexpr uint32_t kSizes[] = {0, 1, 4095, 4096, 4097, 65536, kMiB};
    constexpr uint64_t kOffsets[] = {0, 4096, 1, 4093};
    for (const uint32_t size : kSizes) {
        for (const uint64_t offset : kOffsets) {
            const Bytes data = context.bytes(size);
            const size_t shift = context.below(16);  // local memory is not aligned either
            std::copy(data.begin(), data.end(), from.begin() + static_cast<ptrdiff_t>(shift));
            link.write(offset, from.subspan(shift, size));
            std::fill(around.begin(), around.end(), std::byte{0xee});
            const auto to = around.subspan(kMargin + shift, size);
            link.read(offset, to);
            const std::string what = fmt::format("{} bytes at {}", size, offset);
            check(std::equal(to.begin(), to.end(), data.begin()), what + ": other data came back");
            check(std::all_of(around.begin(), to.begin(), [](std::byte b) { return b == std::byte{0xee}; }) &&
                      std::all_of(to.end(), around.end(), [](std::byte b) { return b == std::byte{0xee}; }),
                  what + ": bytes beside them were changed");
        }
    }
}

void sizes_and_offsets_in_registered_memory(Context& context) {
    Bytes memory(3 * kMiB);
    Link link(context);
    link->register_memory(memory);
    transfer(context, link, std::span(memory).first(kMiB + 64), std::span(memory).subspan(kMiB + 64));
}

void sizes_and_offsets_in_any_memory(Context& context) {
    Bytes from(kMiB + 64), to(kMiB + 256);
    Link link(context);
    transfer(context, link, from, to);
}

void completions_come_in_order(Context& context) {
    Link link(context);
    Bytes memory(4 * kMiB);
    link->register_memory(memory);
    const uint32_t kCount = std::min(100U, link->send_queue_depth());
    for (uint32_t i = 0; i < kCount; i++) {
        // Reads of much and writes of little: the answer to a write would be there first.
        const auto size = static_cast<uint32_t>(i % 3 == 0 ? 65536 : context.below(4096));
        std::byte* local = memory.data() + i % 32 * 65536;
        const bool posted = i % 3 == 0 ? link->post_read(i, link.key(), 0, local, size)
                                       : link->post_write(i, link.key(), kMiB + i * 4096, local, size);
        check(posted, "not accepted though there is room");
    }
    for (uint32_t i = 0; i < kCount; i++)
        link.expect(i, CompletionStatus::success);
}

void a_full_send_queue_says_so_and_goes_on(Context& context) {
    Link link(context);
    Bytes memory(4096);
    uint64_t posted = 0, done = 0;
    const auto fill = [&] {
        while (link->post_read(posted, link.key(), 0, memory.data(), 4096))
            posted++;
    };
    fill();
    check(posted == link->send_queue_depth(), fmt::format("full after {} operations", posted));
    for (int round = 0; round < 10; round++) {
        while (done < posted - link->send_queue_depth() / 2)
            link.expect(done++, CompletionStatus::success);
        const uint64_t before = posted;
        fill();
        check(posted > before, "still full after completions");
    }
    while (done < posted)
        link.expect(done++, CompletionStatus::success);
}

void capsules_are_answered(Context& context) {
    Link link(context);
    const auto ask = [&](uint32_t tag, capsule::Opcode opcode, std::span<const std::byte> more = {}) {
        capsule::Header header{};
        header.version = capsule::kVersion;
        header.opcode = static_cast<uint8_t>(opcode);
        header.tag = tag;
        header.count = more.empty() ? 0 : 1;
        Bytes message(sizeof header + more.size());
        std::memcpy(message.data(), &header, sizeof header);
        if (!more.empty()) std::memcpy(message.data() + sizeof header, more.data(), more.size());
        check(link->post_send(tag, message), "a SEND is not accepted");
    };
    // More in all than receives are posted at once.
    for (uint32_t round = 0; round < 12; round++) {
        for (uint32_t i = 0; i < 4; i++)
            ask(round * 4 + i, capsule::Opcode::region_info);
        for (uint32_t i = 0; i < 4; i++) {
            const Bytes reply = link.receive();
            capsule::RegionInfo info;
            check(reply.size() == sizeof info, "the reply to REGION_INFO has another size");
            std::memcpy(&info, reply.data(), sizeof info);
            check(info.header.tag == round * 4 + i, "replies come in another order");
            check(info.size_bytes == link->region().size_bytes && info.data_rkey == link.key(),
                  "REGION_INFO is not what the connection's reply said");
        }
        for (uint32_t i = 0; i < 4; i++)
            link.expect(round * 4 + i, CompletionStatus::success);
    }
    Bytes page = context.bytes(4096);
    link.write(8 * 4096, page);
    capsule::PageRange range;
    range.first_page = 8;
    range.page_count = 1;
    ask(77, capsule::Opcode::free_pages, std::as_bytes(std::span(&range, 1)));
    link.expect(77, CompletionStatus::success);
    check(link.receive().size() == sizeof(capsule::FreeReply), "the reply to FREE");
    link.read(8 * 4096, page);
    check(page == Bytes(4096), "a page that was freed is not zeros");
}

// A request that the appliance refuses, between others: those before it are carried out, those behind it not.
void refused(Context& context, const std::function<bool(Link&, std::byte*)>& post) {
    Link link(context);
    Bytes memory(2 * 65536);
    for (uint64_t i = 0; i < 4; i++)
        check(link->post_read(i, link.key(), 0, memory.data(), 65536), "a READ is not accepted");
    check(post(link, memory.data() + 65536), "the wrong request is not accepted");
    // The refusal may already be known here.
    uint64_t behind = 5;
    while (behind < 9 && link->post_write(behind, link.key(), 0, memory.data(), 4096))
        behind++;
    for (uint64_t i = 0; i < 4; i++)
        link.expect(i, CompletionStatus::success);
    link.expect(4, CompletionStatus::remote_access_error);
    for (uint64_t i = 5; i < behind; i++)
        link.expect(i, CompletionStatus::flushed);
    check(!link->connected() && !link->failure().empty(), "the connection says that it goes on");
    check(!link->post_read(9, link.key(), 0, memory.data(), 1), "accepted after the connection has failed");
}

void a_wrong_rkey_ends_the_connection(Context& context) {
    refused(context,
            [](Link& link, std::byte* to) { return link->post_read(4, link.key() ^ 0x5a5a00, 0, to, 4096); });
    refused(context, [](Link& link, std::byte* to) {
        return link->post_write(4, link.key() ^ 0x5a5a00, 0, to, 4096);
    });
}

void out_of_range_ends_the_connection(Context& context) {
    refused(context, [](Link& link, std::byte* to) {
        return link->post_read(4, link.key(), link->region().size_bytes - 4095, to, 4096);
    });
    refused(context, [](Link& link, std::byte* to) {
        return link->post_write(4, link.key(), link->region().size_bytes, to, 1);
    });
}

// Random operations, many outstanding, against a model of the region. A range has one operation at a time.
void many_outstanding(Context& context) {
    constexpr uint32_t kLanes = 192, kLaneBytes = 16384, kOperations = 4000;
    struct Lane {
        Bytes model = Bytes(kLaneBytes);
        uint32_t offset = 0, size = 0;
        bool is_read = false;
    };
    Link link(context);
    Bytes memory(size_t{kLanes} * kLaneBytes);
    link->register_memory(memory);
    check(link->region().size_bytes >= memory.size() && link->send_queue_depth() >= kLanes,
          "region or send queue too small for this");
    for (uint64_t at = 0; at < memory.size(); at += kMiB)  // known contents
        link.write(at, std::span(memory).subspan(at, kMiB));
    std::vector<Lane> lanes(kLanes);
    const auto post = [&](uint32_t number) {
        Lane& lane = lanes[number];
        std::byte* local = memory.data() + size_t{number} * kLaneBytes;
        lane.offset = static_cast<uint32_t>(context.below(kLaneBytes));
        lane.size = static_cast<uint32_t>(context.below(kLaneBytes - lane.offset + 1));
        lane.is_read = context.below(2) == 0;
        const uint64_t remote = uint64_t{number} * kLaneBytes + lane.offset;
        if (lane.is_read) {
            std::fill(local, local + lane.size, std::byte{0xee});
            check(link->post_read(number, link.key(), remote, local, lane.size), "a READ is not accepted");
            return;
        }
        const Bytes data = context.bytes(lane.size);
        std::copy(data.begin(), data.end(), local);
        std::copy(data.begin(), data.end(), lane.model.begin() + lane.offset);
        check(link->post_write(number, link.key(), remote, local, lane.size), "a WRITE is not accepted");
    };
    const auto finish = [&](uint32_t number) {
        link.expect(number, CompletionStatus::success);
        const Lane& lane = lanes[number];
        const std::byte* local = memory.data() + size_t{number} * kLaneBytes;
        check(
            !lane.is_read || std::equal(local, local + lane.size, lane.model.begin() + lane.offset),
            fmt::format("lane {}: {} bytes at {} are not what was written", number, lane.size, lane.offset));
    };
    for (uint32_t i = 0; i < kLanes; i++)
        post(i);
    for (uint32_t i = 0; i < kOperations; i++) {
        finish(i % kLanes);
        post(i % kLanes);
    }
    for (uint32_t i = 0; i < kLanes; i++)
        finish((kOperations + i) % kLanes);
}

void disconnecting_is_orderly(Context& context) {
    for (int round = 0; round < 3; round++) {
        Link link(context);
        Bytes page = context.bytes(4096), back(4096);
        link.write(0, page);
        link.read(0, back);
        check(back == page && link->connected() && link->failure().empty(), "a new connection works");
        link->disconnect();
        check(!link->connected() && !link->failure().empty(), "connected after disconnect()");
        check(!link->post_write(3, link.key(), 0, page.data(), 4096), "accepted after disconnect()");
        link->disconnect();  // twice does no harm
    }
}

// The caller kills the appliance meanwhile.
void a_dead_appliance_is_given_up(Context& context) {
    Link link(context);
    Bytes page(4096);
    fmt::print("reading until the appliance is killed\n");
    std::fflush(stdout);
    CompletionStatus status = CompletionStatus::success;
    for (uint64_t i = 0; status == CompletionStatus::success; i++) {
        check(link->post_read(i, link.key(), 0, page.data(), 4096), "a READ is not accepted");
        status = link.next(i);
    }
    fmt::print("the last READ: {}\n", to_string(status));
    // Flushed: the fabric has seen the appliance go, or its own device.
    check(status == CompletionStatus::retry_exceeded || status == CompletionStatus::flushed,
          fmt::format("status \"{}\"", to_string(status)));
    check(!link->connected() && !link->failure().empty(), "the connection says that it goes on");
}

using Case = std::pair<const char*, void (*)(Context&)>;
#define LAGAN_CASE(name) \
    { #name, name }
constexpr Case kCases[] = {LAGAN_CASE(sizes_and_offsets_in_registered_memory),
                           LAGAN_CASE(sizes_and_offsets_in_any_memory),
                           LAGAN_CASE(completions_come_in_order),
                           LAGAN_CASE(a_full_send_queue_says_so_and_goes_on),
                           LAGAN_CASE(capsules_are_answered),
                           LAGAN_CASE(a_wrong_rkey_ends_the_connection),
                           LAGAN_CASE(out_of_range_ends_the_connection),
                           LAGAN_CASE(many_outstanding),
                           LAGAN_CASE(disconnecting_is_orderly)};
constexpr Case kKilled = LAGAN_CASE(a_dead_appliance_is_given_up);

bool run(const Case& chosen, Context& context) {
    try {
        chosen.second(context);
        fmt::print("PASS {}\n", chosen.first);
        return true;
    } catch (const std::exception& error) {
        fmt::print("FAIL {}: {}\n", chosen.first, error.what());
        return false;
    }
}

}  // namespace

int main(int argc, char** argv) {
    TargetOptions options{.region_bytes = 16 * kMiB, .purpose = "conformance"};
    uint64_t seed = 1;
    bool killed = false;
    CLI::App app("What every fabric must do, against a real appliance");
    add_target_options(app, options);
    app.add_option("--seed", seed);
    app.add_flag("--killed", killed, "Only the case in which the appliance is killed, by who runs this");
    CLI11_PARSE(app, argc, argv);
    try {
        Target target(options);
        Context context{target, std::mt19937_64(seed)};
        if (killed) return run(kKilled, context) ? 0 : 1;
        size_t failed = 0;
        for (const Case& each : kCases)
            failed += run(each, context) ? 0 : 1;
        return failed == 0 ? 0 : 1;
    } catch (const std::exception& error) {
        fmt::print("FAIL connecting: {}\n", error.what());
        return 1;
    }
}
