// SPDX-License-Identifier: BSD-3-Clause
// Faults while a checkpoint is made: it was completed or it was not, the cut before it is there, and the next
// one goes well and leaves nothing behind.
#define BOOST_TEST_MODULE baseline_fault
#include <sys/resource.h>

#include <boost/test/unit_test.hpp>
#include <csignal>

#include "tests/unit/baseline_fixture.h"
#include "tests/unit/faulty_store.h"
#include "tests/unit/logged_seed.h"
#include "tests/unit/power_cut.h"

using namespace lagan::test;

namespace {

const Model kFirst{{0, 1}, {1, 1}, {2, 1}, {3, kDamaged}, {8, 1}};
const Model kChanges{{1, 2}, {2, 0}, {5, 2}, {9, 2}};

Model after_changes() {
    Model model = kFirst;
    change(model, kChanges);
    return model;
}

// Every segment and manifest is one that is needed, and there are no temporary files.
void require_tidy(ObjectStore& store, const fs::path& directory) {
    std::set<std::string> wanted;
    for (const CutInfo& cut : list_cuts(store, "heap.1")) {
        wanted.insert(manifest_key("heap.1", cut.manifest_number));
        for (const SegmentRef& ref : read_manifest(store, "heap.1", cut.manifest_number).segments)
            wanted.insert(segment_key("heap.1", ref.id));
    }
    std::set<std::string> there;
    for (const auto& entry : fs::recursive_directory_iterator(directory))
        if (entry.is_regular_file()) there.insert(fs::relative(entry.path(), directory).string());
    BOOST_TEST(there == wanted, boost::test_tools::per_element());
    BOOST_TEST(list_cuts(store, "heap.1").size() <= 2U);
}

// Which of two cuts the store has; it has to be one of them, whole.
uint64_t require_one_of(ObjectStore& store, const Model& first, uint64_t first_cut, const Model& second) {
    const uint64_t cut = BaselineReader(store, "heap.1").manifest().cut_number;
    BOOST_REQUIRE(cut == first_cut || cut == first_cut + 1);
    require_restores(store, cut == first_cut ? first : second, cut);
    return cut;
}

}  // namespace

BOOST_AUTO_TEST_CASE(short_writes_and_interruptions_change_nothing) {
    std::mt19937_64 random = seeded_random();
    for (int i = 0; i < 4; ++i) {
        const bool misaligned = i % 2 != 0;
        const BaselineScratch scratch(i < 2 ? "/dev/shm" : "/var/tmp");
        FaultyCalls calls;
        calls.short_by = &random;
        DirectoryStore store(scratch.path, calls);
        BaselineWriter writer(store, region_of(10));
        checkpoint(writer, kFirst, 1, 3, misaligned);
        require_restores(store, kFirst, 1);
    }
}

// Each system call of a checkpoint fails once.
BOOST_AUTO_TEST_CASE(any_system_call_may_fail) {
    for (const int error : {EIO, ENOSPC, EDQUOT}) {
        uint64_t failures = 0;
        for (uint64_t at = 0;; ++at) {
            const BaselineScratch scratch;
            FaultyCalls calls;
            DirectoryStore store(scratch.path, calls);
            BaselineWriter writer(store, region_of(10));
            checkpoint(writer, kFirst, 1, 2);
            calls.calls = 0;
            calls.fail_at = at;
            calls.error = error;
            const auto failed = error_of([&] { checkpoint(writer, kChanges, 2, 2); });
            if (calls.calls <= at) break;  // it makes fewer calls than that
            ++failures;
            BOOST_REQUIRE(failed);
            BOOST_TEST((failed->kind() == (error == EIO ? ErrorKind::unavailable : ErrorKind::no_space)));
            BOOST_TEST(contains(failed->what(), scratch.path.string()));
            require_one_of(store, kFirst, 1, after_changes());
            writer.give_up();
            checkpoint(writer, kChanges, 2, 2);
            require_restores(store, after_changes(), 2);
            checkpoint(writer, {{7, 7}}, 3);
            require_tidy(store, scratch.path);
        }
        BOOST_TEST(failures > 10U);
    }
}

