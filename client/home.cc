// SPDX-License-Identifier: BSD-3-Clause
#include "client/home.h"

#include <fmt/chrono.h>
#include <fmt/format.h>

#include <stdexcept>

namespace lagan::client {

namespace {

constexpr std::chrono::milliseconds kBetweenLooks{200};

std::string text_of(const Home::RollBack& roll_back) {
    if (roll_back.cut_time_us == 0) return "acknowledged stores are missing, back to its last checkpoint";
    const auto time = fmt::gmtime(static_cast<std::time_t>(roll_back.cut_time_us / 1'000'000));
    return fmt::format(
        "acknowledged stores are missing: it is as it was at {:%Y-%m-%d %H:%M:%S} UTC (checkpoint {})", time,
        roll_back.cut_number);
}

}  // namespace

std::unique_ptr<Fabric> HomeFinder::connect() {
    const Home home = ask_();
    auto fabric = connect_(home);
    if (fabric->region().epoch != home.epoch)
        throw std::runtime_error("the region has moved at this moment: try again");
    known_ = home;
    return fabric;
}

bool HomeFinder::moved() {
    const auto now = Clock::now();
    if (now < next_look_) return false;
    bool elsewhere = false;
    try {
        elsewhere = ask_().epoch > known_.epoch;
    } catch (const std::runtime_error&) {  // connect_again() will say it
    }
    // Who has heard of a move asks again when the old connection has to be given up for it.
    if (!elsewhere) next_look_ = Clock::now() + kBetweenLooks;
    return elsewhere;
}

std::unique_ptr<Fabric> HomeFinder::connect_again() {
    Home home;
    try {
        home = ask_();
    } catch (const Refused&) {
        throw;
    } catch (const std::runtime_error& no_answer) {
        try {
            return connect_to(known_);
        } catch (const std::runtime_error& error) {
            throw std::runtime_error(fmt::format("{}; {}", no_answer.what(), error.what()));
        }
    }
    check_same_region(home);
    check_roll_back(home);
    return connect_to(home);
}

void HomeFinder::check_same_region(const Home& home) const {
    if (home.uid != known_.uid)
        throw Refused(fmt::format("the manager has another region of that name now (it is {}, it was {})",
                                  home.uid, known_.uid));
    // Of a manager that has not heard the news.
    if (home.epoch < known_.epoch)
        throw std::runtime_error(
            fmt::format("the manager's answer is old (epoch {}, it was {})", home.epoch, known_.epoch));
}

void HomeFinder::check_roll_back(const Home& home) {
    if (!home.rolled_back || home.rolled_back->epoch <= known_.epoch) return;
    const std::string line = fmt::format("the region was rolled back: {}", text_of(*home.rolled_back));
    if (on_roll_back_ == OnRollBack::stop) throw RolledBack(line);
    if (tell_) tell_(line + "; going on, as asked");
}

// What the manager says and what is found can differ for a moment: a refusal is not the last word.
std::unique_ptr<Fabric> HomeFinder::connect_to(const Home& home) {
    std::unique_ptr<Fabric> fabric;
    try {
        fabric = connect_(home);
    } catch (const Refused& refusal) {
        throw std::runtime_error(refusal.what());
    }
    // A copy of a newer epoch may be one that was rolled back: the manager has to say so first.
    if (fabric->region().epoch != home.epoch)
        throw std::runtime_error(fmt::format("{} has epoch {} of the region, the manager said {}", home.node,
                                             fabric->region().epoch, home.epoch));
    known_ = home;
    return fabric;
}

}  // namespace lagan::client
