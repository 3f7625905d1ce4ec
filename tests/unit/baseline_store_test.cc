// SPDX-License-Identifier: BSD-3-Clause
// What every engine must do alike. Runs on a directory, and on the store that LAGAN_TEST_STORE names:
// tests/system/baseline_engines_test.py gives it those of a real Ceph.
#define BOOST_TEST_MODULE baseline_store
#include <atomic>
#include <boost/test/unit_test.hpp>
#include <thread>

#include "mgmt/baseline/store_url.h"
#include "tests/unit/baseline_fixture.h"
#include "tests/unit/logged_seed.h"

using namespace lagan::test;

namespace {

// A store of the case's own.
struct Store {
    Store() {
        const char* const given = std::getenv("LAGAN_TEST_STORE");
        StoreUrl url = parse_store_url(given == nullptr ? scratch.path.string() : given);
        const std::string name = boost::unit_test::framework::current_test_case().p_name.get() + "." +
                                 std::to_string(std::random_device{}());
        if (url.engine == StoreUrl::Engine::directory)
            url.directory /= name;
        else
            url.prefix += name + "/";
        store = open_store(url);
    }
    ObjectStore* operator->() { return store.get(); }
    ObjectStore& operator*() { return *store; }

    BaselineScratch scratch;
    std::unique_ptr<ObjectStore> store;
};

std::vector<std::byte> random_bytes(std::mt19937_64& random, size_t count) {
    std::vector<std::byte> bytes(count);
    for (std::byte& byte : bytes)
        byte = static_cast<std::byte>(random());
    return bytes;
}

std::vector<std::byte> read_whole(ObjectStore& store, const std::string& key) {
    std::vector<std::byte> bytes(store.size_bytes(key));
    store.get(key, 0, bytes);
    return bytes;
}

void run_in_parallel(int count, const std::function<void(int)>& work) {
    std::vector<std::thread> threads;
    for (int i = 0; i < count; ++i)
        threads.emplace_back(work, i);
    for (std::thread& thread : threads)
        thread.join();
}

}  // namespace

BOOST_AUTO_TEST_CASE(objects_are_read_as_they_were_written) {
    std::mt19937_64 random = seeded_random();
    Store store;
    constexpr size_t kMib = 1 << 20;  // S3's parts are of 5 MiB here, RADOS's operations of 4
    for (const size_t size : {size_t{0}, size_t{1}, size_t{4096}, 4 * kMib, 5 * kMib - 1, 5 * kMib,
                              5 * kMib + 1, 8 * kMib, 15 * kMib, 11 * kMib + 17}) {
        const std::vector<std::byte> bytes = random_bytes(random, size);
        std::vector<Bytes> pieces;
        for (size_t at = 0; at < size;) {
            const size_t length = std::min<size_t>(size - at, random() % (random() % 2 ? 5000 : 3 * kMib));
            pieces.push_back(Bytes(bytes).subspan(at, length));  // some are empty
            at += length;
        }
        const std::string key = "r/segments/" + std::to_string(size);
        store->put(key, pieces);
        BOOST_REQUIRE(store->size_bytes(key) == size);
        BOOST_REQUIRE(read_whole(*store, key) == bytes);
        for (int i = 0; i < 5 && size > 0; ++i) {
            const size_t offset = random() % size;
            std::vector<std::byte> part(1 + random() % (size - offset));
            store->get(key, offset, part);
            BOOST_REQUIRE(
                std::equal(part.begin(), part.end(), bytes.begin() + static_cast<ptrdiff_t>(offset)));
        }
        std::vector<std::byte> beyond(2);
        require_error([&] { store->get(key, size == 0 ? 0 : size - 1, beyond); }, ErrorKind::damaged, "");
        require_error([&] { store->get(key, size + 100, beyond); }, ErrorKind::damaged, "too short");
    }
}

BOOST_AUTO_TEST_CASE(what_is_not_there_is_missing) {
    Store store;
    std::vector<std::byte> byte(1);
    require_error([&] { store->get("r/segments/x", 0, byte); }, ErrorKind::missing, "r/segments/x");
    require_error([&] { store->size_bytes("r/segments/x"); }, ErrorKind::missing, "r/segments/x");
    store->remove("r/segments/x");
    BOOST_TEST(store->list("r/segments/").empty());
    BOOST_TEST(store->folders().empty());
    store->remove_unfinished("r/segments/", std::chrono::seconds(0));
    BOOST_REQUIRE(store->put_exclusive("r/segments/x", byte));
    store->remove("r/segments/x");
    store->remove("r/segments/x");
    require_error([&] { store->size_bytes("r/segments/x"); }, ErrorKind::missing, "r/segments/x");
}