// From some call on everything fails: as after a kill. The next process finds one of the two cuts.
BOOST_AUTO_TEST_CASE(a_crash_between_any_two_system_calls) {
    uint64_t done = 0;
    for (uint64_t at = 0;; ++at) {
        const BaselineScratch scratch;
        FaultyCalls calls;
        bool survived = false;
        {
            DirectoryStore store(scratch.path, calls);
            BaselineWriter writer(store, region_of(10));
            checkpoint(writer, kFirst, 1, 2);
            calls.calls = 0;
            calls.fail_at = at;
            calls.all_after = true;
            error_of([&] { checkpoint(writer, kChanges, 2, 2); });
            survived = calls.calls <= at;
        }
        DirectoryStore store(scratch.path);
        done += require_one_of(store, kFirst, 1, after_changes()) == 2;
        BaselineWriter writer(store, region_of(10));
        require_tidy(store, scratch.path);
        checkpoint(writer, kChanges, 2);
        require_restores(store, after_changes(), 2);
        if (survived) break;
        BOOST_REQUIRE(at < 1000U);
    }
    BOOST_TEST(done > 0U);
}

// A disk on which any one call fails, and then the power. What a failed fsync was to write is lost, whatever
// later ones say: only what was written anew counts. Whoever opens, writes and commits tries again until it
// is told that all is well.
BOOST_AUTO_TEST_CASE(a_failed_sync_is_never_believed) {
    const auto insist = [](const auto& action) {
        int tries = 0;
        while (error_of(action))
            BOOST_REQUIRE(++tries < 5);
    };
    const auto commit = [&](BaselineWriter& writer, const Model& changes, uint64_t cut) {
        const Pages pages(changes);
        std::vector<SegmentRef> refs;
        for (size_t i = 0; i < pages.pages.size(); i += 2)
            insist([&] {
                refs.push_back(writer.write_segment(
                    std::span(pages.pages).subspan(i, std::min<size_t>(2, pages.pages.size() - i))));
            });
        insist([&] { writer.commit(refs, cut, cut * 1000); });
    };
    for (uint64_t at = 0;; ++at) {
        BOOST_TEST_INFO_SCOPE("call " << at << " fails");
        const BaselineScratch scratch;
        PowerCut disk(scratch.path);
        disk.fail_at = at;
        {
            std::unique_ptr<DirectoryStore> store;
            insist([&] { store = std::make_unique<DirectoryStore>(scratch.path / "store", disk); });
            std::unique_ptr<BaselineWriter> writer;
            insist([&] { writer = std::make_unique<BaselineWriter>(*store, region_of(10)); });
            commit(*writer, kFirst, 1);
            commit(*writer, kChanges, 2);
        }
        disk.cut();
        DirectoryStore store(scratch.path / "store");
        require_restores(store, after_changes(), 2);
        const std::vector<CutInfo> cuts = list_cuts(store, "heap.1");
        BOOST_REQUIRE(cuts.size() == 2U);
        require_restores(store, kFirst, 1, cuts[1].manifest_number);
        if (disk.calls <= at) break;
    }
}

// The same without a second try: one cut or the other is there.
BOOST_AUTO_TEST_CASE(power_fails_after_a_failed_commit) {
    for (uint64_t at = 0;; ++at) {
        const BaselineScratch scratch;
        PowerCut disk(scratch.path);
        {
            DirectoryStore store(scratch.path / "store", disk);
            BaselineWriter writer(store, region_of(10));
            checkpoint(writer, kFirst, 1, 2);
            disk.calls = 0;
            disk.fail_at = at;
            const bool done = !error_of([&] { checkpoint(writer, kChanges, 2, 2); });
            writer.give_up();
            BOOST_REQUIRE_EQUAL(done, disk.calls <= at);
        }
        disk.cut();
        DirectoryStore store(scratch.path / "store");
        const uint64_t cut = require_one_of(store, kFirst, 1, after_changes());
        if (disk.calls <= at) {
            BOOST_TEST(cut == 2U);
            break;
        }
    }
}

