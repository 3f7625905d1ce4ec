// SPDX-License-Identifier: BSD-3-Clause
// Connections that are lost and made anew: every operation is carried out, in order, whatever was carried out
// before and not acknowledged; and what the appliance refuses stays refused.
#define BOOST_TEST_MODULE reconnecting_fabric
#include "client/reconnecting_fabric.h"

#include <algorithm>
#include <array>
#include <boost/test/unit_test.hpp>
#include <cstdlib>
#include <map>

#include "client/session.h"
#include "tests/support/failing_fabric.h"
#include "tests/unit/logged_seed.h"

using namespace lagan::client;
using lagan::test::FailingAppliance;
using lagan::test::FailingFabric;
using std::chrono::milliseconds;

namespace {

constexpr uint32_t kDepth = 16;
constexpr milliseconds kLong{120'000};

struct Way {
    explicit Way(FailingAppliance& appliance) : a(appliance) {}

    WayBack back() {
        return {.restore =
                    [this] {
                        restores++;
                        if (a.happens(missing)) throw std::runtime_error("no port (test)");
                    },
                .connect = [this]() -> std::unique_ptr<Fabric> {
                    if (!refusal.empty()) throw Refused(refusal);
                    if (a.happens(missing)) throw std::runtime_error("nobody there (test)");
                    auto made = std::make_unique<FailingFabric>(a, kDepth);
                    now = made.get();
                    return made;
                }};
    }

    std::unique_ptr<Fabric> fabric(ReconnectOptions options) {
        auto first = std::make_unique<FailingFabric>(a, kDepth);
        now = first.get();
        options.first_backoff = milliseconds(0);
        options.tell = [this](const std::string& line) { lines.push_back(line); };
        return std::make_unique<ReconnectingFabric>(std::move(first), back(), options);
    }

    FailingAppliance& a;
    FailingFabric* now = nullptr;
    double missing = 0;
    std::string refusal;
    int restores = 0;
    std::vector<std::string> lines;
};

struct Setup {
    explicit Setup(const ReconnectOptions& options = {.limit = kLong})
        : way(appliance), session(way.fabric(options)) {}

    // Until nothing is outstanding.
    std::vector<Completion> finish() {
        std::vector<Completion> all;
        std::array<Completion, 8> found;
        size_t count;
        do {
            count = session.poll(found);
            all.insert(all.end(), found.begin(), found.begin() + static_cast<ptrdiff_t>(count));
        } while (count != 0 || session.outstanding() != 0);
        return all;
    }

    FailingAppliance appliance{64, 1};
    Way way;
    Session session;
    std::vector<std::byte> page = std::vector<std::byte>(4096, std::byte{7});
};

bool failed_with(const Session& session, const std::string& words) {
    BOOST_TEST_INFO(session.failure());
    return !session.connected() && session.failure().find(words) != std::string::npos;
}

// Stores, frees and reads at random, and what must be there. A page that is being read is neither stored nor
// freed (page_store.h), so a read finds what was last posted; but a store that was refused may have been
// carried out before, on a connection that was lost.
class Model {
  public:
    Model(Session& session, uint64_t pages, std::mt19937_64& random)
        : session_(session), random_(random), history_(pages, {{0, false}}), reads_of_(pages) {}

    void post_something() {
        const uint64_t page = random_() % history_.size();
        const uint64_t cookie = next_cookie_;
        switch (random_() % 4) {
            case 0: {
                const uint64_t count = std::min(1 + random_() % 5, history_.size() - page);
                if (being_read(page, count) ||
                    !session_.free_pages(cookie, page, static_cast<uint32_t>(count)))
                    return;
                for (uint64_t i = page; i < page + count; i++)
                    history_[i].push_back({0, false});
                operations_[cookie] = {.kind = Kind::free, .page = page};
                break;
            }
            case 1: {
                Operation read = {.kind = Kind::read, .page = page, .data = std::vector<uint64_t>(512)};
                if (!session_.read(cookie, page * 4096, read.data.data(), 4096)) return;
                reads_of_[page]++;
                operations_[cookie] = std::move(read);
                break;
            }
            default: {
                Operation store = {
                    .kind = Kind::store, .page = page, .data = std::vector<uint64_t>(512, cookie)};
                if (being_read(page, 1) || !session_.store_page(cookie, page, store.data.data())) return;
                history_[page].push_back({cookie, false});
                operations_[cookie] = std::move(store);
            }
        }
        next_cookie_++;
    }

    void poll() {
        std::array<Completion, 5> found;
        for (size_t n = session_.poll(found), i = 0; i < n; i++)
            completed(found[i]);
    }

    void compare(const FailingAppliance& appliance) const {
        for (uint64_t page = 0; page < history_.size(); page++) {
            uint64_t word;
            std::memcpy(&word, &appliance.bytes[page * 4096], sizeof word);
            BOOST_TEST(may_hold(page, word), "page " << page << " holds " << word << " instead of "
                                                     << history_[page].back().content);
        }
    }
    uint64_t reads_compared() const { return reads_compared_; }
    uint64_t refused() const { return refused_; }

  private:
    enum class Kind { store, free, read };
    struct Operation {
        Kind kind = Kind::store;
        uint64_t page = 0;
        std::vector<uint64_t> data;
    };

    struct Change {
        uint64_t content;  // in every word; 0: freed
        bool refused;
    };

    bool may_hold(uint64_t page, uint64_t word) const {
        for (auto change = history_[page].rbegin();; ++change) {
            if (change->content == word) return true;
            if (!change->refused) return false;  // the first one, of zeros, is not
        }
    }

    bool being_read(uint64_t first, uint64_t count) const {
        for (uint64_t page = first; page < first + count; page++) {
            if (reads_of_[page] != 0) return true;
        }
        return false;
    }

    void completed(const Completion& completion) {
        const auto entry = operations_.find(completion.cookie);
        BOOST_REQUIRE(entry != operations_.end());
        const Operation& done = entry->second;
        const bool success = completion.status == CompletionStatus::success;
        if (!success) {
            BOOST_TEST((completion.status == CompletionStatus::remote_operational_error));
            refused_++;
        }
        if (done.kind == Kind::read) {
            reads_of_[done.page]--;
            if (success) {
                BOOST_TEST(may_hold(done.page, done.data.front()),
                           "page " << done.page << " was read as " << done.data.front() << " instead of "
                                   << history_[done.page].back().content);
                BOOST_TEST(std::all_of(done.data.begin(), done.data.end(),
                                       [&](uint64_t word) { return word == done.data.front(); }));
                reads_compared_++;
            }
        } else if (!success) {
            for (Change& change : history_[done.page])
                change.refused |= change.content == completion.cookie;
        }
        operations_.erase(entry);
    }

    Session& session_;
    std::mt19937_64& random_;
    std::vector<std::vector<Change>> history_;  // of each page, as posted
    std::vector<int> reads_of_;
    std::map<uint64_t, Operation> operations_;
    uint64_t next_cookie_ = 1;
    uint64_t reads_compared_ = 0, refused_ = 0;
};

}  // namespace

BOOST_AUTO_TEST_CASE(random_operations_over_connections_that_fail_anywhere) {
    std::mt19937_64 random = lagan::test::seeded_random();
    const char* wanted = std::getenv("LAGAN_TEST_LONG");
    const bool is_long = wanted != nullptr && *wanted == '1';
    uint64_t reconnections = 0, reads_compared = 0, refusals = 0;
    for (int round = 0; round < (is_long ? 200 : 8); round++) {
        FailingAppliance appliance(1 + random() % 24, random());
        appliance.failure_chance = 0.005 + static_cast<double>(random() % 100) / 3000;
        appliance.refusal_chance = round % 2 == 0 ? 0 : 0.01;
        Way way(appliance);
        way.missing = 0.2;
        Session session(way.fabric({.limit = kLong}));
        Model model(session, session.page_count(), random);
        for (int step = 0; step < 3000; step++) {
            if (random() % 3 != 0) model.post_something();
            if (random() % 3 == 0) model.poll();
        }
        while (session.outstanding() != 0)
            model.poll();
        BOOST_TEST(session.connected(), session.failure());
        model.compare(appliance);
        BOOST_TEST(model.refused() == appliance.refusals);
        reconnections += session.reconnections();
        reads_compared += model.reads_compared();
        refusals += appliance.refusals;
    }
    BOOST_TEST(reconnections > 10);
    BOOST_TEST(reads_compared > 1000);
    BOOST_TEST(refusals > 0);
}

BOOST_AUTO_TEST_CASE(what_was_not_acknowledged_is_repeated) {
    Setup setup;
    for (uint64_t i = 0; i < 8; i++)
        BOOST_TEST(setup.session.store_page(i, i, setup.page.data()));
    setup.way.now->fail();
    const auto completions = setup.finish();
    BOOST_REQUIRE(completions.size() == 8);
    for (uint64_t i = 0; i < 8; i++) {
        BOOST_TEST(completions[i].cookie == i);
        BOOST_TEST((completions[i].status == CompletionStatus::success));
        BOOST_TEST((setup.appliance.bytes[i * 4096] == std::byte{7}));
    }
    BOOST_TEST(setup.session.reconnections() == 1);
    BOOST_TEST(setup.way.lines.empty());  // it was over soon
}

BOOST_AUTO_TEST_CASE(a_reply_that_does_not_come_is_asked_after) {
    Setup setup;
    setup.appliance.bytes[10 * 4096] = std::byte{7};
    setup.appliance.serves_capsules = false;
    BOOST_TEST(setup.session.free_pages(1, 10, 1));
    for (int i = 0; i < 1000; i++)  // acknowledged by then
        setup.session.poll({});
    setup.way.now->gone = true;
    setup.appliance.serves_capsules = true;
    const auto completions = setup.finish();
    BOOST_REQUIRE(completions.size() == 1);
    BOOST_TEST((completions[0].status == CompletionStatus::success));
    BOOST_TEST(setup.session.reconnections() == 1);
    BOOST_TEST((setup.appliance.bytes[10 * 4096] == std::byte{0}));
}

BOOST_AUTO_TEST_CASE(memory_is_registered_with_every_connection) {
    Setup setup;
    setup.session.register_memory(setup.page);
    setup.way.now->fail();
    BOOST_TEST(setup.session.store_page(1, 1, setup.page.data()) == false);
    while (setup.session.reconnections() == 0)
        setup.session.poll({});
    BOOST_TEST(setup.way.now->registered.size() == 1);
}

BOOST_AUTO_TEST_CASE(a_refusal_completes_one_operation_and_the_next_ones_go_on) {
    Setup setup;
    setup.appliance.refusal_chance = 1;
    BOOST_TEST(setup.session.store_page(0, 0, setup.page.data()));
    while (setup.appliance.refusals == 0)
        setup.session.poll({});
    setup.appliance.refusal_chance = 0;
    for (uint64_t i = 1; i < 5 && setup.session.store_page(i, i, setup.page.data()); i++) {
    }
    const auto completions = setup.finish();
    BOOST_TEST((completions.front().status == CompletionStatus::remote_operational_error));
    BOOST_TEST((setup.appliance.bytes[0] == std::byte{0}));
    while (!setup.session.store_page(9, 9, setup.page.data()))
        setup.session.poll({});
    BOOST_TEST((setup.finish().back().status == CompletionStatus::success));
    BOOST_TEST((setup.appliance.bytes[9 * 4096] == std::byte{7}));
}

BOOST_AUTO_TEST_CASE(given_up_when_the_time_is_over) {
    Setup setup({.limit = milliseconds(200)});
    setup.way.missing = 1;
    for (uint64_t i = 0; i < 4; i++)
        BOOST_TEST(setup.session.store_page(i, i, setup.page.data()));
    BOOST_TEST(setup.session.free_pages(4, 10, 3));
    setup.way.now->fail();
    const auto completions = setup.finish();
    BOOST_TEST(completions.size() == 5);
    for (const Completion& completion : completions)
        BOOST_TEST((completion.status == CompletionStatus::flushed));
    BOOST_TEST(failed_with(setup.session, "no port (test); given up after"));
    BOOST_TEST(setup.appliance.live == 0);
    BOOST_TEST(!setup.session.store_page(9, 9, setup.page.data()));
}

BOOST_AUTO_TEST_CASE(nobody_waits_and_nothing_is_given_up) {
    Setup setup({.limit = milliseconds(1)});
    setup.way.missing = 1;
    setup.way.now->fail();
    for (int turn = 0; turn < 30; turn++)
        setup.session.poll({});
    BOOST_TEST(setup.session.connected());
    BOOST_TEST(setup.way.restores > 5);
    setup.way.missing = 0;
    while (setup.session.reconnections() == 0)
        setup.session.poll({});
    BOOST_TEST(setup.session.store_page(1, 1, setup.page.data()));
    BOOST_TEST((setup.finish().front().status == CompletionStatus::success));
}

BOOST_AUTO_TEST_CASE(the_appliances_no_ends_it_in_its_own_words) {
    Setup setup;
    setup.way.refusal = "the grant is another appliance's";
    BOOST_TEST(setup.session.store_page(1, 1, setup.page.data()));
    setup.way.now->fail();
    BOOST_TEST((setup.finish().front().status == CompletionStatus::flushed));
    BOOST_TEST(failed_with(setup.session, "the grant is another appliance's"));
}

BOOST_AUTO_TEST_CASE(another_region_is_refused) {
    for (const bool older : {false, true}) {
        Setup setup;
        setup.appliance.region_id += older ? 0 : 1;
        setup.appliance.epoch -= older ? 1 : 0;
        BOOST_TEST(setup.session.store_page(1, 1, setup.page.data()));
        setup.way.now->fail();
        BOOST_TEST((setup.finish().front().status == CompletionStatus::flushed));
        BOOST_TEST(failed_with(setup.session, older ? "an older state of the region" : "another region now"));
        BOOST_TEST(setup.appliance.live == 0);
    }
    Setup newer;
    newer.appliance.epoch++;
    BOOST_TEST(newer.session.store_page(1, 1, newer.page.data()));
    newer.way.now->fail();
    BOOST_TEST((newer.finish().front().status == CompletionStatus::success));
}

BOOST_AUTO_TEST_CASE(an_interruption_gives_the_thread_back) {
    bool interrupted = true;
    Setup setup({.limit = kLong, .interrupted = [&] { return interrupted; }});
    BOOST_TEST(setup.session.store_page(1, 1, setup.page.data()));
    setup.way.now->fail();
    for (int turn = 0; turn < 5; turn++)
        setup.session.poll({});
    BOOST_TEST(setup.way.restores == 0);
    interrupted = false;
    BOOST_TEST((setup.finish().front().status == CompletionStatus::success));
}

BOOST_AUTO_TEST_CASE(settled_while_the_appliance_is_away) {
    Setup setup;
    setup.way.missing = 1;
    BOOST_TEST(setup.session.store_page(1, 1, setup.page.data()));
    setup.way.now->fail();
    for (int turn = 0; turn < 5; turn++)
        setup.session.poll({});
    setup.session.settle();  // returns: nobody makes the connection again
    BOOST_TEST(setup.session.outstanding() == 0);
    BOOST_TEST(failed_with(setup.session, "no port (test)"));
    BOOST_TEST(setup.appliance.live == 0);
}
