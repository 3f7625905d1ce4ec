// SPDX-License-Identifier: BSD-3-Clause
// lagan doctor on a compute host: each obstacle there is found, with its remedy, and is not found when it is
// not there.
#define BOOST_TEST_MODULE doctor_host
#include <linux/capability.h>

#include "client/doctor/connection.h"
#include "client/doctor/doctor_command.h"
#include "client/doctor/host_checks.h"
#include "client/doctor/ping.h"
#include "client/doctor/reach.h"
#include "tests/unit/made_up_machine.h"

using namespace lagan::client::doctor;
using namespace lagan::test;
using lagan::net::IpAddress;

namespace {

Finding of_processor(const MadeUpMachine& machine, const std::string& flags) {
    machine.write("/proc/cpuinfo",
                  "processor\t: 0\nmodel name\t: some CPU\nflags\t\t: " + flags + "\nbugs\t\t:");
    Findings findings;
    check_processor(machine, findings);
    return only(findings);
}

Finding of_userfaultfd(const Machine& machine) {
    Findings findings;
    check_userfaultfd(machine, findings);
    return only(findings);
}

Finding of_memlock(const Machine& machine) {
    Findings findings;
    check_memlock(machine, findings);
    return only(findings);
}

}  // namespace

BOOST_AUTO_TEST_CASE(processors) {
    const MadeUpMachine machine;
    Findings findings;
    check_processor(machine, findings);
    expect(only(findings), Verdict::skipped, "/proc/cpuinfo");
    expect(of_processor(machine, "fpu ssse3 sse4_1 sse4_2 popcnt pclmulqdq"), Verdict::ok, " PCLMULQDQ");
    expect(of_processor(machine, "ssse3 sse4_1 sse4_2 popcnt pclmulqdq avx2 vpclmulqdq"), Verdict::ok,
           " VPCLMULQDQ");
    expect(of_processor(machine, "ssse3 sse4_1 sse4_2 popcnt"), Verdict::warning, "pclmulqdq", "-cpu host");
    expect(of_processor(machine, "fpu ssse3 pclmulqdq"), Verdict::problem, "sse4_1, sse4_2, popcnt",
           "-cpu host");
}

BOOST_AUTO_TEST_CASE(userfaultfd) {
    MadeUpMachine machine;
    expect(of_userfaultfd(machine), Verdict::ok, "is permitted");
    machine.userfault = Userfault::denied;
    expect(of_userfaultfd(machine), Verdict::problem, "may not", "sysctl -w vm.unprivileged_userfaultfd=1");
    BOOST_TEST(of_userfaultfd(machine).mend.find("/dev/userfaultfd") ==
               std::string::npos);  // not this kernel
    machine.write("/dev/userfaultfd", "");
    expect(of_userfaultfd(machine), Verdict::problem, "may not",
           "setfacl -m u:$(id -un):rw /dev/userfaultfd");
    machine.userfault = Userfault::user_mode_only;
    expect(of_userfaultfd(machine), Verdict::problem, "read()", "sysctl -w");
    machine.capabilities(0, 2);
    expect(of_userfaultfd(machine), Verdict::problem, "read()", "seccomp=unconfined");
    machine.userfault = Userfault::too_old;
    expect(of_userfaultfd(machine), Verdict::problem, "6.1.0-18-amd64", "5.19");
    machine.userfault = Userfault::missing;
    expect(of_userfaultfd(machine), Verdict::problem, "built without", "CONFIG_USERFAULTFD");
}

BOOST_AUTO_TEST_CASE(preloaded_libraries) {
    const MadeUpMachine machine;
    Findings nowhere, without_jemalloc, both;
    check_preload(machine, "", "it is not beside /usr/bin", nowhere);
    expect(only(nowhere), Verdict::problem, "not beside /usr/bin", "install");
    check_preload(machine, "/usr/lib/lagan/liblagan_preload.so", "", without_jemalloc);
    expect(only(without_jemalloc), Verdict::problem, "libjemalloc.so.2", "apt-get install libjemalloc2");
    machine.write("/usr/lib/x86_64-linux-gnu/libjemalloc.so.2", "");
    check_preload(machine, "/usr/lib/lagan/liblagan_preload.so", "", both);
    expect(only(both), Verdict::ok, "/usr/lib/lagan/liblagan_preload.so");
}

