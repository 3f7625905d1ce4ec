// SPDX-License-Identifier: BSD-3-Clause
// A session whose connection ends, or whose owner wants to go: every operation completes, and no buffer is
// needed any more.
#define BOOST_TEST_MODULE session
#include <array>
#include <boost/test/unit_test.hpp>
#include <memory>
#include <vector>

#include "client/session.h"
#include "tests/support/memory_fabric.h"

using namespace lagan::client;
using lagan::test::MemoryFabric;
using lagan::test::MemoryRegion;

namespace {

constexpr uint64_t kPages = 4096;

struct Setup {
    MemoryRegion memory{kPages};
    MemoryFabric* fabric;  // the session's
    Session session;
    explicit Setup(uint32_t depth)
        : fabric(new MemoryFabric(memory, depth)), session(std::unique_ptr<Fabric>(fabric)) {}
};

}  // namespace

BOOST_AUTO_TEST_CASE(settled_before_its_owner_goes) {
    Setup setup(64);
    std::vector<std::byte> page(4096, std::byte{7});
    for (uint64_t i = 0; i < 20; i++)
        BOOST_TEST(setup.session.store_page(i, i, page.data()));
    BOOST_TEST(setup.session.free_pages(20, 100, 5));
    BOOST_TEST(setup.session.outstanding() == 21);
    setup.session.settle();
    BOOST_TEST(setup.session.outstanding() == 0);
    BOOST_TEST(setup.fabric->outstanding() == 0);
    BOOST_TEST(setup.session.connected());
    BOOST_TEST(setup.memory.present.size() == 20);
    BOOST_TEST((setup.session.free_blocking(0, kPages) == CompletionStatus::success));
    BOOST_TEST(setup.memory.present.empty());
}

// One answer completes more operations than are asked for at a time. A blocking call behind it would take the
// rest for its own.
BOOST_AUTO_TEST_CASE(what_was_not_given_yet_is_outstanding) {
    Setup setup(64);
    std::vector<std::byte> page(4096, std::byte{7});
    BOOST_TEST(setup.session.store_page(0, kPages - 1, page.data()));
    setup.session.settle();
    for (uint64_t i = 0; i < 100; i++)
        BOOST_TEST_REQUIRE(setup.session.free_pages(i, 2 * i, 1));
    std::array<Completion, 1> one;
    while (setup.session.poll(one) == 0) {
    }
    BOOST_TEST(setup.session.outstanding() == 99);
    setup.session.settle();
    BOOST_TEST(setup.session.outstanding() == 0);
    BOOST_TEST((setup.session.free_blocking(0, kPages) == CompletionStatus::success));
    BOOST_TEST(setup.memory.present.empty());
}

BOOST_AUTO_TEST_CASE(everything_completes_when_the_connection_ends) {
    Setup setup(8);
    std::vector<std::byte> buffer(4096);
    for (uint64_t i = 0; i < 8; i++)
        BOOST_TEST(setup.session.read(i, i * 4096, buffer.data(), 4096));
    BOOST_TEST(!setup.session.read(8, 0, buffer.data(), 4096));
    BOOST_TEST(setup.session.free_pages(9, 100, 5));
    setup.fabric->disconnect();
    size_t flushed = 0;
    std::array<Completion, 4> found;
    for (int turn = 0; turn < 100 && setup.session.outstanding() != 0; turn++) {
        for (size_t n = setup.session.poll(found); n > 0; n--)
            flushed += found[n - 1].status == CompletionStatus::flushed;
    }
    BOOST_TEST(flushed == 9);
    BOOST_TEST(setup.session.outstanding() == 0);
    BOOST_TEST((setup.session.read_blocking(0, buffer.data(), 4096) == CompletionStatus::flushed));
    BOOST_TEST((setup.session.dirty_counts_blocking().status == CompletionStatus::flushed));
}
