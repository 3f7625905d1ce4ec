// SPDX-License-Identifier: BSD-3-Clause
#include "appliance/devices.h"

#include <fmt/format.h>

#include <algorithm>

#include "datapath/net/af_packet.h"

namespace lagan::appliance {

namespace {

constexpr uint32_t kL2Bytes = 14 + 4;  // Ethernet header and one 802.1Q tag
constexpr uint32_t kMinRoom = 2048;    // what drivers expect of any mbuf

constexpr uint32_t round_up(uint32_t value, uint32_t to) {
    return (value + to - 1) / to * to;
}

uint32_t frame_bytes(uint32_t mtu_bytes) {
    return round_up(mtu_bytes + kL2Bytes, 128);
}

// Driver and arguments of a virtual device, before port.devargs.
DeviceArguments virtual_device(const char* driver, size_t index, const std::string& arguments) {
    const std::string name = fmt::format("{}{}", driver, index);
    return {"--vdev", fmt::format("{},{}", name, arguments), name};
}

DeviceArguments make(const PortOptions& port, size_t index, uint32_t queues) {
    switch (port.kind) {
        case PortKind::vhost:
            return virtual_device("net_vhost", index,
                                  fmt::format("iface={},queues={},client=0", port.path.string(), queues));
        case PortKind::memif:
            // The driver sends frames larger than bsize corrupt.
            return virtual_device("net_memif", index,
                                  fmt::format("role=server,socket={},socket-abstract=no,bsize={}",
                                              port.path.string(), frame_bytes(port.mtu_bytes)));
        case PortKind::af_packet:
            return virtual_device("net_af_packet", index,
                                  net::af_packet_arguments(port.interface, queues, port.mtu_bytes));
        case PortKind::tap:
            return virtual_device("net_tap", index, fmt::format("iface={}", port.interface));
        case PortKind::virtio_user:
            return virtual_device("net_virtio_user", index,
                                  fmt::format("path={},queues={}", port.path.string(), queues));
        case PortKind::pci: {
            const std::string name = port.pci.size() == 7 ? "0000:" + port.pci : port.pci;
            return {"-a", name, name};
        }
        case PortKind::vdev:
            return {"--vdev", port.devargs, port.devargs.substr(0, port.devargs.find(','))};
    }
    return {};
}

}  // namespace

DeviceArguments device_arguments(const PortOptions& port, size_t index, uint32_t queues) {
    DeviceArguments device = make(port, index, queues);
    if (!port.devargs.empty() && port.kind != PortKind::vdev) device.value += "," + port.devargs;
    return device;
}

uint32_t rx_room_bytes(const std::vector<PortOptions>& ports) {
    uint32_t room = kMinRoom;
    for (const PortOptions& port : ports) {
        // The af_packet driver wants room for a whole slot of its ring.
        room = std::max(room, port.kind == PortKind::af_packet ? net::af_packet_slot_bytes(port.mtu_bytes)
                                                               : frame_bytes(port.mtu_bytes));
    }
    return room;
}

}  // namespace lagan::appliance
