// SPDX-License-Identifier: BSD-3-Clause
// The InfiniBand transport headers that RoCEv2 carries behind UDP port 4791 (IBA volume 1, chapter 9).
// All structs lie byte for byte as on the wire; fields are unaligned big-endian integers, so that a pointer
// into a packet may be cast to any of them.
#pragma once

#include <boost/endian/arithmetic.hpp>
#include <cstdint>

namespace lagan::roce {

using be16 = boost::endian::big_uint16_t;
using be24 = boost::endian::big_uint24_t;
using be32 = boost::endian::big_uint32_t;
using be64 = boost::endian::big_uint64_t;

inline constexpr uint16_t kUdpPort = 4791;
inline constexpr uint16_t kDefaultPkey = 0xffff;
inline constexpr uint32_t kIcrcBytes = 4;
inline constexpr uint32_t kQpnMask = 0xffffff;

// The general services queue pair, where the connection managers of both ends talk, and its Q_Key.
inline constexpr uint32_t kGsiQpn = 1;
inline constexpr uint32_t kGsiQkey = 0x80010000;

// Base transport header.
//   0        8        16               32
//   | opcode | flags  |     P_Key      |     flags: solicited event 1, migrated 1, pad count 2, version 4
//   | ecn    |        dest QPN         |     ecn: FECN 1, BECN 1, reserved 6
//   | ackreq |          PSN            |     ackreq: request 1, reserved 7
struct Bth {
    uint8_t opcode;
    uint8_t flags;
    be16 pkey;
    uint8_t ecn;
    be24 dest_qpn;
    uint8_t ack_request;
    be24 psn;

    bool solicited() const { return (flags & 0x80) != 0; }
    unsigned pad_bytes() const { return (flags >> 4) & 3U; }
    unsigned version() const { return flags & 0x0fU; }
    bool ack_requested() const { return (ack_request & 0x80) != 0; }
};
static_assert(sizeof(Bth) == 12);

// RDMA extended transport header: WRITE FIRST/ONLY and READ request.
struct Reth {
    be64 va;
    be32 rkey;
    be32 length;
};
static_assert(sizeof(Reth) == 16);

// ACK extended transport header. The syndrome's values are in aeth.h.
struct Aeth {
    uint8_t syndrome;
    be24 msn;
};
static_assert(sizeof(Aeth) == 4);

struct AtomicEth {
    be64 va;
    be32 rkey;
    be64 swap_or_add;
    be64 compare;
};
static_assert(sizeof(AtomicEth) == 28);

struct AtomicAckEth {
    be64 original;
};
static_assert(sizeof(AtomicAckEth) == 8);

struct ImmDt {
    be32 data;
};
static_assert(sizeof(ImmDt) == 4);

struct Ieth {
    be32 rkey;
};
static_assert(sizeof(Ieth) == 4);

// Datagram extended transport header.
struct Deth {
    be32 qkey;
    uint8_t reserved;
    be24 src_qpn;
};
static_assert(sizeof(Deth) == 8);

}  // namespace lagan::roce