BOOST_AUTO_TEST_CASE(listing_is_sorted_and_complete) {
    std::mt19937_64 random = seeded_random();
    Store store;
    constexpr int kObjects = 1100;  // S3 lists 1000 at once
    std::vector<std::string> keys;
    for (int i = 0; i < kObjects; ++i)
        keys.push_back("r/segments/" + std::to_string(random() % 3) + "-" + std::to_string(i));
    const std::vector<std::byte> byte(1);
    run_in_parallel(8, [&](int n) {
        for (size_t i = static_cast<size_t>(n); i < keys.size(); i += 8)
            store->put(keys[i], std::vector<Bytes>{byte});
    });
    BOOST_TEST(store->put_exclusive("r/manifests/1", byte));
    BOOST_TEST(store->put_exclusive("q/manifests/1", byte));
    std::sort(keys.begin(), keys.end());
    BOOST_TEST(store->list("r/segments/") == keys, boost::test_tools::per_element());
    std::vector<std::string> ones;
    std::copy_if(keys.begin(), keys.end(), std::back_inserter(ones),
                 [](const std::string& key) { return key.starts_with("r/segments/1"); });
    BOOST_TEST(store->list("r/segments/1") == ones, boost::test_tools::per_element());
    BOOST_TEST(store->list("r/manifests/") == std::vector<std::string>{"r/manifests/1"},
               boost::test_tools::per_element());
    BOOST_TEST(store->folders() == (std::vector<std::string>{"q", "r"}), boost::test_tools::per_element());
}

// The ground that everything stands on: of many who create one object, one has created it.
BOOST_AUTO_TEST_CASE(one_of_many_creates_an_object) {
    constexpr int kWriters = 8;
    Store store;
    for (int round = 0; round < 25; ++round) {
        const std::string key = "r/manifests/" + std::to_string(round);
        std::atomic<int> ready = 0;
        std::array<bool, kWriters> won{};
        run_in_parallel(kWriters, [&](int n) {
            const std::vector<std::byte> mine(20000, static_cast<std::byte>(n + 1));
            ++ready;
            while (ready < kWriters)
                std::this_thread::yield();
            won[static_cast<size_t>(n)] = store->put_exclusive(key, mine);
        });
        BOOST_REQUIRE_EQUAL(std::count(won.begin(), won.end(), true), 1);
        const auto winner = std::find(won.begin(), won.end(), true) - won.begin();
        const std::vector<std::byte> there = read_whole(*store, key);
        BOOST_REQUIRE(there == std::vector<std::byte>(20000, static_cast<std::byte>(winner + 1)));
        BOOST_REQUIRE(!store->put_exclusive(key, there));
    }
}

BOOST_AUTO_TEST_CASE(checkpoints_are_restored) {
    std::mt19937_64 random = seeded_random();
    Store store;
    WriterOptions options;
    options.dead_share_limit = 0.3;
    auto writer = std::make_unique<BaselineWriter>(*store, region_of(5000), options);
    Model model;
    for (uint64_t cut = 1; cut <= 12; ++cut) {
        Model changes;
        for (int i = 0; i < 300; ++i)
            changes[random() % 5000] = random() % 4 == 0 ? 0 : cut * 1000;
        if (cut == 1)
            for (uint64_t page = 0; page < 5000; ++page)
                changes[page] = 7;
        change(model, changes);
        const CommitResult result = checkpoint(*writer, changes, cut, 2500);
        BOOST_REQUIRE_EQUAL(result.cleanup_problem, "");
        if (cut == 6) writer = std::make_unique<BaselineWriter>(*store, region_of(5000, 2, 0xbb), options);
        if (cut % 6 == 0) require_restores(*store, model, cut);
    }
    BOOST_TEST(list_cuts(*store, "heap.1").size() == 2U);
    BOOST_TEST(list_regions(*store) == std::vector<std::string>{"heap.1"}, boost::test_tools::per_element());
    require_error([&] { remove_baseline(*store, "heap.1", 99); }, ErrorKind::refused, "another region");
    remove_baseline(*store, "heap.1", 0x1234);
    BOOST_TEST(store->list("heap.1/segments/").empty());
    BOOST_TEST(list_regions(*store).empty());
}

BOOST_AUTO_TEST_CASE(segments_are_written_by_many_threads) {
    Store store;
    BaselineWriter writer(*store, region_of(8 * 512));
    std::array<SegmentRef, 8> refs;
    run_in_parallel(8, [&](int n) {
        Model part;
        for (uint64_t page = 0; page < 512; ++page)
            part[static_cast<uint64_t>(n) * 512 + page] = page + 1;
        refs[static_cast<size_t>(n)] = writer.write_segment(Pages(part).pages);
    });
    writer.commit(refs, 1, 1);
    Model model;
    for (uint64_t page = 0; page < 8 * 512; ++page)
        model[page] = page % 512 + 1;
    require_restores(*store, model, 1);
}

BOOST_AUTO_TEST_CASE(two_appliances_do_not_mix) {
    Store store;
    BaselineWriter first(*store, region_of(100));
    checkpoint(first, {{1, 1}}, 1);
    require_error([&] { BaselineWriter(*store, region_of(100, 1, 0xbb)); }, ErrorKind::refused,
                  "another appliance");
    const Pages pages({{1, 2}, {2, 2}});
    const std::vector<SegmentRef> refs{first.write_segment(pages.pages)};
    BaselineWriter second(*store, region_of(100, 2, 0xbb));  // failover
    require_error([&] { first.commit(refs, 2, 2); }, ErrorKind::refused, "was claimed by another writer");
    require_restores(*store, {{1, 1}}, 1);
    first.give_up();
    checkpoint(second, {{3, 3}}, 2);
    require_restores(*store, {{1, 1}, {3, 3}}, 2);
    require_error([&] { BaselineWriter(*store, region_of(100)); }, ErrorKind::refused,
                  "has epoch 2, ours is 1");
}
