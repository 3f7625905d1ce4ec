#!/usr/bin/python3
# SPDX-License-Identifier: BSD-3-Clause
# lagan-test: hugepages=no builds=release,asan timeout=240 beside=yes
"""Scapy as an independent peer of a running lagand over a veth pair: what is right is served, every kind of malformed packet
is dropped or refused under its own name in the statistics, and lagand goes on serving."""
import pathlib
import struct
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "support"))
from harness import Suite
from roce_peer import (Connection, Rejected, kAck, kFirstPsn, kReadRequest, kSendOnly, kWriteFirst, kWriteLast, kWriteMiddle,
                       kWriteOnly, reth)
from scapy_node import Node, kRegionBytes
from scapy.layers.inet import IP, UDP, IPOption_NOP
from scapy.layers.inet6 import IPv6, IPv6ExtHdrFragment
from scapy.packet import Raw

suite = Suite(__file__)


def changed(frame, offset, value):
    raw = bytearray(bytes(frame))
    raw[offset] = value
    return bytes(raw)


def flipped(frame, offset):
    raw = bytearray(bytes(frame))
    raw[offset] ^= 0x10
    return bytes(raw)


@suite.case
def what_is_right_is_served(t):
    node = Node(t)
    connection = node.connect()
    t.equal((connection.size, connection.page_bytes), (kRegionBytes, 4096), "the REP's private data")
    for length in (1, 2, 3, 4, 5, 100, 1000, 1024):
        data = t.rng.randbytes(length)
        answer = connection.write(4000, data)
        t.true(answer.icrc_ok and answer.syndrome == 0x1f, f"ACK of {length} bytes")
        answer = connection.exchange(connection.frame(kReadRequest, reth(4000, connection.rkey, length)))
        t.true(answer.icrc_ok and answer.opcode == 0x10, f"READ response of {length} bytes")
        t.equal(answer.payload, data, f"{length} bytes read back")

    big = t.rng.randbytes(5000)
    va = 3 * 4096 + 17
    for i, at in enumerate(range(0, 5000, 1024)):
        opcode = kWriteFirst if i == 0 else kWriteMiddle if i < 4 else kWriteLast
        body = (reth(va, connection.rkey, 5000) if i == 0 else b"") + big[at:at + 1024]
        node.wire.send(connection.frame(opcode, body, ackreq=int(i == 4)))
    t.equal(connection.receive().syndrome, 0x1f, "ACK of a long WRITE")
    psn = connection.psn
    node.wire.send(connection.frame(kReadRequest, reth(va, connection.rkey, 5000)))
    connection.psn += 4
    answers = [connection.receive() for _ in range(5)]
    t.equal([answer.opcode for answer in answers], [0x0d, 0x0e, 0x0e, 0x0e, 0x0f], "opcodes of a long READ")
    t.equal([answer.psn for answer in answers], list(range(psn, psn + 5)), "their PSNs")
    t.true(all(answer.icrc_ok for answer in answers), "their ICRCs")
    t.equal(b"".join(answer.payload for answer in answers), big, "their bytes")

    connection.close()
    t.wait_until(lambda: node.queue_pairs() == 0, "the queue pair goes")
    t.equal(node.lagand.terminate(), 0, "exit status")


@suite.case
def a_connection_needs_its_grant(t):
    node = Node(t)
    good = node.grant()
    for what, grant in (("one bit flipped", good[:-1] + format(int(good[-1], 16) ^ 1, "x")), ("zeros", "0" * 112)):
        try:
            Connection(node.wire, grant, node.service_port, t.scaled(20))
            t.true(False, f"a grant with {what} was accepted")
        except Rejected as rejected:
            t.equal(rejected.reason, 28, f"reason of the REJ for a grant with {what}")
    node.serves(node.connect())


