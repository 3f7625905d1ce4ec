#!/usr/bin/python3
# SPDX-License-Identifier: BSD-3-Clause
"""Writes scapy-roce.pcap: a RoCEv2 packet of every opcode that Lagan knows, over IPv4 and IPv6, built and summed by Scapy.

Scapy computes the ICRC over IPv4 itself. It cannot over IPv6: that one is computed here, by the same rules with zlib, after
the same function has been seen to agree with Scapy over IPv4. The contents follow from the packet's number, which is its PSN;
tests/protocol/scapy_corpus_test.cc knows them.
"""
import pathlib
import struct
import zlib

from scapy.contrib.roce import BTH
from scapy.layers.inet import IP, UDP
from scapy.layers.inet6 import IPv6
from scapy.layers.l2 import Dot1Q, Ether
from scapy.packet import Raw
from scapy.utils import PcapWriter

kReth, kImmDt, kAeth, kAtomicEth, kAtomicAck, kIeth, kDeth = range(7)
# opcode → headers behind the BTH, and whether a payload may follow
kOpcodes = {
    0x00: ([], True), 0x01: ([], True), 0x02: ([], True), 0x03: ([kImmDt], True), 0x04: ([], True), 0x05: ([kImmDt], True),
    0x06: ([kReth], True), 0x07: ([], True), 0x08: ([], True), 0x09: ([kImmDt], True), 0x0a: ([kReth], True),
    0x0b: ([kReth, kImmDt], True), 0x0c: ([kReth], False), 0x0d: ([kAeth], True), 0x0e: ([], True), 0x0f: ([kAeth], True),
    0x10: ([kAeth], True), 0x11: ([kAeth], False), 0x12: ([kAeth, kAtomicAck], False), 0x13: ([kAtomicEth], False),
    0x14: ([kAtomicEth], False), 0x16: ([kIeth], True), 0x17: ([kIeth], True), 0x64: ([kDeth], True),
}
kPayloads = (0, 1, 2, 3, 4, 255, 256, 1024, 1371)


def header(kind, number, payload_bytes):
    if kind == kReth:
        return struct.pack(">QII", 0x0123456789000000 + number, 0xabcd0000 + number, payload_bytes)
    if kind == kImmDt:
        return struct.pack(">I", 0x1dd00000 + number)
    if kind == kAeth:
        return struct.pack(">I", 0x1f000000 + number)
    if kind == kAtomicEth:
        return struct.pack(">QIQQ", 0x0123456789000000 + number, 0xabcd0000 + number, 0x5a5a000000000000 + number,
                           0xc0c0000000000000 + number)
    if kind == kAtomicAck:
        return struct.pack(">Q", 0x0ac0000000000000 + number)
    if kind == kIeth:
        return struct.pack(">I", 0x1e000000 + number)
    return struct.pack(">II", 0x80010000, 0x00100000 + number)


def icrc(ip_packet):
    """Of an IP packet whose last four bytes are to become it."""
    masked = bytearray(ip_packet[:-4])
    if masked[0] >> 4 == 4:
        masked[1] = masked[8] = masked[10] = masked[11] = 0xff  # ToS, TTL, header checksum
        udp = 20
    else:
        masked[0] |= 0x0f  # traffic class and flow label
        masked[1] = masked[2] = masked[3] = masked[7] = 0xff  # and hop limit
        udp = 40
    masked[udp + 6] = masked[udp + 7] = 0xff  # UDP checksum
    masked[udp + 8 + 4] = 0xff  # FECN, BECN, reserved
    return struct.pack("<I", zlib.crc32(b"\xff" * 8 + masked))


def packets():
    number = 0
    for version in (4, 6):
        for opcode, (headers, has_payload) in kOpcodes.items():
            for payload_bytes in kPayloads if has_payload else (0,):
                payload = bytes((number + i) & 0xff for i in range(payload_bytes))
                pad = -payload_bytes % 4
                body = b"".join(header(kind, number, payload_bytes) for kind in headers) + payload + bytes(pad)
                ether = Ether(src="02:00:00:00:00:02", dst="02:00:00:00:00:01")
                if number % 5 == 4:
                    ether /= Dot1Q(vlan=100 + number % 7)
                if version == 4:
                    ip = IP(src="10.0.0.2", dst="10.0.0.1", tos=number & 0xff, ttl=1 + number % 255, id=number, flags="DF")
                else:
                    ip = IPv6(src="fd00::2", dst="fd00::1", tc=number & 0xff, fl=number * 7, hlim=1 + number % 255)
                qpn = 1 if opcode == 0x64 else 0x200000 + number
                bth = BTH(opcode=opcode, solicited=number & 1, migreq=1, padcount=pad, dqpn=qpn,
                          fecn=number >> 1 & 1, becn=number >> 2 & 1, ackreq=number >> 3 & 1, psn=number)
                udp = UDP(sport=0xc000 + number, dport=4791, chksum=0)
                if version == 4:
                    frame = bytes(ether / ip / udp / bth / Raw(body))
                    at = len(ether)
                    assert frame[-4:] == icrc(frame[at:]), f"packet {number}: Scapy and this script disagree"
                else:
                    bth.icrc = 0
                    frame = bytes(ether / ip / udp / bth / Raw(body))
                    frame = frame[:-4] + icrc(frame[len(ether):])
                yield frame
                number += 1


def main():
    path = pathlib.Path(__file__).with_name("scapy-roce.pcap")
    with PcapWriter(str(path), linktype=1) as out:
        out.write_header(None)
        for frame in packets():
            out.write_packet(frame, sec=0, usec=0, caplen=len(frame), wirelen=len(frame))
    print(f"{path}: {path.stat().st_size} bytes")


if __name__ == "__main__":
    main()
