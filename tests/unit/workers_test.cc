// SPDX-License-Identifier: BSD-3-Clause
// What takes long keeps off the poll lcores' CPUs: threads of Workers, and what they do, a region's files
// being zeroed among it.
#define BOOST_TEST_MODULE workers
#include <sched.h>
#include <unistd.h>

#include <boost/test/unit_test.hpp>
#include <chrono>
#include <filesystem>
#include <mutex>
#include <set>
#include <thread>
#include <vector>

#include <tbb/parallel_for.h>

#include "datapath/memory/mapped_file.h"
#include "mgmt/recovery/workers.h"

using namespace lagan;
using namespace std::chrono_literals;

namespace {

std::vector<unsigned> cpus_of_this_thread() {
    cpu_set_t set;
    CPU_ZERO(&set);
    sched_getaffinity(0, sizeof set, &set);
    std::vector<unsigned> cpus;
    for (unsigned cpu = 0; cpu < CPU_SETSIZE; ++cpu)
        if (CPU_ISSET(cpu, &set)) cpus.push_back(cpu);
    return cpus;
}

// What threads were seen, and where they were allowed to run.
struct Seen {
    std::mutex mutex;
    std::set<pid_t> threads;
    std::set<std::vector<unsigned>> cpus;

    void look() {
        const std::scoped_lock lock(mutex);
        threads.insert(gettid());
        cpus.insert(cpus_of_this_thread());
    }
};

// Work for all threads, until two have been seen at least.
void keep_busy(Seen& seen) {
    tbb::parallel_for(0, 64, [&](int) {
        seen.look();
        std::this_thread::sleep_for(2ms);
    });
}

struct Fixture {
    const std::vector<unsigned> all = cpus_of_this_thread();
    const std::vector<unsigned> last{all.back()};

    Fixture() {
        if (all.size() < 2) BOOST_TEST_MESSAGE("one CPU only: nothing to keep off from");
        // Threads of oneTBB's that are there already, and may run anywhere.
        Seen before;
        keep_busy(before);
    }
};

}  // namespace

BOOST_FIXTURE_TEST_CASE(every_thread_that_works_is_on_its_cpus, Fixture) {
    recovery::Workers workers(last);
    Seen seen;
    // A second thread of oneTBB's comes when it is given a processor.
    for (int round = 0; round < 400 && seen.threads.size() < 2; round++)
        workers.run([&] { keep_busy(seen); });
    BOOST_TEST(seen.threads.size() > 1u);
    BOOST_TEST((seen.cpus == std::set<std::vector<unsigned>>{last}));
}

BOOST_FIXTURE_TEST_CASE(the_caller_is_back_on_its_own_cpus_afterwards, Fixture) {
    recovery::Workers workers(last);
    for (int round = 0; round < 3; ++round) {
        Seen seen;
        workers.run([&] { seen.look(); });
        BOOST_TEST((seen.cpus == std::set<std::vector<unsigned>>{last}));
        BOOST_TEST(cpus_of_this_thread() == all, boost::test_tools::per_element());
    }
    BOOST_CHECK_THROW(workers.run([] { throw std::runtime_error("no room"); }), std::runtime_error);
    BOOST_TEST(cpus_of_this_thread() == all, boost::test_tools::per_element());
}

BOOST_FIXTURE_TEST_CASE(a_file_is_committed_by_the_workers_of_whoever_makes_it, Fixture) {
    const auto path = std::filesystem::temp_directory_path() / ("lagan-workers-" + std::to_string(getpid()));
    recovery::Workers workers(last);
    Seen seen;
    workers.run(
        [&] { const memory::MappedFile file(path, 256U << 20, [&](uint64_t, uint64_t) { seen.look(); }); });
    std::filesystem::remove(path);
    BOOST_TEST(!seen.threads.empty());
    BOOST_TEST((seen.cpus == std::set<std::vector<unsigned>>{last}));
}
