// SPDX-License-Identifier: BSD-3-Clause
// The book-keeping of leases, on a clock of the test's own.
#define BOOST_TEST_MODULE lease_book
#include <boost/test/unit_test.hpp>

#include "mgmt/cluster/lease_book.h"
#include "tests/unit/logged_seed.h"

using namespace lagan::cluster;
using namespace lagan::test;
using namespace std::chrono_literals;

namespace {

constexpr auto kTtl = 1000ms;
constexpr auto kLeader = 3000ms;
const Clock::time_point kStart{1h};
const Copy kCopy{.region = "db", .uid = "01", .epoch = 1};
constexpr uint64_t kRevision = 7;
const std::vector<LeaseBook::Served> kServed{{.copy = kCopy, .revision = kRevision}};

// Leads since long: nobody's older lease is valid.
struct Settled {
    Settled() {
        book.lead(kStart - 2h, kLeader, kStart - 2h, kTtl);
        for (auto at = kStart - 2h; at < kStart; at += 1s)
            book.lead(at, kLeader, at, kTtl);
    }
    LeaseBook book{kTtl};
};

}  // namespace

// Which counts the time for which the machine was suspended, as the steady clock does not.
BOOST_AUTO_TEST_CASE(the_clock_is_of_the_time_since_boot) {
    const auto boottime = [] {
        timespec now{};
        clock_gettime(CLOCK_BOOTTIME, &now);
        return std::chrono::seconds(now.tv_sec) + std::chrono::nanoseconds(now.tv_nsec);
    };
    const auto before = boottime();
    const auto now = Clock::now().time_since_epoch();
    BOOST_TEST((before <= now && now <= boottime()));
}

BOOST_AUTO_TEST_CASE(the_first_heartbeat_renews_nothing) {
    Settled s;
    const auto heartbeat = s.book.next_heartbeat("a", kServed, kStart);
    BOOST_TEST(heartbeat.instance.empty());
    BOOST_TEST(heartbeat.copies.empty());
    s.book.withdraw(kCopy, kRevision);
    BOOST_TEST(s.book.surely_over(kCopy, kStart));
}

BOOST_AUTO_TEST_CASE(a_lease_counts_from_when_its_base_was_heard) {
    Settled s;
    s.book.heard("a", "process 1", 5000, kStart);
    const auto heartbeat = s.book.next_heartbeat("a", kServed, kStart + 700ms);
    BOOST_TEST(heartbeat.instance == "process 1");
    BOOST_TEST(heartbeat.base_ms == 5000U);
    BOOST_TEST((heartbeat.copies == std::vector<Copy>{kCopy}));
    s.book.withdraw(kCopy, kRevision);
    BOOST_TEST(!s.book.surely_over(kCopy, kStart + kTtl));       // clocks drift
    BOOST_TEST(s.book.surely_over(kCopy, kStart + kTtl + 5ms));  // not 700 ms later
}

BOOST_AUTO_TEST_CASE(a_newer_answer_counts_only_when_it_was_sent_as_a_base) {
    Settled s;
    s.book.heard("a", "p", 5000, kStart);
    s.book.next_heartbeat("a", kServed, kStart + 10ms);
    s.book.heard("a", "p", 5500, kStart + 500ms);
    s.book.withdraw(kCopy, kRevision);
    BOOST_TEST(s.book.surely_over(kCopy, kStart + kTtl + 5ms));
}