BOOST_AUTO_TEST_CASE(locked_memory) {
    MadeUpMachine machine;
    machine.memlock_bytes = 8 << 20;
    expect(of_memlock(machine), Verdict::skipped, "RDMA device");
    machine.write("/sys/class/infiniband/rxe0/ports/1/state", "4: ACTIVE");
    expect(of_memlock(machine), Verdict::problem, "8 MiB", "limits.d");
    machine.memlock_bytes = 1 << 30;
    expect(of_memlock(machine), Verdict::ok, "1 GiB");
    machine.memlock_bytes = UINT64_MAX;
    expect(of_memlock(machine), Verdict::ok, "no limit");
    machine.memlock_bytes = 4096;
    machine.capabilities(1ULL << CAP_IPC_LOCK);
    expect(of_memlock(machine), Verdict::ok, "CAP_IPC_LOCK");
}

BOOST_AUTO_TEST_CASE(addresses_with_and_without_ports) {
    const auto expect_target = [](const char* text, const char* address, uint16_t port) {
        const Target target = parse_target(text);
        BOOST_TEST(target.address.to_string() == address);
        BOOST_TEST(target.service_port == port);
    };
    expect_target("10.77.0.1", "10.77.0.1", 7471);
    expect_target("10.77.0.1:7472", "10.77.0.1", 7472);
    expect_target("fd00::1", "fd00::1", 7471);
    expect_target("[fd00::1]", "fd00::1", 7471);
    expect_target("[fd00::1]:65535", "fd00::1", 65535);
    for (const char* bad : {"", "appliance", "10.77.0.1:", "10.77.0.1:0", "10.77.0.1:65536", "10.77.0.1:7x",
                            "[fd00::1", "[fd00::1]7471", "[fd00::1]:", "10.77.0", "1::2::3"}) {
        BOOST_CHECK_THROW(parse_target(bad), std::invalid_argument);
    }
}

BOOST_AUTO_TEST_CASE(routes) {
    MadeUpMachine machine;
    machine.add_interface("eth0", 1500, true, "10.77.0.2");
    machine.add_interface("eth1", 4200, true, "10.78.0.2");
    const auto route = [&](const std::optional<IpAddress>& source) {
        Findings findings;
        check_route(machine, parse_target("10.77.0.1"), source, findings);
        return only(findings);
    };
    const IpAddress eth0 = IpAddress::parse("10.77.0.2");
    expect(route(std::nullopt), Verdict::problem, "no route to 10.77.0.1", "ip route get 10.77.0.1");
    expect(route(eth0), Verdict::ok, "by eth0");  // no device at all is another check's
    const std::string other = "/sys/class/infiniband/rxe1/";
    machine.write(other + "ports/1/state", "4: ACTIVE");
    machine.write(other + "parent", "eth1");
    expect(route(eth0), Verdict::problem, "by eth0, which has no RDMA device", "rdma link add rxe_eth0");
    expect(route(eth0), Verdict::problem, "", "ip route add 10.77.0.1 dev eth1");
    machine.write("/sys/class/infiniband/rxe0/ports/1/state", "4: ACTIVE");
    machine.write("/sys/class/infiniband/rxe0/parent", "eth0");
    expect(route(eth0), Verdict::ok, "which is rxe0");
}

BOOST_AUTO_TEST_CASE(pings) {
    const IpAddress address = IpAddress::parse("10.77.0.1");
    Findings answered, silent, forbidden;
    check_ping(address, Ping::answered, answered);
    expect(only(answered), Verdict::ok, "10.77.0.1");
    check_ping(address, Ping::silent, silent);
    expect(only(silent), Verdict::problem, "does not answer", "ip neighbor show 10.77.0.1");
    check_ping(address, Ping::not_permitted, forbidden);
    expect(only(forbidden), Verdict::skipped, "as root");
}

BOOST_AUTO_TEST_CASE(large_packets) {
    const IpAddress v4 = IpAddress::parse("10.77.0.1"), v6 = IpAddress::parse("fd00::1");
    BOOST_TEST(largest_packet_bytes(v4, 4096) == 4160U);
    BOOST_TEST(largest_packet_bytes(v6, 1024) == 1108U);
    Findings through, lost;
    check_path(v4, 4096, "eth0", Ping::answered, through);
    expect(only(through), Verdict::ok, "4160 bytes, for a path MTU of 4096");
    check_path(v4, 4096, "eth0", Ping::silent, lost);
    expect(only(lost), Verdict::problem, "lost on the way to 10.77.0.1", "ip link set dev eth0 mtu 1500");
}

