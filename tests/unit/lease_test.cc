// SPDX-License-Identifier: BSD-3-Clause
// When leases end: the arithmetic, the clock, and the fence that nothing undoes.
#define BOOST_TEST_MODULE lease
#include "datapath/memory/lease.h"

#include <boost/test/unit_test.hpp>
#include <thread>

#include "appliance/lease_clock.h"
#include "tests/unit/region_fixture.h"

using namespace lagan;
using appliance::kLeaseGuardMs;
using appliance::LeaseClock;
using memory::Lease;
using test::Eal;
using test::RegionNode;

BOOST_TEST_GLOBAL_FIXTURE(Eal);

namespace {

constexpr uint64_t kHz = 3'000'000'000;
constexpr uint64_t kMs = kHz / 1000;
constexpr uint64_t kStart = 77 * kHz + 12345;

constexpr uint64_t tsc_at(uint64_t ms) {
    return kStart + ms * kMs;
}

}  // namespace

BOOST_AUTO_TEST_CASE(time_is_counted_from_the_start) {
    const LeaseClock clock(kStart, kHz);
    BOOST_TEST(clock.now_ms(kStart) == 0U);
    BOOST_TEST(clock.now_ms(tsc_at(1) - 1) == 0U);  // never more than has passed
    BOOST_TEST(clock.now_ms(tsc_at(1)) == 1U);
    const uint64_t years = 50ULL * 365 * 24 * 3600 * 1000;
    BOOST_TEST(clock.now_ms(tsc_at(years)) == years);
    const LeaseClock odd(1, 2'893'202'417);  // a rate as machines have it
    for (const uint64_t ms : {1ULL, 999ULL, 1000ULL, 123'456'789ULL}) {
        const auto end = odd.end_tsc(1, 0, ms + kLeaseGuardMs);
        BOOST_REQUIRE(end.has_value());
        BOOST_TEST(odd.now_ms(*end) <= ms);
        BOOST_TEST(odd.now_ms(*end + 2'893'203) >= ms);
    }
}

BOOST_AUTO_TEST_CASE(a_lease_counts_from_its_base) {
    const LeaseClock clock(kStart, kHz);
    BOOST_TEST(*clock.end_tsc(tsc_at(1000), 1000, 2000) == tsc_at(3000 - kLeaseGuardMs));
    // A request that was on its way for long: the same end.
    BOOST_TEST(*clock.end_tsc(tsc_at(2500), 1000, 2000) == tsc_at(3000 - kLeaseGuardMs));
    BOOST_TEST(*clock.end_tsc(tsc_at(3000 - kLeaseGuardMs) - 1, 1000, 2000) == tsc_at(3000 - kLeaseGuardMs));
    BOOST_TEST(!clock.end_tsc(tsc_at(3000 - kLeaseGuardMs), 1000, 2000).has_value());
    BOOST_TEST(!clock.end_tsc(tsc_at(9999), 1000, 2000).has_value());
    // A time that has not come yet is somebody else's.
    BOOST_TEST(!clock.end_tsc(tsc_at(1000) - 1, 1000, 2000).has_value());
    BOOST_TEST(!clock.end_tsc(tsc_at(1000), appliance::kMaxTimeMs, 2000).has_value());
}

BOOST_AUTO_TEST_CASE(every_process_has_a_clock_of_its_own) {
    const LeaseClock one(kStart, kHz), other(kStart, kHz);
    BOOST_TEST(one.instance() != other.instance());
    BOOST_TEST(one.instance().size() == 16U);
}

BOOST_AUTO_TEST_CASE(a_clock_that_goes_wrong_is_noticed) {
    struct Step {
        int64_t mine_ms, other_ms;
        bool wrong;
    };
    for (const auto& [mine, other, wrong] : std::initializer_list<Step>{{100, 100, false},
                                                                        {100, 149, false},
                                                                        {149, 100, false},
                                                                        {100, 200, true},
                                                                        {200, 100, true},
                                                                        {-100, 100, true},
                                                                        {100'000, 100'900, false},
                                                                        {100'000, 102'000, true},
                                                                        {100, 3'600'000, true}}) {
        LeaseClock clock(kStart, kHz);
        const std::string instance = clock.instance();
        const uint64_t now = tsc_at(500'000);
        BOOST_TEST(!clock.went_wrong(now, 12'345));
        const uint64_t later = now + static_cast<uint64_t>(mine) * kMs;
        BOOST_TEST(clock.went_wrong(later, 12'345 + static_cast<uint64_t>(other)) == wrong);
        BOOST_TEST((clock.instance() != instance) == wrong);
        // It goes on from there.
        BOOST_TEST(!clock.went_wrong(later + 100 * kMs, 12'445 + static_cast<uint64_t>(other)));
        if (wrong) BOOST_TEST(clock.now_ms(later) == 0U);
    }
}

BOOST_AUTO_TEST_CASE(states_of_a_lease) {
    Lease lease;
    BOOST_TEST(!lease.is_managed());
    BOOST_TEST(!lease.is_over(~0ULL - 1));
    lease.end();
    BOOST_TEST(lease.is_managed());
    BOOST_TEST(lease.is_over(1));
    BOOST_TEST(lease.renew(1000));
    BOOST_TEST(!lease.is_over(999));
    BOOST_TEST(lease.is_over(1000));
    BOOST_TEST(lease.renew(900));  // what was given is not taken back
    BOOST_TEST(!lease.is_over(999));
    BOOST_TEST(lease.renew(2000));
    BOOST_TEST(!lease.is_over(1999));
    lease.end();
    BOOST_TEST(lease.is_over(2));
    BOOST_TEST(!lease.is_fenced());

    Lease unmanaged;  // the first lease makes it end
    BOOST_TEST(unmanaged.renew(1000));
    BOOST_TEST(unmanaged.is_over(1000));
}

BOOST_AUTO_TEST_CASE(a_fence_settles_when_every_reader_has_gone_round) {
    test::Rcu rcu;
    rcu.online(0);
    rcu.online(1);
    Lease lease;
    BOOST_TEST(!lease.has_settled(rcu.get()));
    BOOST_TEST(lease.fence(rcu.get()));
    BOOST_TEST(!lease.fence(rcu.get()));
    BOOST_TEST(!lease.has_settled(rcu.get()));
    rcu.quiescent(0);
    BOOST_TEST(!lease.has_settled(rcu.get()));
    rcu.offline(1);  // asleep: it has nothing in hand
    BOOST_TEST(lease.has_settled(rcu.get()));
    BOOST_TEST(!lease.fence(rcu.get()));
    BOOST_TEST(lease.has_settled(rcu.get()));
    rcu.offline(0);

    Lease old;
    old.was_fenced();
    rcu.online(0);
    BOOST_TEST(old.is_fenced());
    BOOST_TEST(old.has_settled(rcu.get()));
    rcu.offline(0);
}

// Whoever is faster: it ends fenced.
BOOST_AUTO_TEST_CASE(no_renewal_undoes_a_fence) {
    test::Rcu rcu;
    for (int round = 0; round < 2000; round++) {
        Lease lease;
        if (round % 2 == 0) lease.end();
        std::atomic<int> ready{0};
        const auto meet = [&] {
            for (ready++; ready != 2;) {
            }
        };
        {
            const std::jthread renewer([&] {
                meet();
                for (uint64_t until = 2; until < 50; until++)
                    lease.renew(until);
                lease.end();
            });
            const std::jthread fencer([&] {
                meet();
                lease.fence(rcu.get());
            });
        }
        BOOST_REQUIRE(lease.is_fenced());
    }
}

BOOST_AUTO_TEST_CASE(what_a_restart_leaves_of_a_lease) {
    const test::ScratchArena scratch("lease_restart");
    const auto make = [](RegionNode& node, const char* name, bool managed) -> memory::Region& {
        return node.table.create({.name = name, .size_bytes = 10 * memory::kPageBytes, .managed = managed});
    };
    {
        RegionNode node(scratch.path, 32ULL << 20);
        make(node, "alone", false);
        BOOST_TEST(make(node, "managed", true).lease.is_over(2));
        memory::Region& later = make(node, "later", false);
        node.table.make_managed(later);
        later.lease.renew(~0ULL - 1);
        make(node, "fenced", false);
        node.table.fence(*node.table.find("fenced"), 7);
        node.table.fence(*node.table.find("fenced"), 5);
        node.table.beat();
        BOOST_TEST(later.dirty->heartbeat() == 1U);
    }
    for (int round = 0; round < 2; round++) {
        RegionNode node(scratch.path, 32ULL << 20);
        BOOST_TEST(!node.table.find("alone")->managed);
        BOOST_TEST(!node.table.find("alone")->lease.is_managed());
        for (const char* name : {"managed", "later"}) {
            const memory::Region& region = *node.table.find(name);
            BOOST_TEST(region.managed);
            BOOST_TEST(region.lease.is_over(2));
            BOOST_TEST(!region.lease.is_fenced());
        }
        memory::Region& fenced = *node.table.find("fenced");
        BOOST_TEST(fenced.lease.is_fenced());
        BOOST_TEST(fenced.dirty->fence_epoch() == 7U);
        BOOST_TEST(!fenced.lease.renew(~0ULL - 1));
    }
    // A rescue serves nobody, and what it has been asked for does not matter to its arena.
    RegionNode node(scratch.path, 0, 0, memory::Arena::Start::look);
    memory::Region& region = *node.table.find("alone");
    BOOST_TEST(region.lease.is_fenced());
    BOOST_TEST(region.lease.has_settled(node.rcu.get()));
    node.table.fence(region, 9);
    node.table.beat();
    BOOST_TEST(region.dirty->fence_epoch() == 0U);
}
