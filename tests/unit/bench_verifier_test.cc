// SPDX-License-Identifier: BSD-3-Clause
// lagan-bench --verify: what it takes for right, and that it notices everything else.
#define BOOST_TEST_MODULE bench_verifier
#include <algorithm>
#include <boost/test/unit_test.hpp>

#include "client/bench/verifier.h"

using lagan::bench::Verifier;

namespace {

constexpr uint32_t kCell = 512;
constexpr uint64_t kRegion = 64 * kCell;

struct Fixture {
    Verifier verifier{kRegion, kCell, 7};
    std::vector<uint32_t> oldest;

    using Bytes = std::vector<std::byte>;
    static Bytes zeros(size_t bytes = kCell) { return Bytes(bytes); }

    Bytes post_write(uint64_t offset, size_t bytes = kCell) {
        Bytes data(bytes);
        verifier.fill(offset, data);
        verifier.posted_write(offset, bytes);
        return data;
    }
    Bytes write(uint64_t offset, size_t bytes = kCell) {
        Bytes data = post_write(offset, bytes);
        verifier.completed_change(offset, bytes);
        return data;
    }
    void post_read(uint64_t offset, bool own, uint64_t bytes = kCell) {
        verifier.posted_read(offset, bytes, own, oldest);
    }
    // Whether the data that a read brought are right.
    bool right(uint64_t offset, const Bytes& data) {
        const uint64_t before = verifier.mismatches();
        verifier.check_read(offset, data, oldest);
        return verifier.mismatches() == before;
    }
};

}  // namespace

BOOST_FIXTURE_TEST_SUITE(verifier, Fixture)

BOOST_AUTO_TEST_CASE(a_region_begins_with_zeros) {
    post_read(kCell, false);
    BOOST_TEST(right(kCell, zeros()));
    Bytes one = zeros();
    one.back() = std::byte{1};
    BOOST_TEST(!right(kCell, one));
}

BOOST_AUTO_TEST_CASE(only_the_last_acknowledged_write_is_right) {
    const Bytes first = write(0), second = write(0);
    post_read(0, false);
    BOOST_TEST(right(0, second));
    BOOST_TEST(!right(0, first));
    BOOST_TEST(!right(0, zeros()));
    post_read(kCell, false);
    BOOST_TEST(!right(kCell, second));  // brought from the wrong place
}

BOOST_AUTO_TEST_CASE(one_wrong_byte_anywhere_is_noticed) {
    const Bytes good = write(0);
    post_read(0, false);
    for (size_t i = 0; i < good.size(); i++) {
        Bytes bad = good;
        bad[i] ^= std::byte{0x10};
        BOOST_REQUIRE(!right(0, bad));
    }
}

BOOST_AUTO_TEST_CASE(a_mixture_of_two_versions_is_torn) {
    const Bytes old_data = write(0);
    post_read(0, false);
    const Bytes new_data = post_write(0);
    BOOST_TEST(right(0, old_data));
    BOOST_TEST(right(0, new_data));
    Bytes torn = new_data;
    std::copy_n(old_data.begin() + 16, 16, torn.begin() + 16);
    BOOST_TEST(!right(0, torn));
}

BOOST_AUTO_TEST_CASE(the_own_connection_sees_what_was_posted_before) {
    const Bytes old_data = write(0);
    const Bytes new_data = post_write(0);
    post_read(0, true);
    BOOST_TEST(right(0, new_data));
    BOOST_TEST(!right(0, old_data));
    post_read(0, false);  // other connections: either, until it is acknowledged
    BOOST_TEST(right(0, new_data));
    BOOST_TEST(right(0, old_data));
    verifier.completed_change(0, kCell);
    post_read(0, false);
    BOOST_TEST(!right(0, old_data));
}

BOOST_AUTO_TEST_CASE(frees_leave_zeros) {
    const Bytes data = write(0);
    post_read(0, false);
    verifier.posted_free(0, kCell);
    BOOST_TEST(right(0, data));
    BOOST_TEST(right(0, zeros()));
    verifier.completed_change(0, kCell);
    post_read(0, false);
    BOOST_TEST(!right(0, data));
    BOOST_TEST(right(0, zeros()));
    const Bytes again = write(0);
    post_read(0, false);
    BOOST_TEST(right(0, again));
    BOOST_TEST(!right(0, zeros()));
}

BOOST_AUTO_TEST_CASE(cells_of_one_read_are_judged_apart) {
    const Bytes data = write(0, 4 * kCell);
    post_read(0, false, 4 * kCell);
    Bytes bad = data;
    std::fill_n(bad.begin() + kCell, kCell, std::byte{0});
    std::fill_n(bad.begin() + 3 * kCell, kCell, std::byte{0});
    BOOST_TEST(right(0, data));
    verifier.check_read(0, bad, oldest);
    BOOST_TEST(verifier.mismatches() == 2u);
    BOOST_TEST(verifier.reports().size() == 2u);
    BOOST_TEST(verifier.reports()[0].find("offset 0x200 (512 bytes): expected versions 1 to 1") == 0u);
    BOOST_TEST(verifier.reports()[0].find("found zeros") != std::string::npos);
}

BOOST_AUTO_TEST_CASE(reports_name_what_was_found) {
    const Bytes first = write(0);
    write(0);
    const Bytes other = write(2 * kCell);
    post_read(0, false);
    right(0, first);
    right(0, other);
    right(0, Bytes(kCell, std::byte{0xee}));
    BOOST_TEST(verifier.reports()[0].find("found version 1 of offset 0x0") != std::string::npos);
    BOOST_TEST(verifier.reports()[1].find("found version 1 of offset 0x400") != std::string::npos);
    BOOST_TEST(verifier.reports()[2].find("found no stamp") != std::string::npos);
}

BOOST_AUTO_TEST_CASE(versions_under_way_are_bounded) {
    for (int i = 0; i < 63; i++) {
        BOOST_REQUIRE(verifier.writable(0, kCell));
        post_write(0);
    }
    BOOST_TEST(!verifier.writable(0, kCell));
    BOOST_TEST(!verifier.writable(0, 2 * kCell));
    BOOST_TEST(verifier.writable(kCell, kCell));
    verifier.completed_change(0, kCell);
    BOOST_TEST(verifier.writable(0, kCell));
}

BOOST_AUTO_TEST_CASE(a_read_that_many_versions_overtook) {
    const Bytes first = write(0);
    post_read(0, false);
    Bytes last;
    for (int i = 0; i < 200; i++)
        last = write(0);
    BOOST_TEST(right(0, first));
    BOOST_TEST(right(0, last));
    post_read(0, false);
    BOOST_TEST(!right(0, zeros()));
}

BOOST_AUTO_TEST_SUITE_END()