// A cut that was found, but not reported as done, replaces none that was.
BOOST_AUTO_TEST_CASE(a_cut_in_doubt_replaces_none) {
    const BaselineScratch scratch;
    PowerCut disk(scratch.path);
    {
        DirectoryStore store(scratch.path / "store", disk);
        BaselineWriter writer(store, region_of(10));
        checkpoint(writer, kFirst, 1, 2);
        const Pages pages(kChanges);
        const std::vector<SegmentRef> refs{writer.write_segment(pages.pages)};
        const auto commit = [&] { writer.commit(refs, 1, 2000); };  // the same cut once more
        disk.fail_folder_syncs = true;
        for (int i = 0; i < 3; ++i) {
            require_error(commit, ErrorKind::unavailable, "cannot sync");
            require_restores(store, after_changes(), 1);
        }
        writer.give_up();
    }
    disk.cut();
    DirectoryStore store(scratch.path / "store");
    require_restores(store, kFirst, 1);
}

// The same with a store that dies before, in the middle of, or after any operation: the last is an answer
// that is lost. The writer lives and tries again.
BOOST_AUTO_TEST_CASE(any_operation_may_fail_or_lose_its_answer) {
    for (const Fault fault : {Fault::before, Fault::partly, Fault::after}) {
        for (int at = 0;; ++at) {
            const BaselineScratch scratch;
            DirectoryStore directory(scratch.path);
            FaultyStore store(directory);
            BaselineWriter writer(store, region_of(10));
            checkpoint(writer, kFirst, 1, 2);
            const Pages pages(kChanges);
            std::vector<SegmentRef> refs;
            int operation = 0;
            store.decide = [&] { return operation++ == at ? fault : Fault::none; };
            const auto write = [&] { refs.push_back(writer.write_segment(pages.pages)); };
            if (error_of(write)) write();
            const auto commit = [&] { writer.commit(refs, 2, 2000); };
            if (error_of(commit)) {
                require_one_of(directory, kFirst, 1, after_changes());
                commit();
            }
            if (operation <= at) break;
            require_restores(directory, after_changes(), 2);
            checkpoint(writer, {{7, 7}}, 3);
            require_tidy(directory, scratch.path);
        }
    }
}

// An answer was lost, and the checkpoint is given up instead of committed again: the next one sorts it out.
BOOST_AUTO_TEST_CASE(a_lost_answer_and_a_new_checkpoint) {
    const BaselineScratch scratch;
    DirectoryStore directory(scratch.path);
    FaultyStore store(directory);
    BaselineWriter writer(store, region_of(10));
    checkpoint(writer, kFirst, 1, 2);
    const Pages pages(kChanges);
    const std::vector<SegmentRef> refs{writer.write_segment(pages.pages)};
    store.decide = [] { return Fault::after; };
    require_error([&] { writer.commit(refs, 2, 2000); }, ErrorKind::unavailable, "made to fail");
    store.decide = [] { return Fault::none; };
    writer.give_up();
    Model model = after_changes();
    checkpoint(writer, {{5, 3}, {6, 3}}, 3);
    change(model, {{5, 3}, {6, 3}});
    require_restores(store, model, 3);
    checkpoint(writer, {{7, 7}}, 4);
    require_tidy(directory, scratch.path);
}

