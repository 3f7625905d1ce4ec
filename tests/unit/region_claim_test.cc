// SPDX-License-Identifier: BSD-3-Clause
// Claims of one region: never do two get it, however their steps are mixed.
#define BOOST_TEST_MODULE region_claim
#include "client/region_claim.h"

#include <boost/test/unit_test.hpp>
#include <condition_variable>
#include <mutex>
#include <stdexcept>
#include <string>
#include <thread>

#include "tests/support/memory_fabric.h"
#include "tests/unit/logged_seed.h"

using namespace lagan::client;
using lagan::test::MemoryFabric;
using lagan::test::MemoryRegion;

namespace {

constexpr uint64_t kPages = 16;

// Who may take the next step. One thread runs at a time, and after every step chance says which.
class Turns {
  public:
    explicit Turns(uint64_t seed) : random_(seed) {}
    void take(size_t me) {
        std::unique_lock lock(mutex_);
        changed_.wait(lock, [&] { return turn_ == me; });
        turn_ = ended_[1 - me] ? me : random_() % bias_ == 0 ? 1 - me : me;
        changed_.notify_all();
        changed_.wait(lock, [&] { return turn_ == me; });
    }
    void end(size_t me) {
        const std::scoped_lock lock(mutex_);
        ended_[me] = true;
        turn_ = 1 - me;
        changed_.notify_all();
    }

  private:
    std::mutex mutex_;
    std::condition_variable changed_;
    std::mt19937_64 random_;
    const uint64_t bias_ = 1 + random_() % 40;
    size_t turn_ = 0;
    bool ended_[2] = {false, false};
};

class StepFabric final : public MemoryFabric {
  public:
    StepFabric(MemoryRegion& memory, Turns& turns, size_t me)
        : MemoryFabric(memory, 64), turns_(turns), me_(me) {}
    size_t poll(std::span<Completion> out) override {
        turns_.take(me_);
        return MemoryFabric::poll(out);
    }

  private:
    Turns& turns_;
    const size_t me_;
};

std::string claim(Session& session) {
    try {
        claim_region(session);
        return "mine";
    } catch (const std::runtime_error& error) {
        return error.what();
    }
}

bool is_in_use(const std::string& said) {
    return said.find("is in use") != std::string::npos;
}

}  // namespace

BOOST_AUTO_TEST_CASE(one_after_the_other) {
    MemoryRegion memory(kPages);
    Session first(std::make_unique<MemoryFabric>(memory, 64));
    BOOST_TEST(claim(first) == "mine");
    Session second(std::make_unique<MemoryFabric>(memory, 64));
    BOOST_TEST(is_in_use(claim(second)));  // although the first has stored nothing of its own
    BOOST_TEST((first.free_blocking(0, kPages) == CompletionStatus::success));
    BOOST_TEST(claim(second) == "mine");
}

BOOST_AUTO_TEST_CASE(regions_that_cannot_be_claimed) {
    MemoryRegion small(1);
    Session too_small(std::make_unique<MemoryFabric>(small, 64));
    BOOST_TEST(claim(too_small).find("too small") != std::string::npos);

    MemoryRegion memory(kPages);
    auto fabric = std::make_unique<MemoryFabric>(memory, 64);
    fabric->disconnect();
    Session lost(std::move(fabric));  // what it holds is not known: not an empty region
    BOOST_TEST(claim(lost).find("connection lost") != std::string::npos);
    BOOST_TEST(memory.present.empty());
}

BOOST_AUTO_TEST_CASE(two_at_the_same_time) {
    std::mt19937_64 random = lagan::test::seeded_random();
    uint64_t none = 0;
    constexpr uint64_t kRounds = 300;
    for (uint64_t round = 0; round < kRounds; round++) {
        MemoryRegion memory(kPages);
        Turns turns(random());
        std::string said[2];
        const auto run = [&](size_t me) {
            Session session(std::make_unique<StepFabric>(memory, turns, me));
            said[me] = claim(session);
            turns.end(me);
        };
        std::thread other(run, 1);
        run(0);
        other.join();
        BOOST_TEST((said[0] == "mine" || is_in_use(said[0])));
        BOOST_TEST((said[1] == "mine" || is_in_use(said[1])));
        BOOST_TEST(!(said[0] == "mine" && said[1] == "mine"));
        none += said[0] != "mine" && said[1] != "mine";
    }
    BOOST_TEST(none > 0);        // their steps were mixed
    BOOST_TEST(none < kRounds);  // and often enough one got it
}
