// SPDX-License-Identifier: BSD-3-Clause
// BTH opcodes and one table that says which headers follow each and what kind of packet it is.
#pragma once

#include <array>
#include <cstdint>

namespace lagan::roce {

enum class Opcode : uint8_t {
    rc_send_first = 0x00,
    rc_send_middle = 0x01,
    rc_send_last = 0x02,
    rc_send_last_imm = 0x03,
    rc_send_only = 0x04,
    rc_send_only_imm = 0x05,
    rc_write_first = 0x06,
    rc_write_middle = 0x07,
    rc_write_last = 0x08,
    rc_write_last_imm = 0x09,
    rc_write_only = 0x0a,
    rc_write_only_imm = 0x0b,
    rc_read_request = 0x0c,
    rc_read_response_first = 0x0d,
    rc_read_response_middle = 0x0e,
    rc_read_response_last = 0x0f,
    rc_read_response_only = 0x10,
    rc_ack = 0x11,
    rc_atomic_ack = 0x12,
    rc_compare_swap = 0x13,
    rc_fetch_add = 0x14,
    rc_send_last_inv = 0x16,
    rc_send_only_inv = 0x17,
    ud_send_only = 0x64,
    ud_send_only_imm = 0x65,
    cnp = 0x81,
};

// What a packet is. Several may be set.
enum OpcodeFlag : uint16_t {
    kRequest = 1 << 0,   // goes to the responder
    kResponse = 1 << 1,  // goes to the requester
    kFirst = 1 << 2,     // starts a message (also set on ONLY)
    kLast = 1 << 3,      // ends a message (also set on ONLY); neither: MIDDLE
    kSend = 1 << 4,
    kWrite = 1 << 5,
    kRead = 1 << 6,     // READ request or READ response
    kAtomic = 1 << 7,   // atomic request or ATOMIC ACK
    kAck = 1 << 8,      // plain ACK or NAK
    kPayload = 1 << 9,  // may carry payload
    kDatagram = 1 << 10,
    kCnp = 1 << 11,
};

inline constexpr uint8_t kNoHeader = 0xff;

struct OpcodeInfo {
    const char* name;         // null: unknown opcode
    uint16_t flags;           // OpcodeFlag
    uint8_t extension_bytes;  // of all headers between the BTH and the payload
    // Offsets behind the BTH, kNoHeader where the opcode has none.
    uint8_t reth = kNoHeader;
    uint8_t aeth = kNoHeader;
    uint8_t atomic_eth = kNoHeader;
    uint8_t atomic_ack_eth = kNoHeader;
    uint8_t immdt = kNoHeader;
    uint8_t ieth = kNoHeader;
    uint8_t deth = kNoHeader;

