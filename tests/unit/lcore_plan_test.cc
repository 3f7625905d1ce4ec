// SPDX-License-Identifier: BSD-3-Clause
// Pollers get physical cores of their own near the ports, control gets another, and small machines share
// sensibly.
#define BOOST_TEST_MODULE lcore_plan
#include "appliance/lcore_plan.h"

#include <sched.h>

#include <algorithm>
#include <boost/test/unit_test.hpp>
#include <string>
#include <vector>

using namespace lagan::appliance;

namespace {

std::vector<unsigned> poll_cpus(const LcorePlan& plan) {
    std::vector<unsigned> numbers;
    for (const PollLcore& poller : plan.pollers)
        numbers.push_back(poller.cpu.number);
    return numbers;
}

std::string text(const LcorePlan& plan) {
    std::string all;
    for (const std::string& line : describe(plan))
        all += line + "\n";
    return all;
}

struct Case {
    const char* topology;
    LcoreRequest request;
    std::vector<unsigned> pollers;
    unsigned control;
};

std::vector<Cpu> only(std::vector<Cpu> cpus, const std::vector<unsigned>& numbers) {
    std::erase_if(cpus, [&](const Cpu& cpu) {
        return std::find(numbers.begin(), numbers.end(), cpu.number) == numbers.end();
    });
    return cpus;
}

}  // namespace

BOOST_AUTO_TEST_CASE(choices_on_known_machines) {
    const std::vector<Case> cases = {
        {"core:1 pu:1", {}, {0}, 0},                  // one CPU: they share it
        {"core:2 pu:1", {}, {1}, 0},                  // poll = last
        {"core:1 pu:2", {}, {1}, 0},                  // one core, two hardware threads
        {"core:2 pu:1", {.max_pollers = 8}, {1}, 0},  // control keeps a core
        {"core:8 pu:1", {.max_pollers = 3}, {5, 6, 7}, 0},
        {"core:8 pu:1", {.max_pollers = 0}, {7}, 0},        // never none
        {"core:4 pu:2", {.max_pollers = 8}, {2, 4, 6}, 0},  // one hardware thread per core
        {"node:2 core:4 pu:1", {.max_pollers = 2}, {6, 7}, 0},
        {"node:2 core:4 pu:1", {.max_pollers = 2, .port_nodes = {0}}, {2, 3}, 0},
        {"node:2 core:4 pu:1",
         {.max_pollers = 5, .port_nodes = {0}},
         {1, 2, 3, 6, 7},
         0},  // then the other node
        {"node:2 core:4 pu:1", {.max_pollers = 2, .port_nodes = {-1}}, {6, 7}, 0},
        {"node:2 core:2 pu:2", {.max_pollers = 4, .port_nodes = {0, 1}}, {2, 4, 6}, 0},
        {"core:4 pu:1", {.poll_cpus = {0, 1}}, {0, 1}, 2},  // control avoids what was asked for
        {"core:4 pu:1", {.poll_cpus = {3, 1}}, {3, 1}, 0},  // in the order asked for
        {"core:2 pu:1", {.poll_cpus = {0, 1}}, {0, 1}, 0},  // nothing left: it shares
        {"core:2 pu:2", {.poll_cpus = {0}}, {0}, 2},        // another core before a sibling
        {"core:1 pu:2", {.poll_cpus = {0}}, {0}, 1},        // a sibling before the same CPU
        {"core:4 pu:1", {.control_cpu = 3, .max_pollers = 2}, {1, 2}, 3},
        {"core:2 pu:2", {.control_cpu = 2, .max_pollers = 4}, {0}, 2},
        {"core:2 pu:1", {.poll_cpus = {1}, .control_cpu = 1}, {1}, 1},
    };
    for (const Case& test : cases) {
        const LcorePlan plan = plan_lcores(synthetic_cpus(test.topology), test.request);
        BOOST_TEST_CONTEXT(test.topology << " gives\n" << text(plan)) {
            BOOST_TEST(poll_cpus(plan) == test.pollers, boost::test_tools::per_element());
            BOOST_TEST(plan.control.number == test.control);
            for (size_t i = 0; i < plan.pollers.size(); ++i)
                BOOST_TEST(plan.pollers[i].lcore == i + 1);
        }
    }
}

BOOST_AUTO_TEST_CASE(a_cpuset_is_respected) {
    const auto cpus = only(synthetic_cpus("node:2 core:4 pu:2"), {3, 5, 6, 7});
    const LcorePlan plan = plan_lcores(cpus, {.max_pollers = 8});
    BOOST_TEST(plan.control.number == 3u);
    BOOST_TEST(poll_cpus(plan) == (std::vector<unsigned>{5, 6}), boost::test_tools::per_element());
}

BOOST_AUTO_TEST_CASE(a_cpu_that_may_not_be_used_is_refused_with_the_option_and_the_alternatives) {
    const auto cpus = only(synthetic_cpus("core:8 pu:1"), {2, 3});
    const auto says = [](const char* option) {
        return [option](const std::runtime_error& error) {
            const std::string what = error.what();
            return what.find(option) == 0 && what.find("CPU 5") != std::string::npos &&
                   what.find("2, 3") != std::string::npos;
        };
    };
    BOOST_CHECK_EXCEPTION(plan_lcores(cpus, {.poll_cpus = {3, 5}}), std::runtime_error, says("poll.lcores"));
    BOOST_CHECK_EXCEPTION(plan_lcores(cpus, {.control_cpu = 5}), std::runtime_error,
                          says("poll.control_cpu"));
}

BOOST_AUTO_TEST_CASE(sharing_is_said) {
    BOOST_TEST(
        text(plan_lcores(synthetic_cpus("core:1 pu:1"), {})).find("shares its CPU with the control thread") !=
        std::string::npos);
    BOOST_TEST(text(plan_lcores(synthetic_cpus("core:1 pu:2"), {})).find("shares its core with") !=
               std::string::npos);
    BOOST_TEST(text(plan_lcores(synthetic_cpus("core:2 pu:1"), {})).find("shares") == std::string::npos);
    BOOST_TEST(text(plan_lcores(synthetic_cpus("core:2 pu:2"), {.poll_cpus = {2, 3}}))
                   .find("shares its core with lcore 2") != std::string::npos);
}

BOOST_AUTO_TEST_CASE(this_machine_is_read_within_the_affinity_mask) {
    cpu_set_t before;
    BOOST_REQUIRE(sched_getaffinity(0, sizeof before, &before) == 0);
    const auto cpus = usable_cpus();
    BOOST_TEST(cpus.size() == static_cast<size_t>(CPU_COUNT(&before)));

    cpu_set_t one;
    CPU_ZERO(&one);
    CPU_SET(cpus.back().number, &one);
    BOOST_REQUIRE(sched_setaffinity(0, sizeof one, &one) == 0);
    const auto narrowed = usable_cpus();
    BOOST_REQUIRE(sched_setaffinity(0, sizeof before, &before) == 0);
    BOOST_REQUIRE(narrowed.size() == 1u);
    BOOST_TEST(narrowed[0].number == cpus.back().number);
}

BOOST_AUTO_TEST_CASE(a_bad_synthetic_topology_is_refused) {
    BOOST_CHECK_THROW(synthetic_cpus("nonsense"), std::runtime_error);
}