@suite.case
def malformed_packets_are_dropped_by_name(t):
    node = Node(t)
    connection = node.connect()
    node.serves(connection)
    psn = connection.psn  # of a WRITE that is never accepted

    def write(body=b"\1\2\3\4", **fields):
        return connection.frame(kWriteOnly, reth(0, connection.rkey, 4) + body, psn=psn, **fields)

    def with_ip(**fields):
        frame = write()
        for name, value in fields.items():
            setattr(frame[IP], name, value)
        return frame

    def with_udp(**fields):
        frame = write()
        for name, value in fields.items():
            setattr(frame[UDP], name, value)
        return frame

    good = bytes(write())
    over_ipv6 = node.wire.ip_packet()
    over_ipv6.remove_payload()
    ipv6 = over_ipv6 / IPv6(src="fd00::2", dst="fd00::1") / IPv6ExtHdrFragment(nh=17) / Raw(good[34:])
    cases = [
        ("truncated", "a frame that ends in the IP header", good[:30]),
        ("not_ip", "an EtherType that nobody serves", changed(changed(good, 12, 0x88), 13, 0xcc)),
        ("ip_header", "a wrong header checksum", flipped(good, 24)),
        ("ip_header", "IP version 5", changed(good, 14, 0x55)),
        ("ip_length", "an IP length beyond the frame", bytes(with_ip(len=2000))),
        ("ip_length", "an IP length below its header's", bytes(with_ip(len=19))),
        ("ip_options", "IP options", bytes(with_ip(options=[IPOption_NOP()] * 4))),
        # Not over IPv4: the kernel keeps fragments from af_packet ports until it has put them together.
        ("ip_fragment", "an IPv6 fragment", bytes(ipv6)),
        ("udp_length", "a UDP length beyond the datagram", bytes(with_udp(len=2000))),
        ("udp_length", "a UDP length of 0", bytes(with_udp(len=0))),
        ("not_rocev2", "another UDP port", bytes(with_udp(dport=4792))),
        ("not_rocev2", "TCP", bytes(with_ip(proto=6))),
        ("bth_version", "transport version 1", bytes(write(version=1))),
        ("bth_pkey", "another partition", bytes(write(pkey=0x1234))),
        ("bth_length", "a READ request with a payload",
         bytes(connection.frame(kReadRequest, reth(0, connection.rkey, 4) + bytes(4), psn=psn))),
        ("bth_length", "no room for the RETH", bytes(connection.frame(kWriteOnly, bytes(8), psn=psn))),
        ("bth_pad", "a pad where there is no payload",
         bytes(connection.frame(kReadRequest, reth(0, connection.rkey, 4), psn=psn, padcount=3))),
        ("bth_pad", "no whole words", bytes(connection.frame(kWriteOnly, reth(0, connection.rkey, 3) + b"abc", psn=psn, padcount=0))),
        ("icrc", "a wrong ICRC", flipped(good, len(good) - 1)),
        ("icrc", "a flipped payload bit", flipped(good, len(good) - 6)),
        ("icrc", "a flipped R_Key bit", flipped(good, 14 + 20 + 8 + 12 + 9)),
        ("unknown_qpn", "a queue pair that is not there", bytes(node.wire.roce(kWriteOnly, 0xfffff0, psn, reth(0, 0, 0)))),
        ("address_pair", "another source address", bytes(with_ip(src="10.79.0.3"))),
        ("address_pair", "another destination address", bytes(with_ip(dst="10.79.0.9"))),
        ("response_unexpected", "an ACK of what was never sent",
         bytes(connection.frame(kAck, struct.pack(">I", 0x1f000000), psn=kFirstPsn + 5))),
        ("response_duplicate", "an ACK of what came before",
         bytes(connection.frame(kAck, struct.pack(">I", 0x1f000000), psn=kFirstPsn - 1))),
    ]
    cases += [("bth_opcode", f"opcode {opcode:#x}", bytes(connection.frame(opcode, bytes(16), psn=psn)))
              for opcode in (0x15, 0x18, 0x1f, 0x20, 0x40, 0x80, 0xff)]
    for name, what, frame in cases:
        node.counts("drops", name, lambda frame=frame: node.wire.send(frame), what)
    t.equal(connection.receive(0.2), None, "answers to what was dropped")
    node.serves(connection)

    # Ahead of sequence: dropped and counted too, but told once.
    ahead = connection.frame(kWriteOnly, reth(0, connection.rkey, 4) + bytes(4), psn=connection.psn + 5)
    node.counts("drops", "psn_ahead", lambda: node.wire.send(ahead), "a packet from the future")
    nak = connection.receive()
    t.equal((nak.syndrome, nak.psn), (0x60, connection.psn), "the NAK names the PSN that is expected")
    node.counts("drops", "psn_ahead", lambda: node.wire.send(ahead), "another")
    t.equal(connection.receive(0.2), None, "answers to the second one")
    node.serves(connection)
    t.equal(node.lagand.terminate(), 0, "exit status")


# Nothing tells lagand that a peer behind a network has gone: it asks, and lets go when no answer comes.
@suite.case
def a_silent_peer_is_asked_for_a_sign_of_life(t):
    node = Node(t, "[rdma]\nkeepalive_seconds = 1")
    connection = node.connect()
    node.serves(connection)
    for i in range(2):
        probe = connection.receive()
        while probe is not None and probe.psn < kFirstPsn + i:  # one that we were slow to acknowledge comes twice
            probe = connection.receive()
        t.true(probe is not None and probe.icrc_ok, "a probe")
        t.equal((probe.opcode, probe.payload, probe.psn), (kWriteOnly, bytes(16), kFirstPsn + i), "a WRITE of no bytes")
        node.wire.send(connection.frame(kAck, struct.pack(">I", 0x1f000000), psn=probe.psn))
    node.wire.drain()
    node.serves(connection)
    t.equal(node.queue_pairs(), 1, "queue pairs")
    t.wait_until(lambda: node.queue_pairs() == 0, "the peer that says nothing any more is let go", timeout=60)
    t.true(node.total("counters")["probes"] >= 3, "probes counted")
    node.serves(node.connect())
    t.equal(node.lagand.terminate(), 0, "exit status")


