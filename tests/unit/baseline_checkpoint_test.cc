// SPDX-License-Identifier: BSD-3-Clause
#define BOOST_TEST_MODULE baseline_checkpoint
#include <boost/test/unit_test.hpp>

#include "tests/unit/baseline_fixture.h"
#include "tests/unit/logged_seed.h"

using namespace lagan::test;

namespace {

size_t objects_in(ObjectStore& store) {
    return store.list(segment_folder("heap.1")).size() + store.list(manifest_folder("heap.1")).size();
}

}  // namespace

BOOST_AUTO_TEST_CASE(a_checkpoint_is_read_back) {
    const BaselineScratch scratch;
    DirectoryStore store(scratch.path);
    Model model{{0, 11}, {1, 12}, {5, kDamaged}, {99, 13}};
    {
        BaselineWriter writer(store, region_of(100));
        BOOST_TEST(writer.newest().cut_number == 0U);
        checkpoint(writer, model, 1);
        require_restores(store, model, 1);
        const Model changes{{1, 0}, {2, 21}, {5, 22}};
        checkpoint(writer, changes, 2, 2, true);
        change(model, changes);
        require_restores(store, model, 2);
    }
    BaselineWriter writer(store, region_of(100));  // lagand comes back
    BOOST_TEST(writer.newest().cut_number == 2U);
    BOOST_TEST(writer.newest().cut_time_us == 2000U);
    require_restores(store, model, 2);
    const std::vector<CutInfo> cuts = list_cuts(store, "heap.1");
    BOOST_REQUIRE(cuts.size() == 2U);  // both cuts, one manifest each
    BOOST_TEST(cuts[0].cut_number == 2U);
    BOOST_TEST(cuts[1].cut_number == 1U);
    BOOST_TEST(cuts[0].data_pages == 4U);
    require_restores(store, {{0, 11}, {1, 12}, {5, kDamaged}, {99, 13}}, 1, cuts[1].manifest_number);
    BOOST_TEST(list_regions(store) == std::vector<std::string>{"heap.1"}, boost::test_tools::per_element());
}

BOOST_AUTO_TEST_CASE(nothing_is_part_of_a_cut_before_its_commit) {
    const BaselineScratch scratch;
    DirectoryStore store(scratch.path);
    BaselineWriter writer(store, region_of(100));
    checkpoint(writer, {{3, 1}}, 1);
    const Pages pages({{3, 2}, {4, 2}});
    const SegmentRef ref = writer.write_segment(pages.pages);
    require_restores(store, {{3, 1}}, 1);
    writer.give_up();
    BOOST_CHECK_THROW(store.size_bytes(segment_key("heap.1", ref.id)), StoreError);
    require_error([&] { writer.commit(std::vector{ref}, 2, 0); }, ErrorKind::invalid,
                  "not one that this writer");
    checkpoint(writer, {{4, 3}}, 2);
    require_restores(store, {{3, 1}, {4, 3}}, 2);
}

BOOST_AUTO_TEST_CASE(what_two_cuts_do_not_need_is_removed) {
    const BaselineScratch scratch;
    DirectoryStore store(scratch.path);
    BaselineWriter writer(store, region_of(100));
    for (uint64_t cut = 1; cut <= 50; ++cut) {
        checkpoint(writer, {{0, cut}, {1, cut}}, cut);
        BOOST_TEST(objects_in(store) <= 4U);
        require_restores(store, {{0, cut}, {1, cut}}, cut);
    }
    BOOST_TEST(writer.stats().live_bytes == 2 * kPageBytes);
    BOOST_TEST(writer.stats().commits == 50U);
}

// A cut that is committed again, or claimed by the next lagand, does not push out the cut before it.
BOOST_AUTO_TEST_CASE(the_cut_before_stays_while_the_newest_is_made_again) {
    const BaselineScratch scratch;
    DirectoryStore store(scratch.path);
    auto writer = std::make_unique<BaselineWriter>(store, region_of(100));
    checkpoint(*writer, {{0, 1}, {1, 1}}, 1);
    checkpoint(*writer, {{0, 2}}, 2);
    checkpoint(*writer, {{1, 2}}, 2);
    for (int i = 0; i < 3; ++i) {
        writer = std::make_unique<BaselineWriter>(store, region_of(100));
        const std::vector<CutInfo> cuts = list_cuts(store, "heap.1");
        BOOST_REQUIRE(cuts.size() == 2U);
        require_restores(store, {{0, 2}, {1, 2}}, 2, cuts[0].manifest_number);
        require_restores(store, {{0, 1}, {1, 1}}, 1, cuts[1].manifest_number);
    }
}

// Small checkpoints must not leave ever more small segments.
BOOST_AUTO_TEST_CASE(small_segments_are_merged) {
    const BaselineScratch scratch;
    DirectoryStore store(scratch.path);
    BaselineWriter writer(store, region_of(1000));
    Model model;
    for (uint64_t cut = 1; cut <= 300; ++cut) {
        const Model changes{{cut, cut}, {500 + cut, cut % 3 == 0 ? 0 : kDamaged}};
        checkpoint(writer, changes, cut);
        change(model, changes);
        BOOST_REQUIRE(writer.stats().segments <= 65U);
    }
    require_restores(store, model, 300);
    BOOST_TEST(store.list(segment_folder("heap.1")).size() <= 2 * 65U);
    BOOST_TEST(writer.stats().live_bytes == 300 * kPageBytes);
    BOOST_TEST(writer.stats().compacted_bytes < 300 * 20 * kPageBytes);
}

