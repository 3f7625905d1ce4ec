// SPDX-License-Identifier: BSD-3-Clause
// The appliance's answer to a connection request: regions that no client can use are refused.
#define BOOST_TEST_MODULE welcome
#include <boost/test/unit_test.hpp>
#include <cstring>
#include <stdexcept>

#include "client/welcome.h"
#include "datapath/capsule.h"

using namespace lagan;

static client::RegionInfo read(uint32_t page_bytes, uint64_t size_bytes) {
    capsule::Welcome welcome{};
    welcome.version = capsule::kVersion;
    welcome.region_id = 7;
    welcome.page_bytes = page_bytes;
    welcome.size_bytes = size_bytes;
    uint8_t bytes[sizeof welcome];
    std::memcpy(bytes, &welcome, sizeof welcome);
    return client::read_welcome(bytes);
}

BOOST_AUTO_TEST_CASE(a_region_that_can_be) {
    BOOST_TEST(read(4096, 4096).size_bytes == 4096);
    BOOST_TEST(read(4096, 1ULL << 44).size_bytes == 1ULL << 44);
    BOOST_TEST(read(4096, 8192).region_id == 7);
}

BOOST_AUTO_TEST_CASE(regions_that_cannot_be) {
    BOOST_CHECK_THROW(read(0, 8192), std::runtime_error);
    BOOST_CHECK_THROW(read(8192, 8192), std::runtime_error);
    BOOST_CHECK_THROW(read(4096, 0), std::runtime_error);
    BOOST_CHECK_THROW(read(4096, 4097), std::runtime_error);
    BOOST_CHECK_THROW(read(4096, (1ULL << 44) + 4096), std::runtime_error);
}
