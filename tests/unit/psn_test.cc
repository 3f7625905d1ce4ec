// SPDX-License-Identifier: BSD-3-Clause
#define BOOST_TEST_MODULE psn
#include "datapath/roce/psn.h"

#include <boost/test/unit_test.hpp>

#include "datapath/roce/aeth.h"

using namespace lagan::roce;

BOOST_AUTO_TEST_CASE(adding_wraps_at_24_bits) {
    BOOST_TEST(psn_add(0, 1) == 1U);
    BOOST_TEST(psn_add(0xffffff, 1) == 0U);
    BOOST_TEST(psn_add(0xfffff0, 0x20) == 0x10U);
    BOOST_TEST(psn_add(5, 0xffffff) == 4U);  // one back
}

BOOST_AUTO_TEST_CASE(comparison_is_right_across_the_wrap_and_up_to_half_the_space) {
    for (const uint32_t base : {0U, 1U, 0x7fffffU, 0x800000U, 0xfffffeU, 0xffffffU}) {
        BOOST_TEST(psn_compare(base, base) == 0);
        for (const uint32_t step : {1U, 2U, 128U, 0x7ffffeU, 0x7fffffU}) {
            BOOST_TEST(psn_compare(psn_add(base, step), base) > 0);
            BOOST_TEST(psn_compare(base, psn_add(base, step)) < 0);
        }
        BOOST_TEST(psn_compare(psn_add(base, 0x800001), base) < 0);
    }
}

BOOST_AUTO_TEST_CASE(bits_above_24_do_not_matter) {
    BOOST_TEST(psn_compare(0xff000005, 0x00000005) == 0);
    BOOST_TEST(psn_distance(0xff000005, 0x00000007) == 2U);
}

BOOST_AUTO_TEST_CASE(distance_counts_forward_only) {
    BOOST_TEST(psn_distance(3, 3) == 0U);
    BOOST_TEST(psn_distance(3, 10) == 7U);
    BOOST_TEST(psn_distance(0xffffff, 1) == 2U);
    BOOST_TEST(psn_distance(10, 3) == 0xfffff9U);
}

BOOST_AUTO_TEST_CASE(a_read_takes_at_least_one_psn) {
    BOOST_TEST(psn_count(0, 4096) == 1U);
    BOOST_TEST(psn_count(1, 4096) == 1U);
    BOOST_TEST(psn_count(4096, 4096) == 1U);
    BOOST_TEST(psn_count(4097, 4096) == 2U);
    BOOST_TEST(psn_count(1U << 30, 256) == 1U << 22);
    BOOST_TEST(psn_count(0xffffffff, 256) == 1U << 24);
}

BOOST_AUTO_TEST_CASE(every_syndrome_is_of_one_kind_or_reserved) {
    for (unsigned syndrome = 0; syndrome < 256; ++syndrome) {
        const auto value = static_cast<uint8_t>(syndrome);
        const int kinds = int{is_ack(value)} + int{is_rnr_nak(value)} + int{is_nak(value)};
        const bool reserved = (value >> 5) == 2 || (value & 0x80) != 0;
        BOOST_TEST(kinds == (reserved ? 0 : 1), "syndrome " << syndrome);
    }
    BOOST_TEST(is_ack(kAckNoCredits));
    BOOST_TEST(is_nak(static_cast<uint8_t>(Nak::psn_sequence_error)));
}

BOOST_AUTO_TEST_CASE(rnr_timer_codes) {
    BOOST_TEST(rnr_wait_us(0) == 655'360U);
    BOOST_TEST(rnr_wait_us(1) == 10U);
    BOOST_TEST(rnr_wait_us(12) == 640U);
    BOOST_TEST(rnr_wait_us(31) == 491'520U);
    BOOST_TEST(rnr_wait_us(kRnrNak | 12) == 640U);  // a whole syndrome will do
    for (uint8_t code = 2; code < 32; ++code)
        BOOST_TEST(rnr_wait_us(code) > rnr_wait_us(static_cast<uint8_t>(code - 1)));
}
