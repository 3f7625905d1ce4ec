// SPDX-License-Identifier: BSD-3-Clause
// Addresses and prefixes: what is accepted, what is refused with the text in the message, and which prefix
// holds what.
#define BOOST_TEST_MODULE address
#include "datapath/net/address.h"

#include <boost/test/data/test_case.hpp>
#include <boost/test/unit_test.hpp>
#include <stdexcept>
#include <string>

#include "datapath/net/port_config.h"

using namespace lagan::net;
namespace data = boost::unit_test::data;

namespace {

// True when the exception quotes what was wrong.
auto quotes(const std::string& text) {
    return [text](const std::invalid_argument& error) {
        return std::string(error.what()).find('"' + text + '"') != std::string::npos;
    };
}

}  // namespace

BOOST_DATA_TEST_CASE(good_addresses_come_back_as_written,
                     data::make({"10.77.0.1", "0.0.0.0", "255.255.255.255", "fe80::1", "::", "::1",
                                 "2001:db8::a:b"})) {
    BOOST_TEST(IpAddress::parse(sample).to_string() == sample);
}

BOOST_AUTO_TEST_CASE(ipv4_is_mapped_into_ipv6) {
    const IpAddress plain = IpAddress::parse("10.9.0.1");
    BOOST_TEST(plain.is_ipv4());
    BOOST_TEST((plain == IpAddress::parse("::ffff:10.9.0.1")));
    BOOST_TEST(plain.bytes[10] == 0xff);
    BOOST_TEST(plain.ipv4()[0] == 10);
    BOOST_TEST(plain.ipv4()[3] == 1);
    const uint8_t four[] = {10, 9, 0, 1};
    BOOST_TEST((IpAddress::from_ipv4(four) == plain));
    BOOST_TEST((IpAddress::from_ipv6(plain.bytes.data()) == plain));
    // Not the mapped form: neither the unspecified address nor the old "compatible" one.
    BOOST_TEST(!IpAddress::parse("::").is_ipv4());
    BOOST_TEST(!IpAddress::parse("::10.9.0.1").is_ipv4());
}

BOOST_DATA_TEST_CASE(bad_addresses_are_quoted_in_the_error,
                     data::make({"", " ", "10.0.0", "10.0.0.256", "10.0.0.1 ", " 10.0.0.1", "010.0.0.1",
                                 "1.2.3.4.5", "fe80::1%eth0", "fe80:::1", "g::", "10.0.0.1/24",
                                 "localhost"})) {
    BOOST_CHECK_EXCEPTION(IpAddress::parse(sample), std::invalid_argument, quotes(sample));
}

BOOST_AUTO_TEST_CASE(a_nul_does_not_end_an_address) {
    const std::string text("10.0.0.1\0junk", 13);
    BOOST_CHECK_THROW(IpAddress::parse(text), std::invalid_argument);
}

BOOST_DATA_TEST_CASE(bad_prefixes_are_quoted_in_the_error,
                     data::make({"", "/", "10.0.0.1", "10.0.0.1/", "/24", "10.0.0.1/33", "10.0.0.1/-1",
                                 "10.0.0.1/+1", "10.0.0.1/256", "10.0.0.1/2x", "10.0.0.1/24/24",
                                 "10.0.0.1/ 24", "fe80::1/129", "10.0.0/24"})) {
    BOOST_CHECK_EXCEPTION(IpPrefix::parse(sample), std::invalid_argument, quotes(sample));
}

BOOST_AUTO_TEST_CASE(a_prefix_holds_its_addresses_and_no_others) {
    struct Case {
        const char* prefix;
        const char* address;
        bool inside;
    };
    constexpr Case kCases[] = {
        {"10.77.0.1/24", "10.77.0.254", true},
        {"10.77.0.1/24", "10.77.1.1", false},
        {"10.77.0.1/23", "10.77.1.1", true},
        {"10.77.0.1/23", "10.77.2.1", false},
        {"10.77.0.1/32", "10.77.0.1", true},
        {"10.77.0.1/32", "10.77.0.0", false},
        {"10.77.0.1/0", "255.255.255.255", true},
        {"10.77.0.1/0", "fd00::1", false},
        {"10.77.0.129/25", "10.77.0.128", true},
        {"10.77.0.129/25", "10.77.0.127", false},
        {"fd00::1/64", "fd00::ffff:1", true},
        {"fd00::1/64", "fd00:0:0:1::1", false},
        {"fd00::1/128", "fd00::1", true},
        {"fd00::1/127", "fd00::2", false},
        {"::/0", "fd00::1", true},
        {"::/0", "10.0.0.1", false},
    };
    for (const Case& c : kCases) {
        BOOST_TEST_CONTEXT(c.prefix << " and " << c.address) {
            BOOST_TEST(IpPrefix::parse(c.prefix).contains(IpAddress::parse(c.address)) == c.inside);
        }
    }
}

BOOST_AUTO_TEST_CASE(a_port_speaks_from_the_address_nearest_to_the_peer) {
    PortConfig port;
    port.addresses = {IpPrefix::parse("10.1.0.1/24"), IpPrefix::parse("10.2.0.1/24"),
                      IpPrefix::parse("fd00::1/64")};
    const auto source = [&](const char* remote) {
        const IpAddress* own = port.source_for(IpAddress::parse(remote));
        return own == nullptr ? std::string("none") : own->to_string();
    };
    BOOST_TEST(source("10.2.0.9") == "10.2.0.1");
    BOOST_TEST(source("192.168.0.1") == "10.1.0.1");
    BOOST_TEST(source("2001:db8::1") == "fd00::1");
    port.addresses.pop_back();
    BOOST_TEST(source("2001:db8::1") == "none");
    BOOST_TEST(port.has_address(IpAddress::parse("10.2.0.1")));
    BOOST_TEST(!port.has_address(IpAddress::parse("10.2.0.2")));
    BOOST_TEST(port.on_link(IpAddress::parse("10.2.0.2")));
}
