// SPDX-License-Identifier: BSD-3-Clause
// Everything in crc32.h against a CRC that goes bit by bit.
#define BOOST_TEST_MODULE crc32
#include "datapath/roce/crc32.h"

#include <algorithm>
#include <boost/test/unit_test.hpp>
#include <string_view>
#include <vector>

#include "tests/unit/logged_seed.h"

using namespace lagan::roce;

namespace {

uint32_t bitwise(uint32_t state, const uint8_t* data, size_t bytes) {
    for (size_t i = 0; i < bytes; ++i) {
        state ^= data[i];
        for (int bit = 0; bit < 8; ++bit)
            state = (state >> 1) ^ ((state & 1) != 0 ? 0xedb88320U : 0U);
    }
    return state;
}

uint32_t bitwise_zeros(uint32_t state, size_t bytes) {
    const std::vector<uint8_t> zeros(bytes);
    return bitwise(state, zeros.data(), bytes);
}

std::vector<uint8_t> random_bytes(std::mt19937_64& random, size_t bytes) {
    std::vector<uint8_t> data(bytes);
    for (uint8_t& byte : data)
        byte = static_cast<uint8_t>(random());
    return data;
}

}  // namespace

BOOST_AUTO_TEST_CASE(is_the_crc_that_zlib_and_ethernet_use) {
    const std::string_view text = "123456789";
    BOOST_TEST(~crc32_raw(~0U, text.data(), text.size()) == 0xcbf43926U);
}

