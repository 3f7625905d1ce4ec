// SPDX-License-Identifier: BSD-3-Clause
// What DPDK is told: device arguments per kind of port, EAL's arguments, and pool sizes that fit the memory.
#define BOOST_TEST_MODULE devices
#include "appliance/devices.h"

#include <algorithm>
#include <boost/test/unit_test.hpp>
#include <string>

#include "appliance/eal.h"
#include "appliance/sizing.h"

using namespace lagan::appliance;

namespace {

PortOptions port(PortKind kind, uint32_t mtu = 4200) {
    PortOptions options;
    options.kind = kind;
    options.path = "/run/p.sock";
    options.interface = "eth1";
    options.pci = "03:00.0";
    options.mtu_bytes = mtu;
    return options;
}

LcorePlan two_pollers() {
    return {.control = {.number = 0, .core = 0, .numa_node = 0},
            .pollers = {{1, {.number = 2, .core = 2, .numa_node = 0}},
                        {2, {.number = 5, .core = 5, .numa_node = 0}}}};
}

bool has(const std::vector<std::string>& arguments, const std::string& wanted) {
    return std::find(arguments.begin(), arguments.end(), wanted) != arguments.end();
}

bool adjacent(const std::vector<std::string>& arguments, const std::string& first,
              const std::string& second) {
    const auto at = std::find(arguments.begin(), arguments.end(), first);
    return at != arguments.end() && at + 1 != arguments.end() && *(at + 1) == second;
}

}  // namespace

BOOST_AUTO_TEST_CASE(each_kind_of_port_in_dpdk_words) {
    DeviceArguments device = device_arguments(port(PortKind::vhost), 0, 2);
    BOOST_TEST(device.option == "--vdev");
    BOOST_TEST(device.value == "net_vhost0,iface=/run/p.sock,queues=2,client=0");
    BOOST_TEST(device.name == "net_vhost0");

    BOOST_TEST(device_arguments(port(PortKind::memif), 1, 1).value ==
               "net_memif1,role=server,socket=/run/p.sock,socket-abstract=no,bsize=4224");
    BOOST_TEST(device_arguments(port(PortKind::tap, 1500), 2, 1).value == "net_tap2,iface=eth1");
    BOOST_TEST(device_arguments(port(PortKind::virtio_user), 3, 1).value ==
               "net_virtio_user3,path=/run/p.sock,queues=1");
    BOOST_TEST(device_arguments(port(PortKind::af_packet), 4, 1).value ==
               "net_af_packet4,iface=eth1,qpairs=1,framesz=4352,blocksz=69632,framecnt=512");

    device = device_arguments(port(PortKind::pci), 5, 1);
    BOOST_TEST(device.option == "-a");
    BOOST_TEST(device.value == "0000:03:00.0");
    PortOptions with_arguments = port(PortKind::pci);
    with_arguments.pci = "0001:03:00.0";
    with_arguments.devargs = "dv_flow_en=1";
    device = device_arguments(with_arguments, 5, 1);
    BOOST_TEST(device.value == "0001:03:00.0,dv_flow_en=1");
    BOOST_TEST(device.name == "0001:03:00.0");

    PortOptions other = port(PortKind::vdev);
    other.devargs = "net_null7,size=64";
    device = device_arguments(other, 6, 1);
    BOOST_TEST(device.value == "net_null7,size=64");
    BOOST_TEST(device.name == "net_null7");
}

BOOST_AUTO_TEST_CASE(receive_buffers_fit_the_largest_port) {
    BOOST_TEST(rx_room_bytes({port(PortKind::tap, 1500)}) == 2048u);
    BOOST_TEST(rx_room_bytes({port(PortKind::tap, 1500), port(PortKind::vhost, 4200)}) >= 4218u);
    BOOST_TEST(rx_room_bytes({port(PortKind::vhost, 9600)}) >= 9618u);
    // The driver refuses less than a slot of its ring but 32 bytes.
    BOOST_TEST(rx_room_bytes({port(PortKind::af_packet, 4200)}) >= 4352u - 32u);
    BOOST_TEST(rx_room_bytes({port(PortKind::af_packet, 9000)}) >= 9070u);
}

