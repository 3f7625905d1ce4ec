// SPDX-License-Identifier: BSD-3-Clause
// The headers are 40 to 88 bytes long and a multiple of four. Each 16-byte piece is masked in a register and
// moved to the end by carry-less multiplication, all pieces independent of each other. (Masking single bytes
// of a copy and reading that in wide words would stall on store forwarding: three times as slow.)
#include "datapath/roce/icrc.h"

#include <array>

#include "datapath/roce/crc32_tables.h"

namespace lagan::roce {

namespace {

using detail::Vec;

constexpr uint32_t kMaxHeaderBytes = kMaxNetworkHeaderBytes + kMaxTransportHeaderBytes;
constexpr uint32_t kPieceBytes = 16;

// Or-ed over the headers.
struct alignas(16) Mask {
    std::array<uint8_t, kMaxHeaderBytes + kPieceBytes> bytes{};
};

constexpr void mask_transport(Mask& mask, uint32_t bth_offset) {
    mask.bytes[bth_offset - 2] = mask.bytes[bth_offset - 1] = 0xff;  // UDP checksum
    mask.bytes[bth_offset + 4] = 0xff;                               // FECN, BECN and reserved bits
}

// Routers may change ToS, TTL and with them the header checksum.
constexpr Mask make_ipv4_mask() {
    Mask mask;
    mask.bytes[1] = mask.bytes[8] = mask.bytes[10] = mask.bytes[11] = 0xff;
    mask_transport(mask, 28);
    return mask;
}

// Traffic class and flow label (all of the first word but the version), and hop limit.
constexpr Mask make_ipv6_mask() {
    Mask mask;
    mask.bytes[0] = 0x0f;
    mask.bytes[1] = mask.bytes[2] = mask.bytes[3] = mask.bytes[7] = 0xff;
    mask_transport(mask, 48);
    return mask;
}

// Indexed by is_ipv6.
constexpr Mask kMasks[2] = {make_ipv4_mask(), make_ipv6_mask()};

// Moves a piece on by 4 * index bytes.
constexpr auto kFolds = [] {
    std::array<detail::FoldConstants, (kMaxHeaderBytes - kPieceBytes) / 4 + 1> folds{};
    for (uint32_t index = 0; index < folds.size(); ++index)
        folds[index] = detail::fold_by(static_cast<int>(32 * index));
    return folds;
}();

// Sixteen bytes from offset n keep the last n of a piece.
constexpr uint8_t kKeep[2 * kPieceBytes] = {0,    0,    0,    0,    0,    0,    0,    0,    0,    0,    0,
                                            0,    0,    0,    0,    0,    0xff, 0xff, 0xff, 0xff, 0xff, 0xff,
                                            0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff};

template <typename T>
Vec load(const T* from) {
    Vec piece;
    std::memcpy(&piece, from, sizeof piece);
    return piece;
}

}  // namespace

uint32_t icrc_header_state_portable(const uint8_t* ip, bool is_ipv6, uint32_t transport_bytes) {
    const uint32_t bytes = (is_ipv6 ? 48 : 28) + transport_bytes;
    uint8_t masked[kMaxHeaderBytes];
    for (uint32_t i = 0; i < bytes; ++i)
        masked[i] = ip[i] | kMasks[is_ipv6].bytes[i];
    return crc32_raw(kIcrcInitialState, masked, bytes);
}

uint32_t icrc_header_state(const uint8_t* ip, bool is_ipv6, uint32_t transport_bytes) {
    if (!detail::kHavePclmul) [[unlikely]]
        return icrc_header_state_portable(ip, is_ipv6, transport_bytes);
    const uint8_t* mask = kMasks[is_ipv6].bytes.data();
    const uint32_t bytes = (is_ipv6 ? 48 : 28) + transport_bytes;

    Vec sum{};
    Vec first = detail::to_vec(kIcrcInitialState);
    uint32_t offset = 0;
    for (; offset + kPieceBytes < bytes; offset += kPieceBytes) {
        const Vec piece = (load(ip + offset) | load(mask + offset)) ^ first;
        const Vec constants = load(&kFolds[(bytes - offset - kPieceBytes) / 4]);
        sum ^= detail::clmul_low(piece, constants) ^ detail::clmul_high(piece, constants);
        first = Vec{};
    }
    // The last 4 to 16 bytes stay where they are. They are loaded together with what precedes them.
    const uint32_t last = bytes - kPieceBytes;
    sum ^= (load(ip + last) | load(mask + last)) & load(kKeep + (bytes - offset));
    return crc32_reduce(static_cast<uint64_t>(sum[1]) ^
                        detail::reduce(detail::to_vec(static_cast<uint64_t>(sum[0]))));
}

bool icrc_ok(const Packet& packet) {
    const uint32_t headers = icrc_header_state(packet.ip, packet.is_ipv6, packet.transport_header_bytes());
    const uint32_t bytes = packet.payload_bytes + packet.pad_bytes;
    const uint32_t state = bytes == 0 ? headers : crc32_raw(headers, packet.payload, bytes);
    return icrc_matches(packet.icrc(), state);
}

}  // namespace lagan::roce
