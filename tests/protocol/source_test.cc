// SPDX-License-Identifier: BSD-3-Clause
// Reading a region's dirty lists at its old home, which may say anything.
#define BOOST_TEST_MODULE source
#include <optional>
#include <set>

#include "datapath/memory/dirty_memory.h"
#include "mgmt/recovery/source_lists.h"
#include "tests/protocol/peer_fixture.h"
#include "tests/support/loopback_source.h"

using namespace lagan;
using namespace lagan::test;
using namespace lagan::recovery;
using memory::DirtyMemoryHeader;
using memory::kPageBytes;

namespace {

constexpr uint64_t kPages = 40'000;  // several words of a summary have to do with ten chunks

struct Source {
    Source() : region(link.make_region("r", kPages * kPageBytes, 0, true)) {}
    void start() { served.emplace(link, region); }
    SourceConnection connect() { return {served->connect(), {}, {}}; }
    DirtyMemoryHeader& header() {
        return *reinterpret_cast<DirtyMemoryHeader*>(region.dirty->memory().data());
    }
    Wanted wanted() const { return {region.uid, region.epoch + 1, region.size_bytes}; }

    Loopback link{{.responder_resources = 128, .initiator_depth = 128}};
    memory::Region& region;
    std::optional<LoopbackSource> served;
};

std::set<uint64_t> pages_of(const PageSet& set) {
    std::set<uint64_t> pages;
    PageSet::Cursor cursor(set);
    for (uint64_t page = cursor.next(); page != PageSet::kEnd; page = cursor.next())
        pages.insert(page);
    BOOST_TEST(pages.size() == set.count());
    return pages;
}

auto invalid(const std::string& text) {
    return [text](const SourceError& error) {
        BOOST_TEST_INFO(error.what());
        BOOST_CHECK(error.why == SourceError::Why::invalid);
        return std::string(error.what()).find(text) != std::string::npos;
    };
}

}  // namespace

BOOST_AUTO_TEST_CASE(both_lists_as_they_are) {
    Source source;
    std::mt19937_64 random(7);
    std::set<uint64_t> drain, active;
    for (int i = 0; i < 500; ++i) {
        drain.insert(random() % (kPages / 2));
        active.insert(kPages / 4 + random() % (kPages / 2));
    }
    active.insert({kPages - 1, 0, 4095, 4096});
    for (const uint64_t page : drain)
        source.region.dirty->active().mark(page);
    source.region.dirty->begin_cut();
    for (const uint64_t page : active)
        source.region.dirty->active().mark(page);
    source.start();
    SourceConnection connection = source.connect();
    const SourceLists lists = read_lists(connection, source.wanted());
    BOOST_TEST((pages_of(lists.drain) == drain));
    BOOST_TEST((pages_of(lists.active) == active));
    for (uint64_t page = 0; page < kPages; page += 3)
        BOOST_TEST_REQUIRE(lists.contains(page) == (drain.contains(page) || active.contains(page)));
    BOOST_TEST(lists.header.cut_number == 1U);
    BOOST_TEST(lists.header.durable_cut == 0U);
}

// What is read does not grow with the region: nothing dirty, hardly anything read.
BOOST_AUTO_TEST_CASE(costs_what_is_dirty) {
    Source source;
    source.region.dirty->active().mark(kPages - 1);
    source.start();
    SourceConnection connection = source.connect();
    const uint64_t before = source.link.client->counters.requests;
    const SourceLists lists = read_lists(connection, source.wanted());
    BOOST_TEST(pages_of(lists.active).size() == 1U);
    BOOST_TEST(pages_of(lists.drain).empty());
    BOOST_TEST(source.link.client->counters.requests - before == 5U);  // two headers, two summaries, a chunk
}