BOOST_AUTO_TEST_CASE(what_was_withdrawn_gets_no_lease) {
    Settled s;
    const Copy other{.region = "other", .uid = "02", .epoch = 1};
    s.book.heard("a", "p", 5000, kStart);
    s.book.withdraw(kCopy, kRevision);
    const auto both_at = [&](uint64_t revision) {
        return std::vector<LeaseBook::Served>{{kCopy, revision}, {other, 1}};
    };
    for (const uint64_t revision : {kRevision - 1, kRevision})  // records that it was withdrawn after, or by
        BOOST_TEST(
            (s.book.next_heartbeat("a", both_at(revision), kStart).copies == std::vector<Copy>{other}));
    BOOST_TEST(s.book.surely_over(kCopy, kStart + 1s));
    // A newer one, by whichever manager, serves it.
    BOOST_TEST(s.book.next_heartbeat("a", both_at(kRevision + 1), kStart).copies.size() == 2U);
    BOOST_TEST(!s.book.surely_over(kCopy, kStart + 1h - 1s));  // it may have leases again, even if none
}

BOOST_AUTO_TEST_CASE(an_epoch_is_another_lease) {
    Settled s;
    const Copy next{.region = "db", .uid = "01", .epoch = 2};
    s.book.heard("a", "p", 5000, kStart);
    s.book.heard("b", "p", 9000, kStart);
    s.book.next_heartbeat("a", kServed, kStart);
    s.book.withdraw(kCopy, kRevision);
    BOOST_TEST(s.book.next_heartbeat("b", {{next, 1}}, kStart).copies.size() == 1U);
    BOOST_TEST(!s.book.surely_over(next, kStart + 1990ms));
    BOOST_TEST(s.book.surely_over(kCopy, kStart + 1990ms));
}

BOOST_AUTO_TEST_CASE(who_does_not_lead_gives_no_lease_and_finds_none_over) {
    LeaseBook book(kTtl);
    book.heard("a", "p", 5000, kStart);
    book.withdraw(kCopy, kRevision);
    BOOST_TEST(book.next_heartbeat("a", kServed, kStart).instance.empty());
    BOOST_TEST(!book.surely_over(kCopy, kStart + 1h));

    Settled s;
    s.book.heard("a", "p", 5000, kStart);
    s.book.withdraw(kCopy, kRevision);
    // Led until kStart - 1 s + 3 s.
    BOOST_TEST(s.book.surely_over(kCopy, kStart + 1999ms));
    BOOST_TEST(!s.book.surely_over(kCopy, kStart + 2000ms));
    const std::vector<LeaseBook::Served> again{{kCopy, kRevision + 1}};
    BOOST_TEST(s.book.next_heartbeat("a", again, kStart + 2000ms).copies.empty());
    s.book.lead(kStart + 2001ms, kLeader, kStart + 2002ms, kTtl);
    s.book.follow();
    BOOST_TEST(!s.book.leads(kStart + 2003ms));
    BOOST_TEST(s.book.next_heartbeat("a", again, kStart + 2003ms).copies.empty());
}

BOOST_AUTO_TEST_CASE(leadership_counts_from_the_question) {
    LeaseBook book(kTtl);
    book.lead(kStart, kLeader, kStart + 2900ms, kTtl);
    BOOST_TEST(book.leads(kStart + 2999ms));
    BOOST_TEST(!book.leads(kStart + 3000ms));
    book.lead(kStart + 10s, kLeader, kStart + 14s, kTtl);  // the answer took too long
    BOOST_TEST(!book.leads(kStart + 14s));
}

BOOST_AUTO_TEST_CASE(a_new_leader_waits_for_leases_of_those_before) {
    LeaseBook book(kTtl);
    book.lead(kStart, kLeader, kStart + 100ms, 2500ms);  // theirs were longer
    book.withdraw(kCopy, kRevision);
    BOOST_TEST(!book.surely_over(kCopy, kStart + 2600ms));
    BOOST_TEST(!book.settled(kStart + 2600ms));
    book.lead(kStart + 2600ms, kLeader, kStart + 2600ms, kTtl);
    BOOST_TEST(book.surely_over(kCopy, kStart + 2610ms));
    // One that has lapsed is a new one: another may have led in between.
    book.lead(kStart + 6s, kLeader, kStart + 6s, kTtl);
    book.withdraw(kCopy, kRevision);
    BOOST_TEST(!book.surely_over(kCopy, kStart + 6900ms));
    BOOST_TEST(book.surely_over(kCopy, kStart + 7100ms));
}