// What is stored again and again takes no more room than the limit says.
BOOST_AUTO_TEST_CASE(dead_pages_are_bounded) {
    std::mt19937_64 random = seeded_random();
    const BaselineScratch scratch;
    DirectoryStore store(scratch.path);
    BaselineWriter writer(store, region_of(2000));
    Model model;
    for (uint64_t page = 0; page < 2000; ++page)
        model[page] = 1;
    checkpoint(writer, model, 1);
    for (uint64_t cut = 2; cut <= 60; ++cut) {
        Model changes;
        for (int i = 0; i < 200; ++i)
            changes[random() % 2000] = cut;
        change(model, changes);
        BOOST_REQUIRE(checkpoint(writer, changes, cut).cleanup_problem.empty());
        const WriterStats stats = writer.stats();
        const uint64_t tails = stats.segments * 2 * kPageBytes;
        BOOST_REQUIRE(stats.stored_bytes <= 2 * stats.live_bytes + tails);
    }
    require_restores(store, model, 60);
}

BOOST_AUTO_TEST_CASE(pages_that_make_no_sense_are_refused) {
    const BaselineScratch scratch;
    DirectoryStore store(scratch.path);
    BaselineWriter writer(store, region_of(100));
    const std::byte bytes[kPageBytes] = {};
    const auto write = [&](std::vector<StoredPage> pages) { writer.write_segment(pages); };
    constexpr PageKind absent = PageKind::absent;
    require_error([&] { write({}); }, ErrorKind::invalid, "one to");
    require_error([&] { write({{100, absent, 0, nullptr}}); }, ErrorKind::invalid, "not in the region");
    require_error(
        [&] {
            write({{2, absent, 0, nullptr}, {2, absent, 0, nullptr}});
        },
        ErrorKind::invalid, "order");
    require_error([&] { write({{2, PageKind::data, 0, nullptr}}); }, ErrorKind::invalid, "kind");
    require_error([&] { write({{2, absent, 0, bytes}}); }, ErrorKind::invalid, "kind");
    checkpoint(writer, {{2, 1}}, 5);
    require_error(
        [&] {
            checkpoint(writer, {{2, 2}}, 4);
        },
        ErrorKind::invalid, "older than the stored cut 5");
    require_restores(store, {{2, 1}}, 5);
}

// Random checkpoints against a plain map: kinds, sizes, reopening, compaction. Both cuts are right after
// each.
BOOST_AUTO_TEST_CASE(random_cuts_are_restored) {
    std::mt19937_64 random = seeded_random();
    const int rounds = std::getenv("LAGAN_TEST_LONG") != nullptr ? 20 : 3;
    uint64_t compacted = 0;
    for (int round = 0; round < rounds; ++round) {
        const BaselineScratch scratch;
        DirectoryStore store(scratch.path);
        const uint64_t page_count = 1 + random() % 500;
        WriterOptions options;
        options.dead_share_limit = static_cast<double>(random() % 60) / 100;
        options.compaction_bytes = (random() % 100) * kPageBytes;
        auto writer = std::make_unique<BaselineWriter>(store, region_of(page_count), options);
        Model model, before;
        for (uint64_t cut = 1; cut <= 60; ++cut) {
            Model changes;
            for (uint64_t n = random() % (random() % 4 == 0 ? page_count + 1 : 20); n > 0; --n) {
                const uint64_t kind = random() % 10;
                changes[random() % page_count] = kind < 2 ? 0 : kind == 2 ? kDamaged : cut * 1000 + n;
            }
            before = model;
            change(model, changes);
            const CommitResult result =
                checkpoint(*writer, changes, cut, 1 + random() % 40, random() % 2 == 0);
            BOOST_REQUIRE(result.losses.empty());
            BOOST_REQUIRE_EQUAL(result.cleanup_problem, "");
            compacted += result.compacted_bytes;
            require_restores(store, model, cut);
            const std::vector<CutInfo> cuts = list_cuts(store, "heap.1");
            BOOST_REQUIRE(cuts.size() == 2U);
            require_restores(store, before, cut - 1, cuts[1].manifest_number);
            if (random() % 5 == 0) {
                writer.reset();
                writer = std::make_unique<BaselineWriter>(store, region_of(page_count, 1 + cut), options);
                require_restores(store, model, cut);
            }
        }
        // Every object is one that a manifest names.
        std::set<std::string> named;
        for (const CutInfo& cut : list_cuts(store, "heap.1"))
            for (const SegmentRef& ref : read_manifest(store, "heap.1", cut.manifest_number).segments)
                named.insert(segment_key("heap.1", ref.id));
        const std::vector<std::string> present = store.list(segment_folder("heap.1"));
        BOOST_TEST(std::vector<std::string>(named.begin(), named.end()) == present,
                   boost::test_tools::per_element());
    }
    BOOST_TEST(compacted > 0U);
}