    constexpr bool known() const { return name != nullptr; }
    constexpr bool has(uint16_t wanted) const { return (flags & wanted) == wanted; }
};

namespace detail {

constexpr std::array<OpcodeInfo, 256> make_opcode_table() {
    std::array<OpcodeInfo, 256> table{};
    auto row = [&table](Opcode opcode) -> OpcodeInfo& { return table[static_cast<uint8_t>(opcode)]; };
    constexpr uint16_t kReq = kRequest;
    constexpr uint16_t kOnly = kFirst | kLast;
    constexpr uint16_t kSendData = kReq | kSend | kPayload;
    constexpr uint16_t kWriteData = kReq | kWrite | kPayload;
    constexpr uint16_t kReadData = kResponse | kRead | kPayload;

    row(Opcode::rc_send_first) = {"SEND_FIRST", kSendData | kFirst, 0};
    row(Opcode::rc_send_middle) = {"SEND_MIDDLE", kSendData, 0};
    row(Opcode::rc_send_last) = {"SEND_LAST", kSendData | kLast, 0};
    row(Opcode::rc_send_last_imm) = {
        .name = "SEND_LAST_IMM", .flags = kSendData | kLast, .extension_bytes = 4, .immdt = 0};
    row(Opcode::rc_send_only) = {"SEND_ONLY", kSendData | kOnly, 0};
    row(Opcode::rc_send_only_imm) = {
        .name = "SEND_ONLY_IMM", .flags = kSendData | kOnly, .extension_bytes = 4, .immdt = 0};
    row(Opcode::rc_send_last_inv) = {
        .name = "SEND_LAST_INV", .flags = kSendData | kLast, .extension_bytes = 4, .ieth = 0};
    row(Opcode::rc_send_only_inv) = {
        .name = "SEND_ONLY_INV", .flags = kSendData | kOnly, .extension_bytes = 4, .ieth = 0};

    row(Opcode::rc_write_first) = {
        .name = "WRITE_FIRST", .flags = kWriteData | kFirst, .extension_bytes = 16, .reth = 0};
    row(Opcode::rc_write_middle) = {"WRITE_MIDDLE", kWriteData, 0};
    row(Opcode::rc_write_last) = {"WRITE_LAST", kWriteData | kLast, 0};
    row(Opcode::rc_write_last_imm) = {
        .name = "WRITE_LAST_IMM", .flags = kWriteData | kLast, .extension_bytes = 4, .immdt = 0};
    row(Opcode::rc_write_only) = {
        .name = "WRITE_ONLY", .flags = kWriteData | kOnly, .extension_bytes = 16, .reth = 0};
    row(Opcode::rc_write_only_imm) = {
        .name = "WRITE_ONLY_IMM", .flags = kWriteData | kOnly, .extension_bytes = 20, .reth = 0, .immdt = 16};

    row(Opcode::rc_read_request) = {
        .name = "READ_REQUEST", .flags = kReq | kRead | kOnly, .extension_bytes = 16, .reth = 0};
    row(Opcode::rc_read_response_first) = {
        .name = "READ_RESPONSE_FIRST", .flags = kReadData | kFirst, .extension_bytes = 4, .aeth = 0};
    row(Opcode::rc_read_response_middle) = {"READ_RESPONSE_MIDDLE", kReadData, 0};
    row(Opcode::rc_read_response_last) = {
        .name = "READ_RESPONSE_LAST", .flags = kReadData | kLast, .extension_bytes = 4, .aeth = 0};
    row(Opcode::rc_read_response_only) = {
        .name = "READ_RESPONSE_ONLY", .flags = kReadData | kOnly, .extension_bytes = 4, .aeth = 0};

    row(Opcode::rc_ack) = {.name = "ACK", .flags = kResponse | kAck | kOnly, .extension_bytes = 4, .aeth = 0};
    row(Opcode::rc_atomic_ack) = {.name = "ATOMIC_ACK",
                                  .flags = kResponse | kAtomic | kOnly,
                                  .extension_bytes = 12,
                                  .aeth = 0,
                                  .atomic_ack_eth = 4};
    row(Opcode::rc_compare_swap) = {
        .name = "COMPARE_SWAP", .flags = kReq | kAtomic | kOnly, .extension_bytes = 28, .atomic_eth = 0};
    row(Opcode::rc_fetch_add) = {
        .name = "FETCH_ADD", .flags = kReq | kAtomic | kOnly, .extension_bytes = 28, .atomic_eth = 0};

    row(Opcode::ud_send_only) = {.name = "UD_SEND_ONLY",
                                 .flags = kReq | kSend | kPayload | kOnly | kDatagram,
                                 .extension_bytes = 8,
                                 .deth = 0};
    row(Opcode::ud_send_only_imm) = {.name = "UD_SEND_ONLY_IMM",
                                     .flags = kReq | kSend | kPayload | kOnly | kDatagram,
                                     .extension_bytes = 12,
                                     .immdt = 8,
                                     .deth = 0};
    row(Opcode::cnp) = {.name = "CNP", .flags = kCnp | kPayload, .extension_bytes = 0};
    return table;
}

}  // namespace detail

// Indexed by the BTH opcode.
inline constexpr std::array<OpcodeInfo, 256> kOpcodes = detail::make_opcode_table();

}  // namespace lagan::roce
