// SPDX-License-Identifier: BSD-3-Clause
// A region rebuilt while its old home, its baseline, or both of them fail: what one place does not have comes
// from the other, and nothing that is not known to be right is taken for it.
#define BOOST_TEST_MODULE rebuild_faults
#include <algorithm>
#include <atomic>
#include <fstream>
#include <functional>
#include <thread>

#include "mgmt/baseline/manifest_store.h"
#include "mgmt/baseline/segment.h"
#include "mgmt/recovery/wanted_queue.h"
#include "tests/protocol/two_homes.h"
#include "tests/unit/faulty_store.h"

using namespace lagan;
using namespace lagan::test;
using namespace std::chrono_literals;
namespace fs = std::filesystem;

namespace {

const Connect kNobody = [](const SourceAddress&, const Cancelled&) -> std::unique_ptr<SourceLink> {
    throw SourceError(SourceError::Why::lost, "there is no network");
};

std::vector<fs::path> objects(const OldHome& old, const std::string& kind) {
    std::vector<fs::path> found;
    for (const auto& file : fs::recursive_directory_iterator(old.scratch.path / "store"))
        if (file.is_regular_file() && file.path().parent_path().filename() == kind)
            found.push_back(file.path());
    std::sort(found.begin(), found.end());
    return found;
}

void spoil(const fs::path& file) {
    fs::permissions(file, fs::perms::owner_all);
    std::ofstream(file, std::ios::trunc) << "nothing that anybody can read";
}

// Pages 0-99 are in cut 1 as 1; 50-149 are 2 since.
struct TwoCuts : OldHome {
    explicit TwoCuts(int cuts) {
        for (uint64_t page = 0; page < 100; ++page)
            put(page, 1);
        checkpoint();
        for (uint64_t page = 50; page < 150; ++page)
            put(page, 2);
        if (cuts == 2) checkpoint();
    }
};

std::set<uint64_t> all_of(const Contents& contents) {
    std::set<uint64_t> pages;
    for (const auto& [page, seed] : contents)
        pages.insert(page);
    return pages;
}

bool has_told(const NewHome& home, const std::string& kind) {
    const auto told = home.told();
    return std::find(told.begin(), told.end(), kind) != told.end();
}

// The rebuild goes on beside the test, which sees what came of it at the end.
class Running {
  public:
    Running(NewHome& home, const Connect& connect, baseline::ObjectStore* store,
            const RebuildRequest& request)
        : thread_([&home, connect, store, request, this] {
              try {
                  home.run(connect, store, request);
              } catch (...) {
                  failed_ = std::current_exception();
              }
              ended = true;
          }) {}
    void end() {
        thread_.join();
        if (failed_) std::rethrow_exception(failed_);
    }
    static void wait_until(const std::function<bool()>& what) {
        for (int i = 0; i < 20'000 && !what(); ++i)
            std::this_thread::sleep_for(1ms);
        BOOST_REQUIRE(what());
    }

    std::atomic<bool> ended{false};

  private:
    std::exception_ptr failed_;
    std::jthread thread_;
};

}  // namespace

// ---- The baseline ----

BOOST_AUTO_TEST_CASE(a_lost_segment) {
    TwoCuts old(1);
    for (const fs::path& segment : objects(old, "segments"))
        fs::remove(segment);
    {
        NewHome home(old);
        LoopbackSource source(old.link, old.region, fence_settles);
        home.run(source.connect(), old.store.get(), home.request(true, true));
        home.check(old.now, all_of(old.now));  // no baseline has them any more
        BOOST_TEST(home.progress.damaged_pages == 0U);
        BOOST_TEST(has_told(home, "baseline_damaged"));
    }
    NewHome home(old);
    BOOST_TEST(home.run(kNobody, old.store.get(), home.request(false, true)) == 1U);
    for (uint64_t page = 0; page < 100; ++page)
        BOOST_TEST_REQUIRE(home.region.page_table[page].load() == memory::kPtePoisoned);
    BOOST_TEST(home.progress.damaged_pages == 100U);
    BOOST_TEST(home.region.pending.load() == 0U);
    const auto told = home.told();
    BOOST_TEST(std::count(told.begin(), told.end(), "baseline_damaged") == 1);
}

BOOST_AUTO_TEST_CASE(an_unreadable_manifest) {
    TwoCuts old(2);
    const auto manifests = objects(old, "manifests");
    BOOST_REQUIRE(manifests.size() >= 2U);
    // The newest two are of cut 2: the claim for it is removed by its commit.
    spoil(manifests.back());
    const uint64_t durable = old.region.dirty->durable_cut();
    BOOST_TEST(durable == 2U);
    {
        NewHome home(old);
        LoopbackSource source(old.link, old.region, fence_settles);
        BOOST_TEST(home.run(source.connect(), old.store.get(), home.request(true, true)) == 1U);
        home.check(old.now, all_of(old.now));
        BOOST_TEST(has_told(home, "baseline_damaged"));
        BOOST_TEST(has_told(home, "rebuild_without_baseline"));
    }
    for (const fs::path& manifest : objects(old, "manifests"))
        if (manifest > manifests.back()) fs::remove(manifest);
    {  // without a source: the older cut, and that is said
        NewHome home(old);
        BOOST_TEST(home.run(kNobody, old.store.get(), home.request(false, true)) == 1U);
        Contents at_first;
        for (uint64_t page = 0; page < 100; ++page)
            at_first[page] = 1;
        home.check(at_first, {});
        BOOST_TEST(home.progress.cut_number == 1U);
        BOOST_TEST(has_told(home, "baseline_damaged"));
    }
    // No manifest can be read: that is no empty region.
    for (const fs::path& manifest : objects(old, "manifests"))
        spoil(manifest);
    const size_t before = objects(old, "manifests").size();
    NewHome home(old);
    BOOST_CHECK_EXCEPTION(home.run(kNobody, old.store.get(), home.request(false, true)), RebuildFailed,
                          [](const RebuildFailed& failed) {
                              return std::string(failed.what()).find("can be read") != std::string::npos;
                          });
    BOOST_TEST(objects(old, "manifests").size() == before);
    BOOST_TEST(home.region.pending.load() == kPages);
}

// The source's own word: cut 1 is durable. A store that is empty is another one.
BOOST_AUTO_TEST_CASE(a_baseline_that_is_older_than_thought) {
    TwoCuts old(1);
    fs::create_directory(old.scratch.path / "other");
    baseline::DirectoryStore other(old.scratch.path / "other");
    NewHome home(old);
    LoopbackSource source(old.link, old.region, fence_settles);
    BOOST_TEST(home.run(source.connect(), &other, home.request(true, true)) == 0U);
    home.check(old.now, all_of(old.now));
    BOOST_TEST(has_told(home, "rebuild_without_baseline"));
}

// The home that followed the source was given up after it had stored in the baseline: its pages and the
// source's are of two times.
BOOST_AUTO_TEST_CASE(a_baseline_of_a_later_home) {
    TwoCuts old(1);
    {
        baseline::BaselineWriter later(*old.store, {.name = "heap",
                                                    .uid = old.region.uid,
                                                    .size_bytes = old.region.size_bytes,
                                                    .epoch = old.region.epoch + 1,
                                                    .writer = kNewWriter});
        std::vector<baseline::StoredPage> pages;
        const Bytes bytes = pattern(kPageBytes, 9);
        const auto* data = reinterpret_cast<const std::byte*>(bytes.data());
        const uint32_t crc = roce::crc32_raw(0, data, kPageBytes);
        pages.push_back({3, baseline::PageKind::data, crc, data});
        pages.push_back({4, baseline::PageKind::absent, 0, nullptr});
        pages.push_back({5'000, baseline::PageKind::data, crc, data});
        const std::vector<baseline::SegmentRef> segments{later.write_segment(pages)};
        later.commit(segments, 2, 77);
    }
    NewHome home(old, 128ULL << 20, 2);
    home.region.wanted->ask(3);
    LoopbackSource source(old.link, old.region, fence_settles);
    BOOST_TEST(home.run(source.connect(), old.store.get(), home.request(true, true)) == 2U);
    std::set<uint64_t> dirty = all_of(old.now);
    dirty.insert(5'000);  // absent, and the baseline says otherwise
    home.check(old.now, dirty);
    BOOST_TEST(has_told(home, "rebuild_without_baseline"));
}

// What a client gets before anybody has seen the baseline is dirty: it may be another one than the source's.
BOOST_AUTO_TEST_CASE(a_page_that_comes_before_the_baseline_is_known) {
    TwoCuts old(1);
    std::atomic<bool> open{false};
    FaultyStore store(*old.store);
    store.reads_fail = [&] {
        while (!open)
            std::this_thread::sleep_for(1ms);
        return false;
    };
    NewHome home(old);
    home.region.wanted->ask(7);
    LoopbackSource source(old.link, old.region, fence_settles);
    const RebuildRequest request = home.request(true, true);
    Running running(home, source.connect(), &store, request);
    Running::wait_until([&] { return home.region.page_table[7].load() != memory::kPtePending; });
    open = true;
    running.end();
    std::set<uint64_t> dirty = old.changed;
    dirty.insert(7);
    home.check(old.now, dirty);
}

// ---- The source ----

// The connection has ended when nothing needs it any more; then the baseline finds that it has lost pages.
BOOST_AUTO_TEST_CASE(the_source_is_asked_again_for_what_the_baseline_has_lost) {
    TwoCuts old(1);
    for (const fs::path& segment : objects(old, "segments"))
        fs::remove(segment);
    std::atomic<bool> open{false}, silent{false};
    FaultyStore store(*old.store);
    store.reads_fail = [&] {
        while (!open)
            std::this_thread::sleep_for(1ms);
        return false;
    };
    old.link.to_client->filter = [&](rte_mbuf*) { return !silent; };
    NewHome home(old);
    LoopbackSource source(old.link, old.region, fence_settles);
    const Connect connect = [&](const SourceAddress& to, const Cancelled& cancelled) {
        if (silent) throw SourceError(SourceError::Why::lost, "the port is down");
        return source.connect()(to, cancelled);
    };
    const RebuildRequest request = home.request(true, true);
    Running running(home, connect, &store, request);
    Running::wait_until([&] { return home.progress.pages_pulled == old.changed.size(); });
    silent = true;
    const uint64_t unlisted = 7;
    home.region.wanted->ask(unlisted);  // something has to be sent before the end is noticed
    Running::wait_until([&] {
        const std::scoped_lock lock(home.progress.mutex);
        return !home.progress.problem.empty();
    });
    open = true;
    Running::wait_until([&] {
        const std::scoped_lock lock(home.progress.mutex);
        return home.progress.problem == "the port is down";
    });
    BOOST_TEST(home.region.pending.load() > 0U);
    BOOST_CHECK(home.progress.state == RebuildState::rebuilding);  // nobody has to give it up for these
    silent = false;
    running.end();
    home.check(old.now, all_of(old.now));
    BOOST_TEST(home.progress.damaged_pages == 0U);
}

// It never comes back: the region is more than the pages that the baseline has lost.
BOOST_AUTO_TEST_CASE(lost_pages_are_waited_for_some_time) {
    TwoCuts old(1);
    for (const fs::path& segment : objects(old, "segments"))
        fs::remove(segment);
    std::atomic<bool> open{false}, gone{false};
    FaultyStore store(*old.store);
    store.reads_fail = [&] {
        while (!open)
            std::this_thread::sleep_for(1ms);
        return false;
    };
    old.link.to_client->filter = [&](rte_mbuf*) { return !gone; };
    NewHome home(old);
    home.patience = 300ms;
    LoopbackSource source(old.link, old.region, fence_settles);
    const Connect connect = [&](const SourceAddress& to, const Cancelled& cancelled) {
        if (gone) throw SourceError(SourceError::Why::lost, "the port is down");
        return source.connect()(to, cancelled);
    };
    const RebuildRequest request = home.request(true, true);
    Running running(home, connect, &store, request);
    Running::wait_until([&] { return home.progress.pages_pulled == old.changed.size(); });
    gone = true;
    open = true;
    running.end();
    BOOST_TEST(home.region.pending.load() == 0U);
    for (uint64_t page = 0; page < 50; ++page)
        BOOST_TEST_REQUIRE(home.region.page_table[page].load() == memory::kPtePoisoned);
    for (uint64_t page = 50; page < 150; ++page)
        BOOST_TEST_REQUIRE(home.region.page_table[page].load() != memory::kPtePoisoned);
    BOOST_TEST(home.progress.damaged_pages == 50U);
    BOOST_TEST(has_told(home, "pages_damaged"));
}

// The store does not answer, and a client waits for a page of it: the source is asked again all the same.
BOOST_AUTO_TEST_CASE(a_store_that_does_not_answer_does_not_keep_the_source_away) {
    TwoCuts old(1);
    std::atomic<bool> store_mended{false}, silent{false};
    std::atomic<uint64_t> passed{0};
    FaultyStore store(*old.store);
    std::atomic<int> reads{0};
    store.reads_fail = [&] { return ++reads > 4 && !store_mended; };  // the claim goes well, and the index
    old.link.to_client->filter = [&](rte_mbuf*) {
        if (++passed == 60) silent = true;
        return !silent;
    };
    NewHome home(old);
    LoopbackSource source(old.link, old.region, fence_settles);
    const Connect connect = [&](const SourceAddress& to, const Cancelled& cancelled) {
        home.region.wanted->ask(7);
        // The client's page is being looked for by now.
        std::this_thread::sleep_for(50ms);
        silent = false;
        return source.connect()(to, cancelled);
    };
    const RebuildRequest request = home.request(true, true);
    Running running(home, connect, &store, request);
    Running::wait_until([&] { return home.progress.pages_pulled >= old.changed.size(); });
    Running::wait_until([&] { return home.region.page_table[7].load() != memory::kPtePending; });
    BOOST_TEST(!running.ended);
    store_mended = true;
    running.end();
    BOOST_TEST(source.connections >= 2U);
}

// It takes connections, and ends them at once.
BOOST_AUTO_TEST_CASE(a_source_that_brings_nothing_is_not_asked_all_the_time) {
    TwoCuts old(1);
    LoopbackSource source(old.link, old.region, fence_settles);
    std::atomic<int> attempts{0};
    NewHome home(old);
    const Connect connect = [&](const SourceAddress& to, const Cancelled& cancelled) {
        ++attempts;
        return source.connect()(to, cancelled);
    };
    // It names memory that is not there: each READ is refused.
    source.change_welcome = [](capsule::Welcome& welcome) { welcome.data_rkey = welcome.data_rkey ^ 1; };
    const RebuildRequest request = home.request(true, true);
    Running running(home, connect, old.store.get(), request);
    std::this_thread::sleep_for(1'500ms);
    BOOST_TEST(attempts >= 2);
    BOOST_TEST(attempts <= 6);
    home.progress.cancel.request_stop();
    BOOST_CHECK_THROW(running.end(), RebuildFailed);
}

// A client's page that an attempt took and did not bring is asked for again in the next one.
BOOST_AUTO_TEST_CASE(what_was_asked_for_is_not_forgotten_with_an_attempt) {
    TwoCuts old(1);
    NewHome home(old);
    home.region.wanted->ask(7);
    std::array<uint64_t, 4> taken{};
    BOOST_TEST(home.region.wanted->take(taken) == 1U);  // by an attempt that has failed
    home.region.wanted->ask(7);
    BOOST_TEST(home.region.wanted->take(taken) == 0U);
    const WantedQueue next(home.region);
    home.region.wanted->ask(7);
    BOOST_TEST(home.region.wanted->take(taken) == 1U);
}

// However many pages only the source has: what clients ask for is heard, and comes first.
BOOST_AUTO_TEST_CASE(clients_come_before_lost_pages) {
    OldHome old;
    NewHome home(old);
    WantedQueue wanted(home.region);
    for (uint64_t page = 0; page < 1'000; ++page)
        wanted.add_for_source(page);
    home.region.wanted->ask(5'000);
    home.region.wanted->ask(5'001);
    BOOST_TEST(wanted.take_for_source()->page == 5'000U);
    BOOST_TEST(wanted.take_for_baseline(true)->page == 5'001U);
    BOOST_TEST(!wanted.take_for_baseline(true));
    BOOST_TEST(wanted.take_for_source()->page == 0U);
    BOOST_TEST(wanted.for_source().size() == 999U);
}

// Damaged at the source, with no place in the budget for the mark: the attempt fails, and keeps no frame.
BOOST_AUTO_TEST_CASE(no_frame_is_lost_with_a_damaged_page) {
    OldHome old;
    old.put(3, 1);
    memory::poison_page(old.region, 3, memory::pte_frame(old.region.page_table[3].load()));
    NewHome home(old, 16ULL << 20);
    memory::FrameBudget& budget = home.table.budget();
    memory::Region& rest = home.table.create("rest", budget.unclaimed() * kPageBytes, 0, false);
    LoopbackSource source(old.link, old.region, fence_settles);
    const uint64_t before = home.frames.free_count();
    BOOST_CHECK_THROW(home.run(source.connect(), nullptr, home.request(true, false)), RebuildFailed);
    BOOST_TEST(home.frames.free_count() == before);
    home.table.destroy(rest);
}

// Killed when the last page was here and the end was not on record: neither the source nor all of the
// baseline is needed, and what is not known to be in the baseline is dirty.
BOOST_AUTO_TEST_CASE(nothing_was_pending_any_more) {
    TwoCuts old(1);
    NewHome home(old);
    {
        LoopbackSource source(old.link, old.region, fence_settles);
        home.run(source.connect(), old.store.get(), home.request(true, true));
    }
    home.progress.fenced = false;
    BOOST_TEST(home.run(kNobody, old.store.get(), home.request(true, true)) == 1U);
    BOOST_TEST(home.progress.fenced);
    home.check(old.now, all_of(old.now));
}