BOOST_AUTO_TEST_CASE(connections) {
    const auto connection = [](const Attempt& attempt, const char* grant_file = "/tmp/sort.grant") {
        Findings findings;
        check_connection(parse_target("10.77.0.1"), attempt, grant_file, findings);
        return only(findings);
    };
    const auto rejected = [](unsigned reason, const char* text = "") {
        return Attempt{.outcome = Outcome::rejected, .reason = reason, .text = text};
    };
    expect(connection({.outcome = Outcome::established}), Verdict::ok, "takes it");
    expect(connection(rejected(28, "the grant has expired")), Verdict::problem, "the grant has expired",
           "> sort.grant");
    // Without a grant: whatever it says of one, it is there.
    expect(connection(rejected(28, "the grant's version is unknown here"), ""), Verdict::ok, "--grant FILE");
    expect(connection(rejected(8)), Verdict::problem, "nobody at port 7471", "rdma.service_port");
    expect(connection(rejected(26)), Verdict::problem, "path MTU", "port.mtu");
    expect(connection(rejected(3)), Verdict::problem, "no room", "rdma.max_qps");
    expect(connection(rejected(9)), Verdict::problem, "reason 9", "docs/protocol.md");
    expect(connection({.outcome = Outcome::no_device}), Verdict::problem, "no RDMA device",
           "ip route get 10.77.0.1");
    expect(connection({.outcome = Outcome::no_answer}), Verdict::problem, "4791", "nft list ruleset");
    expect(connection({.outcome = Outcome::failed, .text = "rdma_create_qp: no memory"}), Verdict::problem,
           "rdma_create_qp: no memory", "ulimit -l");
}

BOOST_AUTO_TEST_CASE(what_is_printed) {
    Findings findings;
    BOOST_TEST(to_text(findings) == "Nothing stands in the way.\n");
    findings.ok("a", "is good");
    findings.warning("b", "is slow", "make it fast");
    BOOST_TEST(to_text(findings) ==
               "ok       a: is good\nwarn     b: is slow\n             make it fast\n"
               "Nothing stands in the way; 1 warning.\n");
    findings.problem("c", "is broken", "mend it\nmend it more");
    findings.problem("d", "is broken too", "");
    findings.skipped("e", "cannot be seen");
    const std::string text = to_text(findings);
    BOOST_TEST(text.find("PROBLEM  c: is broken\n             mend it\n             mend it more\n") !=
               std::string::npos);
    BOOST_TEST(text.find("skip     e: cannot be seen\n2 problems stand in the way; 1 warning.\n") !=
               std::string::npos);
    const auto json = to_json(findings);
    BOOST_TEST(json.at("problems") == 2);
    BOOST_TEST(json.at("warnings") == 1);
    BOOST_TEST(json.at("checks").size() == 5U);
    BOOST_TEST(json.at("checks")[2].at("verdict") == "PROBLEM");
    BOOST_TEST(json.at("checks")[2].at("mend") == "mend it\nmend it more");
}

BOOST_AUTO_TEST_CASE(files_that_cannot_be_read) {
    const MadeUpMachine machine;
    machine.write("/sys/a", "  4: ACTIVE\n");
    machine.write("/sys/empty", "");
    BOOST_TEST(machine.text("/sys/a").value() == "4: ACTIVE");
    BOOST_TEST(machine.text("/sys/empty").value() == "");
    BOOST_TEST(!machine.text("/sys/none").has_value());
    BOOST_TEST(
        !machine.text("/sys").has_value());  // opens, and then cannot be read, as attributes of sysfs may
    BOOST_TEST(machine.number("/sys/a") == 4U);
    BOOST_TEST(machine.number("/sys/none") == 0U);
    BOOST_TEST(machine.list("/sys/none").empty());
    BOOST_TEST(machine.list("/sys") == (std::vector<std::string>{"a", "empty"}),
               boost::test_tools::per_element());
    BOOST_TEST(machine.link_name("/sys/a") == "");
}

// The real one: whatever it has, it can be looked at.
BOOST_AUTO_TEST_CASE(this_machine) {
    const Machine machine = Machine::this_one();
    BOOST_TEST(machine.interface("lo") != nullptr);
    BOOST_TEST(!machine.kernel().empty());
    BOOST_TEST(!examine(machine, {.appliance = "/nonexistent/lagand.sock"}).all().empty());
}