@suite.case
def refused_requests_end_their_own_connection_only(t):
    node = Node(t)
    bystander = node.connect()

    def one(opcode, *parts, **fields):
        return lambda c: c.frame(opcode, b"".join(part(c) if callable(part) else part for part in parts), **fields)

    def range_of(va, length, rkey=None):
        return lambda c: reth(va, c.rkey if rkey is None else rkey, length)

    kilo = bytes(range(256)) * 4
    cases = [
        ("opcode_sequence", 0x61, "a MIDDLE without FIRST", one(kWriteMiddle, kilo), "write"),
        ("misaligned_atomic", 0x61, "an atomic at 4",
         one(0x14, lambda c: struct.pack(">QIQQ", 4, c.rkey, 1, 0)), "write"),
        ("unknown_rkey", 0x62, "an atomic on an unknown R_Key", one(0x14, bytes(28)), "write"),
        ("invalidate", 0x62, "a SEND with invalidate", one(0x17, bytes(4), kilo[:16]), "write"),
        ("packet_length", 0x61, "a short FIRST", one(kWriteFirst, range_of(0, 4096), kilo[:512]), "write"),
        ("message_length", 0x61, "a length that the RETH does not say", one(kWriteOnly, range_of(0, 8), kilo[:4]), "write"),
        ("message_length", 0x61, "4 GiB", one(kReadRequest, range_of(0, 0xffffffff)), "write"),
        ("unknown_rkey", 0x62, "an unknown R_Key", one(kReadRequest, range_of(0, 16, 0x31313131)), "write"),
        ("out_of_range", 0x62, "bytes across the end", one(kReadRequest, range_of(kRegionBytes - 8, 16)), "write"),
        ("out_of_range", 0x62, "an address that wraps", one(kWriteOnly, range_of(-8, 16), kilo[:16]), "write"),
        ("access_right", 0x62, "a WRITE by a reader", one(kWriteOnly, range_of(0, 16), kilo[:16]), "read"),
        ("access_right", 0x62, "a WRITE into the dirty list",
         one(kWriteOnly, lambda c: reth(0, c.dirty_rkey, 16), kilo[:16]), "write"),
    ]
    for name, syndrome, what, frame, role in cases:
        connection = node.connect(role)

        def send_and_see(connection=connection, frame=frame, syndrome=syndrome, what=what):
            answer = connection.exchange(frame(connection))
            t.true(answer is not None and answer.icrc_ok and answer.syndrome == syndrome, f"NAK {syndrome:#x} for {what}")
        node.counts("refusals", name, send_and_see, what)
        node.serves(bystander)
    t.equal(node.lagand.terminate(), 0, "exit status")


@suite.case
def malformed_capsules_get_a_status(t):
    node = Node(t)
    connection = node.connect()
    node.serves(connection)
    ok = struct.pack(">BBHIII", 1, 3, 0, 77, 0, 0)
    cases = [(b"", 3), (ok[:15], 3), (ok + b"\0" * 4, 3), (b"\2" + ok[1:], 1), (b"\1\x63" + ok[2:], 2),
             (struct.pack(">BBHIII", 1, 1, 0, 77, 0xffffffff, 0), 3),
             (struct.pack(">BBHIIIII", 1, 1, 0, 77, 1, 0, 0, 0xffffffff), 4),
             (struct.pack(">BBHIII", 1, 2, 0, 77, 0, 0) + b"\7" + bytes(15), 6), (ok, 0)]
    expected = kFirstPsn
    for capsule, status in cases:
        node.wire.send(connection.frame(kSendOnly, capsule))
        # Its ACK and the reply come in either order; a reply that we are slow to acknowledge comes twice.
        while (reply := connection.receive()) is not None and (reply.opcode, reply.psn) != (kSendOnly, expected):
            pass
        t.true(reply is not None and reply.icrc_ok, f"a reply to the capsule {capsule.hex()}")
        expected += 1
        t.equal(int.from_bytes(reply.payload[2:4], "big"), status, f"status of the capsule {capsule.hex()}")
        node.wire.send(connection.frame(kAck, struct.pack(">I", 0x1f000000), psn=reply.psn, ackreq=0))
    node.wire.drain()
    node.serves(connection)
    t.equal(node.lagand.terminate(), 0, "exit status")


if __name__ == "__main__":
    suite.main()