BOOST_AUTO_TEST_CASE(what_is_present) {
    Source source;
    const Loopback::Pair writer = source.link.connect(source.region);
    const std::set<uint64_t> stored{0, 63, 64, 9'000, kPages - 1};
    const Bytes bytes = pattern(kPageBytes, 1);
    for (const uint64_t page : stored)
        BOOST_REQUIRE(source.link.write(writer, source.region.data_rkey, page * kPageBytes, bytes.data(),
                                        kPageBytes) == roce::WorkStatus::success);
    source.start();
    SourceConnection connection = source.connect();
    const PageSet present = read_present(connection, read_header(connection, source.wanted()));
    BOOST_TEST((pages_of(present) == stored));
}

BOOST_AUTO_TEST_CASE(pages_that_are_none_are_left_out) {
    Source source;
    source.region.dirty->active().mark(kPages - 1);
    auto* bitmap = reinterpret_cast<uint64_t*>(source.region.dirty->memory().data() +
                                               source.header().lists[0].bitmap_offset);
    bitmap[kPages / 64] = ~0ULL;  // kPages is a multiple of 64: the word behind the last one
    auto* summary = reinterpret_cast<uint64_t*>(source.region.dirty->memory().data() +
                                                source.header().lists[0].summary_offset);
    summary[0] = ~0ULL;  // more chunks than there are
    source.start();
    SourceConnection connection = source.connect();
    BOOST_TEST((pages_of(read_lists(connection, source.wanted()).active) == std::set<uint64_t>{kPages - 1}));
}

BOOST_AUTO_TEST_CASE(hostile_headers) {
    const struct {
        const char* text;
        std::function<void(DirtyMemoryHeader&)> spoil;
    } cases[] = {
        {"magic", [](DirtyMemoryHeader& h) { h.magic++; }},
        {"version 3", [](DirtyMemoryHeader& h) { h.version = 3; }},
        {"pages of 8192", [](DirtyMemoryHeader& h) { h.page_bytes = 8192; }},
        {"another region's", [](DirtyMemoryHeader& h) { h.region_uid++; }},
        {"pages, wanted", [](DirtyMemoryHeader& h) { h.page_count = ~0ULL; }},
        {"epoch", [](DirtyMemoryHeader& h) { h.epoch = 2; }},
        {"list 2", [](DirtyMemoryHeader& h) { h.active_list = 2; }},
        {"durable", [](DirtyMemoryHeader& h) { h.durable_cut = 5; }},
        {"summary", [](DirtyMemoryHeader& h) { h.lists[0].summary_offset = 1ULL << 63; }},
        {"summary", [](DirtyMemoryHeader& h) { h.lists[1].summary_offset = ~0ULL - 7; }},
        {"bitmap", [](DirtyMemoryHeader& h) { h.lists[0].bitmap_offset += 1ULL << 20; }},
        {"bitmap", [](DirtyMemoryHeader& h) { h.lists[1].bitmap_offset = 0; }},
        {"summary", [](DirtyMemoryHeader& h) { h.lists[0].summary_offset += 4; }},
        {"present", [](DirtyMemoryHeader& h) { h.present_offset += 8; }},
    };
    for (const auto& each : cases) {
        Source source;
        each.spoil(source.header());
        source.start();
        SourceConnection connection = source.connect();
        BOOST_CHECK_EXCEPTION(read_lists(connection, source.wanted()), SourceError, invalid(each.text));
    }
}

// A hostile welcome: what it names is not there, and the connection ends instead of anything else.
BOOST_AUTO_TEST_CASE(hostile_welcomes) {
    const auto attempt = [](const std::function<void(capsule::Welcome&)>& spoil) {
        Source source;
        source.start();
        source.served->change_welcome = spoil;
        SourceConnection connection = source.connect();
        read_lists(connection, source.wanted());
    };
    BOOST_CHECK_EXCEPTION(attempt([](capsule::Welcome& w) { w.version = 9; }), SourceError,
                          invalid("version 9"));
    BOOST_CHECK_EXCEPTION(attempt([](capsule::Welcome& w) { w.size_bytes = 4095; }), SourceError,
                          invalid("4095 bytes"));
    BOOST_CHECK_EXCEPTION(attempt([](capsule::Welcome& w) { w.size_bytes = ~0ULL << 12; }), SourceError,
                          invalid("bytes"));
    BOOST_CHECK_EXCEPTION(attempt([](capsule::Welcome& w) { w.size_bytes = 8192; }), SourceError,
                          invalid("8192 bytes, wanted"));
    BOOST_CHECK_EXCEPTION(attempt([](capsule::Welcome& w) { w.dirty_bytes = 4096; }), SourceError,
                          invalid("does not lie within 4096"));
    BOOST_CHECK_EXCEPTION(attempt([](capsule::Welcome& w) { w.dirty_rkey = 5; }), SourceError,
                          [](const SourceError& error) { return error.why == SourceError::Why::lost; });
    attempt([](capsule::Welcome&) {});
}

BOOST_AUTO_TEST_CASE(a_source_that_vanishes) {
    Source source;
    source.region.dirty->active().mark(1);
    bool silent = false;
    source.link.to_client->filter = [&](rte_mbuf*) { return !silent; };
    source.start();
    SourceConnection connection = source.connect();
    read_lists(connection, source.wanted());
    silent = true;
    BOOST_CHECK_EXCEPTION(read_lists(connection, source.wanted()), SourceError,
                          [](const SourceError& error) { return error.why == SourceError::Why::lost; });
}

BOOST_AUTO_TEST_CASE(cancelled_while_it_waits) {
    Source source;
    source.link.to_client->filter = [&](rte_mbuf*) { return false; };
    source.start();
    int asked = 0;
    SourceConnection connection(source.served->connect(), {}, [&] { return ++asked == 5; });
    BOOST_CHECK_EXCEPTION(read_lists(connection, source.wanted()), SourceError,
                          [](const SourceError& error) { return error.why == SourceError::Why::cancelled; });
}

// ---- FENCE, answered by the test ----

namespace {

struct Fencing {
    explicit Fencing(LoopbackSource::Answers answers)
        : region(link.make_region("r", kPages * kPageBytes, 0, true)),
          served(link, region, std::move(answers)) {}
    void fence() {
        SourceConnection connection(served.connect(), {}, {});
        connection.fence(2);
    }
    Loopback link{{.serve_capsules = false}};
    memory::Region& region;
    LoopbackSource served;
};

auto is(SourceError::Why why) {
    return [why](const SourceError& error) {
        BOOST_TEST_INFO(error.what());
        return error.why == why;
    };
}

}  // namespace

BOOST_AUTO_TEST_CASE(a_fence_is_asked_for_until_it_has_settled) {
    std::atomic<int> asked{0};
    Fencing fencing([&](const MessageRing::Message& message) {
        const auto& fence = *reinterpret_cast<const capsule::Fence*>(message.data + sizeof(capsule::Header));
        BOOST_REQUIRE(message.bytes == sizeof(capsule::Header) + sizeof fence);
        BOOST_REQUIRE(uint64_t(fence.epoch) == 2U);
        return bytes_of(reply_to(message, capsule::Status::ok, ++asked == 5 ? 1 : 0));
    });
    fencing.fence();
    BOOST_TEST(asked == 5);
}

BOOST_AUTO_TEST_CASE(a_fence_that_is_refused) {
    for (const auto status :
         {capsule::Status::bad_opcode, capsule::Status::not_allowed, capsule::Status::bad_argument}) {
        Fencing fencing([&](const MessageRing::Message& message) {
            return bytes_of(reply_to(message, status, 1), sizeof(capsule::Header));
        });
        BOOST_CHECK_EXCEPTION(fencing.fence(), SourceError, is(SourceError::Why::refused));
    }
}

BOOST_AUTO_TEST_CASE(hostile_answers_to_a_fence) {
    const LoopbackSource::Answers hostile[] = {
        [](const MessageRing::Message& message) {
            return bytes_of(reply_to(message, capsule::Status::ok, 1), sizeof(capsule::Header));
        },
        [](const MessageRing::Message& message) {
            return bytes_of(reply_to(message, capsule::Status::ok, 1), 3);
        },
        [](const MessageRing::Message& message) {
            auto reply = reply_to(message, capsule::Status::ok, 1);
            reply.header.tag = reply.header.tag + 1;
            return bytes_of(reply);
        },
        [](const MessageRing::Message& message) {
            auto reply = reply_to(message, capsule::Status::ok, 1);
            reply.header.opcode = static_cast<uint8_t>(capsule::Opcode::region_info) | capsule::kReply;
            return bytes_of(reply);
        },
    };
    for (const auto& answers : hostile) {
        Fencing fencing(answers);
        BOOST_CHECK_EXCEPTION(fencing.fence(), SourceError, is(SourceError::Why::invalid));
    }
}
