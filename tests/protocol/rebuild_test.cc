// SPDX-License-Identifier: BSD-3-Clause
// A region rebuilt at a new home: from its old one, and from a baseline; compared page by page with what was
// stored.
#define BOOST_TEST_MODULE rebuild
#include "mgmt/recovery/rebuild.h"

#include <endian.h>

#include <algorithm>
#include <atomic>
#include <cstdlib>
#include <random>
#include <thread>

#include "tests/protocol/two_homes.h"

using namespace lagan;
using namespace lagan::test;

namespace {

std::mt19937_64 seeded() {
    const char* wanted = std::getenv("LAGAN_TEST_SEED");
    const uint64_t seed = wanted != nullptr ? std::strtoull(wanted, nullptr, 0) : std::random_device{}();
    BOOST_TEST_MESSAGE("LAGAN_TEST_SEED=" << seed);
    return std::mt19937_64(seed);
}

const Connect kNobody = [](const SourceAddress&, const Cancelled&) -> std::unique_ptr<SourceLink> {
    throw SourceError(SourceError::Why::lost, "there is no network");
};

// A region with a cut, and changes since: new pages, other content, pages freed.
struct OldHomeWithHistory : OldHome {
    OldHomeWithHistory() {
        put_some(random, 2'000);
        checkpoint();
        put_some(random, 500);
        for (int i = 0; i < 300; ++i)
            free(random() % kPages);
    }
    std::mt19937_64 random = seeded();
};

}  // namespace

BOOST_AUTO_TEST_CASE(from_source_and_baseline) {
    OldHomeWithHistory old;
    NewHome home(old);
    LoopbackSource source(old.link, old.region, fence_settles);
    const uint64_t cut = home.run(source.connect(), old.store.get(), home.request(true, true));
    BOOST_TEST(cut == 1U);
    home.check(old.now, old.changed);
    BOOST_TEST(home.progress.fenced);
    BOOST_TEST(home.progress.pages_listed == old.changed.size());
    BOOST_TEST(home.progress.pages_pulled == old.changed.size());  // and no page more
    BOOST_TEST(home.progress.first_page_us > 0U);
    BOOST_TEST(source.connections == 1U);
}

// No baseline was looked at: it may have old contents even of pages that are free.
std::set<uint64_t> all_pages() {
    std::set<uint64_t> all;
    for (uint64_t page = 0; page < kPages; ++page)
        all.insert(page);
    return all;
}

BOOST_AUTO_TEST_CASE(from_the_source_alone) {
    OldHomeWithHistory old;
    NewHome home(old);
    LoopbackSource source(old.link, old.region, fence_settles);
    home.run(source.connect(), nullptr, home.request(true, false));
    home.check(old.now, all_pages());
}

BOOST_AUTO_TEST_CASE(from_the_baseline_alone) {
    OldHomeWithHistory old;
    NewHome home(old);
    BOOST_TEST(home.run(kNobody, old.store.get(), home.request(false, true)) == 1U);
    home.check(old.at_cut, {});
    BOOST_TEST(home.progress.cut_number == 1U);
    BOOST_TEST(home.progress.cut_time_us > 0U);
    BOOST_TEST(!home.progress.fenced);
    // Whoever had the region before commits no more.
    BOOST_CHECK_THROW(baseline::BaselineWriter(*old.store, {.name = "heap",
                                                            .uid = old.region.uid,
                                                            .size_bytes = old.region.size_bytes,
                                                            .epoch = old.region.epoch,
                                                            .writer = kWriter}),
                      baseline::StoreError);
}

// Clients store and free while pages come: what they have done stays, dirty.
BOOST_AUTO_TEST_CASE(clients_are_faster) {
    OldHomeWithHistory old;
    NewHome home(old);
    LoopbackSource source(old.link, old.region, fence_settles);
    std::exception_ptr failed;
    std::jthread rebuilding([&] {
        try {
            home.run(source.connect(), old.store.get(), home.request(true, true));
        } catch (...) {
            failed = std::current_exception();
        }
    });
    Contents expected = old.now;
    std::set<uint64_t> dirty = old.changed;
    for (int i = 0; i < 3'000; ++i) {
        const uint64_t page = old.random() % kPages;
        const auto seed = static_cast<uint8_t>(old.random());
        home.put(page, seed);
        expected[page] = seed;
        dirty.insert(page);
        if (home.retire.room() < 16) home.retire.reclaim(1024);
    }
    rebuilding.join();
    if (failed) std::rethrow_exception(failed);
    home.check(expected, dirty);
}

// Pages that somebody waits for come before all others.
BOOST_AUTO_TEST_CASE(wanted_pages_first) {
    OldHome old;
    for (uint64_t page = 0; page < 2'000; ++page)
        old.put(page, static_cast<uint8_t>(page));
    NewHome home(old);
    const std::vector<uint64_t> wanted{1'999, 1'500, 8'000};
    for (const uint64_t page : wanted)
        home.region.wanted->ask(page);
    std::vector<uint64_t> asked;  // pages, in the order of READs
    old.link.to_server->filter = [&](rte_mbuf* packet) {
        const auto* data = rte_pktmbuf_mtod(packet, const uint8_t*);
        constexpr size_t kBth = 14 + 20 + 8, kReth = kBth + 12;
        if (packet->data_len < kReth + 16 || data[kBth] != uint8_t(roce::Opcode::rc_read_request))
            return true;
        uint64_t va;
        uint32_t rkey;
        std::memcpy(&va, data + kReth, sizeof va);
        std::memcpy(&rkey, data + kReth + 8, sizeof rkey);
        if (be32toh(rkey) == old.region.data_rkey) asked.push_back(be64toh(va) / kPageBytes);
        return true;
    };
    {
        LoopbackSource source(old.link, old.region, fence_settles);
        home.run(source.connect(), nullptr, home.request(true, false));
    }
    BOOST_REQUIRE(asked.size() >= 2'000U);
    asked.resize(wanted.size());
    BOOST_TEST(asked == wanted, boost::test_tools::per_element());
    home.check(old.now, all_pages());
}

// The source falls silent in the middle, three times; what it does not answer is asked again.
BOOST_AUTO_TEST_CASE(a_source_that_comes_and_goes) {
    OldHomeWithHistory old;
    NewHome home(old);
    std::atomic<int> silences{3};
    std::atomic<bool> silent{false};
    std::atomic<uint64_t> passed{0};
    old.link.to_client->filter = [&](rte_mbuf*) {
        if (!silent && ++passed % 150 == 0 && silences > 0) {
            --silences;
            silent = true;
        }
        return !silent;
    };
    LoopbackSource source(old.link, old.region, fence_settles);
    const Connect connect = [&](const SourceAddress& to, const Cancelled& cancelled) {
        silent = false;
        if (source.connections % 2 == 1) source.refuse_next = 1;  // and sometimes it is not there at once
        return source.connect()(to, cancelled);
    };
    home.run(connect, old.store.get(), home.request(true, true));
    home.check(old.now, old.changed);
    BOOST_TEST(silences == 0);
    BOOST_TEST(source.connections >= 4U);
    const auto told = home.told();
    BOOST_TEST(std::count(told.begin(), told.end(), "rebuild_source_lost") >= 1);
}

// A page that the source has damaged, and the baseline not, is damaged. Others do not suffer.
BOOST_AUTO_TEST_CASE(damaged_at_the_source) {
    OldHomeWithHistory old;
    const auto poison = [&](uint64_t page) {
        memory::poison_page(old.region, page, memory::pte_frame(old.region.page_table[page].load()));
    };
    std::set<uint64_t> listed, unlisted;
    for (const auto& [page, seed] : old.now) {
        auto& set = old.changed.contains(page) ? listed : unlisted;
        if (set.size() < 3 && set.insert(page).second) poison(page);
    }
    BOOST_REQUIRE(listed.size() == 3U);
    BOOST_REQUIRE(unlisted.size() == 3U);
    NewHome home(old);
    for (const uint64_t page : unlisted)
        home.region.wanted->ask(page);  // tried at the source, and then had from the baseline
    LoopbackSource source(old.link, old.region, fence_settles);
    home.run(source.connect(), old.store.get(), home.request(true, true));
    for (const uint64_t page : listed) {
        BOOST_TEST((home.region.page_table[page].load() & memory::kPtePoisoned) != 0U);
        BOOST_TEST(home.region.active().is_marked(page));
        home.put(page, old.now[page]);  // a store mends it
    }
    BOOST_TEST(home.progress.damaged_pages == 3U);
    const auto told = home.told();
    BOOST_TEST(std::count(told.begin(), told.end(), "page_damaged") == 3);
    home.check(old.now, old.changed);
}

// A baseline that has lost pages: the source still has them.
BOOST_AUTO_TEST_CASE(damaged_baseline) {
    OldHomeWithHistory old;
    // A byte of the first page of a segment.
    for (const auto& file : std::filesystem::recursive_directory_iterator(old.scratch.path / "store"))
        if (file.path().string().find("segments") != std::string::npos && file.is_regular_file()) {
            std::filesystem::permissions(file.path(), std::filesystem::perms::owner_all);
            FILE* open = std::fopen(file.path().c_str(), "r+");
            BOOST_REQUIRE(open != nullptr);
            std::fputc(0x5a, open);
            std::fputc(0xa5, open);
            std::fclose(open);
        }
    {
        NewHome home(old);
        LoopbackSource source(old.link, old.region, fence_settles);
        home.run(source.connect(), old.store.get(), home.request(true, true));
        for (const auto& [page, seed] : old.at_cut)  // what was lost is dirty: the next cut stores it again
            if (home.region.active().is_marked(page)) old.changed.insert(page);
        home.check(old.now, old.changed);
        BOOST_TEST(home.progress.damaged_pages == 0U);
    }
    NewHome home(old);
    home.run(kNobody, old.store.get(), home.request(false, true));
    BOOST_TEST(home.progress.damaged_pages >= 1U);
    BOOST_TEST(home.region.damaged.load() == home.progress.damaged_pages.load());
}

// Cancelled half-way; another attempt goes on from there.
BOOST_AUTO_TEST_CASE(goes_on_after_an_interruption) {
    OldHomeWithHistory old;
    NewHome home(old);
    std::atomic<uint64_t> passed{0};
    old.link.to_client->filter = [&](rte_mbuf*) {
        if (++passed == 200) home.progress.cancel.request_stop();
        return passed < 200 || passed > 100'000;
    };
    LoopbackSource source(old.link, old.region, fence_settles);
    const RebuildRequest request = home.request(true, true);
    BOOST_CHECK_EXCEPTION(home.run(source.connect(), old.store.get(), request), RebuildFailed,
                          [](const RebuildFailed& failed) { return failed.cancelled; });
    BOOST_TEST(home.region.pending.load() > 0U);
    const uint64_t first = home.progress.pages_pulled;
    BOOST_TEST(first > 0U);
    passed = 100'001;
    home.progress.cancel = std::stop_source();
    home.run(source.connect(), old.store.get(), request);
    BOOST_TEST(home.progress.pages_pulled - first < old.changed.size());
    home.check(old.now, old.changed);
}

BOOST_AUTO_TEST_CASE(what_is_refused) {
    OldHomeWithHistory old;
    std::atomic<int> fences{0};
    LoopbackSource source(old.link, old.region, [&](const MessageRing::Message& message) {
        ++fences;
        return fence_settles(message);
    });
    const auto attempt = [&](RebuildRequest (*change)(RebuildRequest)) {
        NewHome home(old);
        home.run(source.connect(), old.store.get(), change(home.request(true, true)));
    };
    const auto invalid = [](const SourceError& error) { return error.why == SourceError::Why::invalid; };
    BOOST_CHECK_EXCEPTION(attempt([](RebuildRequest r) { return r.uid++, r; }), SourceError, invalid);
    BOOST_CHECK_EXCEPTION(attempt([](RebuildRequest r) { return r.size_bytes += kPageBytes, r; }),
                          SourceError, invalid);
    BOOST_CHECK_EXCEPTION(attempt([](RebuildRequest r) { return r.source->epoch = 7, r; }), SourceError,
                          invalid);
    BOOST_TEST(fences == 0);  // whoever it is, it is not the region that is to stop
}

BOOST_AUTO_TEST_CASE(no_baseline_is_no_source) {
    OldHome old;
    NewHome home(old);
    BOOST_CHECK_EXCEPTION(home.run(kNobody, old.store.get(), home.request(false, true)), RebuildFailed,
                          [](const RebuildFailed& failed) {
                              return std::string(failed.what()).find("no baseline") != std::string::npos;
                          });
    BOOST_TEST(home.region.pending.load() == kPages);
}

BOOST_AUTO_TEST_CASE(no_room) {
    OldHome old;
    for (uint64_t page = 0; page < 5'000; ++page)
        old.put(page, static_cast<uint8_t>(page));
    NewHome home(old, 16ULL << 20);
    LoopbackSource source(old.link, old.region, fence_settles);
    BOOST_CHECK_EXCEPTION(home.run(source.connect(), nullptr, home.request(true, false)), RebuildFailed,
                          [](const RebuildFailed& failed) {
                              return std::string(failed.what()).find("no memory") != std::string::npos;
                          });
}