BOOST_AUTO_TEST_CASE(raw_crc_of_every_short_length_and_some_long_ones) {
    auto random = lagan::test::seeded_random();
    const auto data = random_bytes(random, 70'000);
    for (size_t bytes = 0; bytes < 1100; ++bytes) {
        const auto state = static_cast<uint32_t>(random());
        BOOST_REQUIRE_EQUAL(crc32_raw(state, data.data() + bytes % 17, bytes),
                            bitwise(state, data.data() + bytes % 17, bytes));
    }
    for (const size_t bytes : {4096U, 4097U, 65'536U})
        BOOST_TEST(crc32_raw(7, data.data(), bytes) == bitwise(7, data.data(), bytes));
    BOOST_TEST(crc32_raw(0, std::vector<uint8_t>(4096).data(), 4096) == 0U);
}

BOOST_AUTO_TEST_CASE(shift_is_a_run_of_zeros) {
    auto random = lagan::test::seeded_random();
    for (size_t bytes = 0; bytes <= 4200; ++bytes) {
        const auto state = static_cast<uint32_t>(random());
        BOOST_REQUIRE_EQUAL(crc32_shift(state, bytes), bitwise_zeros(state, bytes));
        BOOST_REQUIRE_EQUAL(crc32_shift(0, bytes), 0U);
    }
    for (const size_t bytes : {8191UL, 8192UL, 65'535UL, 1'000'003UL})
        BOOST_TEST(crc32_shift(0xdeadbeef, bytes) == bitwise_zeros(0xdeadbeef, bytes));
}

BOOST_AUTO_TEST_CASE(shifts_add_up_beyond_what_can_be_computed_bit_by_bit) {
    auto random = lagan::test::seeded_random();
    for (int round = 0; round < 1000; ++round) {
        const size_t first = random() >> 20, second = random() >> 30;
        const auto state = static_cast<uint32_t>(random());
        BOOST_REQUIRE_EQUAL(crc32_shift(crc32_shift(state, first), second),
                            crc32_shift(state, first + second));
    }
}

BOOST_AUTO_TEST_CASE(a_stored_crc_stands_in_for_its_bytes) {
    auto random = lagan::test::seeded_random();
    for (int round = 0; round < 500; ++round) {
        const auto head = random_bytes(random, random() % 100), tail = random_bytes(random, random() % 5000);
        auto both = head;
        both.insert(both.end(), tail.begin(), tail.end());
        const auto state = static_cast<uint32_t>(random());
        const uint32_t combined = crc32_shift(crc32_raw(state, head.data(), head.size()), tail.size()) ^
                                  crc32_raw(0, tail.data(), tail.size());
        BOOST_REQUIRE_EQUAL(combined, bitwise(state, both.data(), both.size()));
    }
}

BOOST_AUTO_TEST_CASE(products_may_be_added_before_they_are_reduced) {
    auto random = lagan::test::seeded_random();
    const auto page = random_bytes(random, 4 * kCrcBlockBytes);
    Crc32Product sum = 0;
    for (size_t block = 0; block < 4; ++block)
        sum ^= crc32_product(crc32_raw(0, page.data() + block * kCrcBlockBytes, kCrcBlockBytes),
                             crc32_shift_multiplier((3 - block) * kCrcBlockBytes));
    BOOST_TEST(crc32_reduce(sum) == bitwise(0, page.data(), page.size()));
}

BOOST_AUTO_TEST_CASE(eight_bytes_at_any_address) {
    auto random = lagan::test::seeded_random();
    const auto data = random_bytes(random, 1000);
    for (size_t offset = 0; offset + 8 <= data.size(); ++offset) {
        const auto state = static_cast<uint32_t>(random());
        BOOST_REQUIRE_EQUAL(crc32_raw_8(state, &data[offset]), bitwise(state, &data[offset], 8));
    }
}

// What runs on a CPU without PCLMULQDQ.
BOOST_AUTO_TEST_CASE(the_portable_product_and_reduction_agree) {
    auto random = lagan::test::seeded_random();
    for (int round = 0; round < 1000; ++round) {
        const auto a = static_cast<uint32_t>(random()), b = static_cast<uint32_t>(random());
        const Crc32Product product = crc32_product(a, b);
        BOOST_REQUIRE_EQUAL(detail::clmul_portable(a, b), product);
        BOOST_REQUIRE_EQUAL(crc32_raw(0, &product, sizeof product), crc32_reduce(product));
    }
}

BOOST_AUTO_TEST_CASE(every_fused_copy_copies_and_sums_and_writes_nothing_else) {
    auto random = lagan::test::seeded_random();
    struct alignas(64) Target {
        uint8_t before[64], block[kCrcBlockBytes], after[64];
    };
    std::vector<CopyCrc32> implementations = {{"chosen", true, copy_crc32_block, copy_crc32_block_nt}};
    for (const CopyCrc32& each : copy_crc32_implementations())
        implementations.push_back(each);
    for (const CopyCrc32& each : implementations) {
        BOOST_TEST_MESSAGE(each.name << (each.supported ? "" : ": not supported by this CPU"));
        if (!each.supported) continue;
        for (const auto copy : {each.copy, each.copy_nt}) {
            for (size_t offset = 0; offset < 130; ++offset) {
                // The block ends where the buffer does, so that ASan sees any byte read behind it.
                const auto source = random_bytes(random, offset + kCrcBlockBytes);
                Target target;
                std::memset(&target, 0x5a, sizeof target);
                const uint32_t crc = copy(target.block, &source[offset]);
                BOOST_REQUIRE_EQUAL(crc, bitwise(0, &source[offset], kCrcBlockBytes));
                BOOST_REQUIRE(std::equal(std::begin(target.block), std::end(target.block), &source[offset]));
                BOOST_REQUIRE(std::all_of(std::begin(target.before), std::end(target.before),
                                          [](uint8_t b) { return b == 0x5a; }));
                BOOST_REQUIRE(std::all_of(std::begin(target.after), std::end(target.after),
                                          [](uint8_t b) { return b == 0x5a; }));
            }
        }
    }
}

BOOST_AUTO_TEST_CASE(the_best_supported_implementation_is_chosen) {
    const auto all = copy_crc32_implementations();
    const auto best =
        std::find_if(all.begin(), all.end(), [](const CopyCrc32& each) { return each.supported; });
    BOOST_REQUIRE(best != all.end());
    BOOST_TEST(std::string_view(crc32_implementation()) == best->name);
}