BOOST_AUTO_TEST_CASE(af_packet_blocks_are_whole_pages_for_every_mtu) {
    for (uint32_t mtu = 576; mtu <= 9600; ++mtu) {
        const std::string value = device_arguments(port(PortKind::af_packet, mtu), 0, 1).value;
        const auto number = [&value](const std::string& key) {
            return std::stoul(value.substr(value.find(key) + key.size()));
        };
        const unsigned long frame = number("framesz=");
        const unsigned long block = number("blocksz=");
        BOOST_REQUIRE(frame >= mtu + 18 + 52);
        BOOST_REQUIRE(block % 4096 == 0 && block % frame == 0 && number("framecnt=") % (block / frame) == 0);
    }
}

BOOST_AUTO_TEST_CASE(eal_arguments_follow_plan_and_memory) {
    const LcorePlan plan = two_pollers();
    EalRequest request{.lcores = plan,
                       .devices = {device_arguments(port(PortKind::vhost), 0, 1)},
                       .memory_bytes = (100ULL << 20) + 1,
                       .file_prefix = "lagan-7"};
    auto arguments = eal_arguments(request);
    BOOST_TEST(has(arguments, "--lcores=0@0,1@2,2@5"));
    BOOST_TEST(has(arguments, "--main-lcore=0"));
    BOOST_TEST(has(arguments, "--file-prefix=lagan-7"));
    BOOST_TEST(adjacent(arguments, "-m", "101"));
    BOOST_TEST(adjacent(arguments, "--vdev", "net_vhost0,iface=/run/p.sock,queues=1,client=0"));
    BOOST_TEST(has(arguments, "--no-huge"));
    BOOST_TEST(has(arguments, "--no-shconf"));
    BOOST_TEST(!has(arguments, "--in-memory"));  // 22.11 refuses it without huge pages
    BOOST_TEST(has(arguments, "--no-pci"));

    request.huge_pages = true;
    request.devices.push_back(device_arguments(port(PortKind::pci), 1, 1));
    arguments = eal_arguments(request);
    BOOST_TEST(has(arguments, "--in-memory"));
    BOOST_TEST(!has(arguments, "--no-huge"));
    BOOST_TEST(!has(arguments, "--no-pci"));
    BOOST_TEST(adjacent(arguments, "-a", "0000:03:00.0"));
}

BOOST_AUTO_TEST_CASE(huge_pages_on_off_and_auto) {
    constexpr HugePageRoom kReady{.ready_bytes = 1000, .possible_bytes = 1000};
    constexpr HugePageRoom kPossible{.ready_bytes = 0, .possible_bytes = 1000};
    BOOST_TEST(!use_huge_pages(HugePages::off, 100, kReady));
    BOOST_TEST(use_huge_pages(HugePages::automatic, 100, kReady));
    BOOST_TEST(!use_huge_pages(HugePages::automatic, 100, kPossible));
    BOOST_TEST(use_huge_pages(HugePages::on, 100, kPossible));
    BOOST_CHECK_THROW(use_huge_pages(HugePages::on, 2000, kPossible), std::runtime_error);
}

// Whatever the memory, most of it is for regions, and a queue pair's packets find mbufs.
BOOST_AUTO_TEST_CASE(pools_fit_the_memory) {
    Options options;
    options.ports.push_back(port(PortKind::vhost));
    for (uint64_t bytes = 32ULL << 20; bytes <= 1ULL << 42; bytes *= 2) {
        const uint64_t frames = bytes / 4096;
        const lagan::EngineOptions engine = size_engine(options, frames, 1);
        BOOST_TEST(slack_frames(engine, 1) < frames / 2);
        BOOST_TEST(engine.header_mbufs >= 2047u);
        BOOST_TEST(engine.packet_room >= 4218u);
        BOOST_TEST(eal_memory_bytes(engine, 1) < 128ULL << 20);
    }
    // A frame's count has 16 bits: references by segments in flight must fit, however many engines there are.
    for (uint32_t engines = 1; engines <= 64; ++engines) {
        BOOST_TEST(uint64_t{size_engine(options, 1ULL << 30, engines).header_mbufs} * engines <= 65'533u);
    }
}