BOOST_AUTO_TEST_CASE(a_new_leader_does_not_remember_what_it_withdrew_before) {
    LeaseBook book(kTtl);
    book.lead(kStart, kLeader, kStart, kTtl);
    book.withdraw(kCopy, kRevision);
    book.heard("a", "i", 1, kStart + 5s);
    book.lead(kStart + 5s, kLeader, kStart + 5s, kTtl);  // whoever led in between may have ended the failover
    BOOST_TEST(!book.surely_over(kCopy, kStart + 7900ms));
    BOOST_TEST(book.next_heartbeat("a", kServed, kStart + 5s).copies.size() == 1U);
    BOOST_TEST(book.next_heartbeat("a", kServed, kStart + 4999ms).copies.empty());  // copies of before
}

// Whatever the order of events, a lease that a node may hold is one that the book knows of. The node's clock
// is another one, and every heartbeat that was made may arrive at any later time, or twice.
BOOST_AUTO_TEST_CASE(a_node_never_holds_a_lease_that_is_surely_over) {
    auto random = seeded_random();
    for (int round = 0; round < 300; ++round) {
        const auto offset = std::chrono::milliseconds(random() % 1'000'000);
        auto now = kStart;
        const auto node_ms = [&] {
            return static_cast<uint64_t>(
                std::chrono::duration_cast<std::chrono::milliseconds>(now.time_since_epoch() + offset)
                    .count());
        };
        struct Manager {
            LeaseBook book{kTtl};
        };
        Manager managers[2];
        int leader = -1;
        auto leads_until = kStart;
        std::vector<LeaseBook::Heartbeat> sent;
        uint64_t lease_until_ms = 0, revision = 1;
        for (int i = 0; i < 200; ++i) {
            now += std::chrono::milliseconds(random() % 120);
            const int who = static_cast<int>(random() % 2);
            Manager& manager = managers[who];
            switch (random() % 6) {
                case 0:  // campaigns
                    if (leader == who || now >= leads_until) {
                        const auto asked = now;
                        leader = who;
                        leads_until = now + kLeader;
                        now += std::chrono::milliseconds(random() % 50);
                        manager.book.lead(asked, kLeader, now, kTtl);
                    }
                    break;
                case 1: {  // an answer, some time after the node has read its clock
                    const uint64_t told = node_ms();
                    now += std::chrono::milliseconds(random() % 100);
                    manager.book.heard("a", "p", told, now);
                    break;
                }
                case 2:
                case 3:
                    sent.push_back(manager.book.next_heartbeat("a", {{kCopy, revision}}, now));
                    break;
                case 4:
                    if (!sent.empty()) {
                        const auto& heartbeat = sent[random() % sent.size()];
                        if (!heartbeat.copies.empty())
                            lease_until_ms = std::max(lease_until_ms, heartbeat.base_ms + 1000);
                    }
                    break;
                default:
                    if (random() % 4 == 0) manager.book.withdraw(kCopy, revision);
                    if (random() % 8 == 0) ++revision;  // it is served again
            }
            // Both must have withdrawn it: the record in the directory says so to everyone.
            for (Manager& each : managers) {
                if (!each.book.leads(now)) continue;
                Manager& other = &each == &managers[0] ? managers[1] : managers[0];
                if (!each.book.surely_over(kCopy, now)) continue;
                BOOST_REQUIRE(!other.book.leads(now));
                BOOST_REQUIRE_MESSAGE(node_ms() >= lease_until_ms, "round " << round << ", step " << i);
                for (const auto& late : sent)  // nor ever again
                    BOOST_REQUIRE(late.copies.empty() || node_ms() >= late.base_ms + 1000);
            }
        }
    }
}
