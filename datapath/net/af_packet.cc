// SPDX-License-Identifier: BSD-3-Clause
#include "datapath/net/af_packet.h"

#include <fmt/format.h>
#include <net/if.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

namespace lagan::net {

static constexpr uint32_t kL2Bytes = 14 + 4;  // Ethernet header and one 802.1Q tag
// What the kernel puts before a frame in a ring (TPACKET2_HDRLEN).
static constexpr uint32_t kTpacketBytes = 32 + 20;
static constexpr uint32_t kRingFrames = 512;
static constexpr uint32_t kSlotUnit = 256;  // sixteen of such slots are whole pages, as a block must be

// By ioctl: /sys may show another network namespace's.
std::optional<KernelInterface> find_interface(const std::string& name) {
    ifreq request{};
    name.copy(request.ifr_name, sizeof request.ifr_name - 1);
    const int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    const bool exists = ioctl(fd, SIOCGIFMTU, &request) == 0;
    const int mtu = request.ifr_mtu;
    const bool is_up = exists && ioctl(fd, SIOCGIFFLAGS, &request) == 0 && (request.ifr_flags & IFF_UP) != 0;
    close(fd);
    if (!exists) return std::nullopt;
    return KernelInterface{.up = is_up, .mtu = static_cast<uint32_t>(mtu)};
}

uint32_t af_packet_slot_bytes(uint32_t mtu_bytes) {
    return (mtu_bytes + kL2Bytes + kTpacketBytes + kSlotUnit - 1) / kSlotUnit * kSlotUnit;
}

std::string af_packet_arguments(const std::string& interface, uint32_t queues, uint32_t mtu_bytes) {
    const uint32_t slot = af_packet_slot_bytes(mtu_bytes);
    return fmt::format("iface={},qpairs={},framesz={},blocksz={},framecnt={}", interface, queues, slot,
                       slot * 16, kRingFrames);
}

}  // namespace lagan::net