// Many checkpoints on a store where every fifth operation goes wrong in some way, reads too.
BOOST_AUTO_TEST_CASE(random_faults_lose_nothing) {
    std::mt19937_64 random = seeded_random();
    for (int round = 0; round < 8; ++round) {
        const BaselineScratch scratch;
        DirectoryStore directory(scratch.path);
        FaultyStore store(directory);
        WriterOptions options;
        options.dead_share_limit = 0.2;
        const auto insist = [&](const auto& action) {
            while (const std::optional<StoreError> error = error_of(action))
                BOOST_REQUIRE_EQUAL(name_of(error->kind()), "unavailable");
        };
        std::unique_ptr<BaselineWriter> writer;
        const auto open = [&] {
            insist([&] { writer = std::make_unique<BaselineWriter>(store, region_of(64), options); });
        };
        store.decide = [&] { return random() % 5 == 0 ? static_cast<Fault>(1 + random() % 3) : Fault::none; };
        store.reads_fail = [&] { return random() % 20 == 0; };
        open();
        Model model;
        for (uint64_t cut = 1; cut <= 40; ++cut) {
            Model changes;
            for (int i = 0; i < 8; ++i)
                changes[random() % 64] = random() % 4 == 0 ? 0 : cut * 100;
            const Pages pages(changes);
            std::vector<SegmentRef> refs;
            for (size_t i = 0; i < pages.pages.size(); i += 3)
                insist([&] {
                    refs.push_back(writer->write_segment(
                        std::span(pages.pages).subspan(i, std::min<size_t>(3, pages.pages.size() - i))));
                });
            insist([&] { writer->commit(refs, cut, cut); });
            change(model, changes);
            require_restores(directory, model, cut);
            if (random() % 6 == 0) open();
        }
        store.decide = [] { return Fault::none; };
        store.reads_fail = [] { return false; };
        checkpoint(*writer, {}, 41);
        checkpoint(*writer, {}, 42);
        require_tidy(directory, scratch.path);
    }
}

BOOST_AUTO_TEST_CASE(files_may_not_grow) {
    std::signal(SIGXFSZ, SIG_IGN);
    const BaselineScratch scratch;
    DirectoryStore store(scratch.path);
    BaselineWriter writer(store, region_of(100));
    checkpoint(writer, kFirst, 1);
    struct rlimit old {};
    getrlimit(RLIMIT_FSIZE, &old);
    const struct rlimit tight { 10 * kPageBytes, old.rlim_max };
    setrlimit(RLIMIT_FSIZE, &tight);
    Model much;
    for (uint64_t page = 0; page < 100; ++page)
        much[page] = 5;
    const auto error = error_of([&] { checkpoint(writer, much, 2, 100); });
    setrlimit(RLIMIT_FSIZE, &old);
    BOOST_REQUIRE(error);
    BOOST_TEST((error->kind() == ErrorKind::no_space));
    require_restores(store, kFirst, 1);
    require_tidy(store, scratch.path);
    checkpoint(writer, much, 2, 100);
    require_restores(store, much, 2);
}

BOOST_AUTO_TEST_CASE(directories_that_cannot_be_used_are_refused) {
    const BaselineScratch scratch;
    fs::create_directory(scratch.path / "open");
    fs::permissions(scratch.path / "open", fs::perms::all);
    require_error([&] { DirectoryStore(scratch.path / "open"); }, ErrorKind::refused, "chmod o-w");
    std::ofstream(scratch.path / "file") << "x";
    require_error([&] { DirectoryStore(scratch.path / "file"); }, ErrorKind::missing, "file");
    require_error([&] { DirectoryStore(scratch.path / "no" / "such"); }, ErrorKind::missing, "no/such");
    // A symbolic link inside the store leads nowhere.
    DirectoryStore store(scratch.path / "store");
    fs::create_directory(scratch.path / "elsewhere");
    fs::create_directory_symlink(scratch.path / "elsewhere", scratch.path / "store" / "heap.1");
    BOOST_CHECK_THROW(BaselineWriter(store, region_of(10)), StoreError);
    BOOST_TEST(fs::is_empty(scratch.path / "elsewhere"));
}
