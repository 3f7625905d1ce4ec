# SPDX-License-Identifier: BSD-3-Clause
"""A RoCEv2 peer made with Scapy on a network interface: connects by RDMA CM, sends what it is told to, and looks at what
comes back. Scapy computes every ICRC; nothing of Lagan's code is used."""
import ipaddress
import select
import socket
import struct
import time
from typing import NamedTuple

from scapy.contrib.roce import BTH
from scapy.layers.inet import IP, UDP
from scapy.layers.l2 import Ether
from scapy.packet import Raw

kReq, kRej, kRep, kRtu, kDreq, kDrep = 0x10, 0x12, 0x13, 0x14, 0x15, 0x16
kAck, kReadRequest, kSendOnly, kWriteFirst, kWriteMiddle, kWriteLast, kWriteOnly = 0x11, 0x0c, 0x04, 0x06, 0x07, 0x08, 0x0a
kFirstPsn = 0x700000  # of what the server sends as a requester
kServiceIdPrefix = 0x0000000001060000
kSoRcvbufForce = 33  # SO_RCVBUFFORCE: beyond the machine's limit


def reth(va, rkey, length):
    return struct.pack(">QII", va & (1 << 64) - 1, rkey, length)


class Rejected(Exception):
    def __init__(self, reason, private_data):
        super().__init__(f"REJ, reason {reason}")
        self.reason, self.private_data = reason, private_data


class Packet:
    """One that came in for us."""

    def __init__(self, ether):
        bth = ether[BTH]
        self.opcode, self.psn, self.qpn, pad = bth.opcode, bth.psn, bth.dqpn, bth.padcount
        body = bytes(bth.payload)
        again = ether.copy()
        again[BTH].icrc = None  # Scapy's own, then
        self.icrc_ok = bytes(again) == bytes(ether)
        self.syndrome = self.msn = None
        if self.opcode in (0x0d, 0x0f, 0x10, 0x11, 0x12):
            self.syndrome, self.msn = body[0], int.from_bytes(body[1:4], "big")
            body = body[4:]
        self.payload = body[:len(body) - pad] if pad else body


class Wire:
    """Raw frames on one interface, towards one server."""

    def __init__(self, interface, mac, server_mac, ip, server_ip):
        self.interface = interface
        self.mac, self.server_mac, self.ip, self.server_ip = mac, server_mac, ip, server_ip
        self.socket = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3))
        self.socket.setsockopt(socket.SOL_SOCKET, kSoRcvbufForce, 32 << 20)  # whatever comes while nobody looks
        self.socket.bind((interface, 0))

    def of(self, ip):
        """Another host on the same interface."""
        return Wire(self.interface, self.mac, self.server_mac, ip, self.server_ip)

    def ip_packet(self, **fields):
        return Ether(src=self.mac, dst=self.server_mac) / IP(src=self.ip, dst=self.server_ip, flags="DF", **fields)

    def roce(self, opcode, qpn, psn, body=b"", ackreq=1, padcount=None, sport=0xc123, **bth):
        pad = -len(body) % 4 if padcount is None else padcount
        if padcount is None:
            body += bytes(pad)
        return self.ip_packet() / UDP(sport=sport, dport=4791, chksum=0) / BTH(
            opcode=opcode, migreq=1, padcount=pad, dqpn=qpn, ackreq=ackreq, psn=psn & 0xffffff, **bth) / Raw(body)

    def send(self, frame):
        self.socket.send(bytes(frame))

    def drain(self):
        """Forgets what has come in so far."""
        while self.receive(0.2) is not None:
            pass

    def receive(self, timeout_s):
        """The next RoCEv2 packet from the server, None when the time is over."""
        end = time.monotonic() + timeout_s
        while (left := end - time.monotonic()) > 0:
            if not select.select([self.socket], [], [], left)[0]:
                return None
            data, address = self.socket.recvfrom(65536)
            if address[2] == socket.PACKET_OUTGOING or data[30:34] != socket.inet_aton(self.ip):
                continue  # before Scapy looks at it, which takes long
            ether = Ether(data)
            if BTH in ether and IP in ether and ether[IP].dst == self.ip:
                return Packet(ether)
        return None


def gid(address):
    return bytes(10) + b"\xff\xff" + ipaddress.ip_address(address).packed


def cm_frame(wire, transaction, attribute, body):
    mad = struct.pack(">BBBBHHQHHI", 1, 7, 2, 3, 0, 0, transaction, attribute, 0, 0) + body
    deth = struct.pack(">II", 0x80010000, 1)
    return wire.roce(0x64, 1, 0, deth + mad.ljust(256, b"\0"), ackreq=0)


class Request(NamedTuple):
    """What a REQ says. `grant` is what the node API gives: hexadecimal."""
    grant: str
    port: int
    qpn: int
    local_id: int
    mtu_code: int = 3  # 256 << code - 1
    depth: int = 16  # of READs and atomics, both ways
    cm_timeout: int = 20  # the wait for our RTU: 4.096 us × 2^n
    cm_retries: int = 15  # and how often it is asked for again

    def body(self, wire):
        body = bytearray(232)
        struct.pack_into(">IIQ", body, 0, self.local_id, 0, kServiceIdPrefix | self.port)
        struct.pack_into(">Q", body, 16, 0x0200000000000000 | self.qpn)
        body[32:35] = self.qpn.to_bytes(3, "big")
        body[35] = body[39] = self.depth  # responder resources, initiator depth
        body[43] = 20 << 3
        body[44:47] = kFirstPsn.to_bytes(3, "big")  # what the other side begins to send with
        body[47] = self.cm_timeout << 3 | 7
        struct.pack_into(">HBB", body, 48, 0xffff, self.mtu_code << 4 | 7, self.cm_retries << 4)  # P_Key, RNR retry 7
        body[52:56] = b"\xff" * 4
        body[56:72], body[72:88] = gid(wire.ip), gid(wire.server_ip)
        body[93], body[95] = 64, 14 << 3
        header = bytes([0, 4 << 4]) + struct.pack(">H", 40000)
        header += bytes(12) + ipaddress.ip_address(wire.ip).packed + bytes(12) + ipaddress.ip_address(wire.server_ip).packed
        private_data = header + bytes.fromhex(self.grant)
        body[140:140 + len(private_data)] = private_data
        return bytes(body)

    def frame(self, wire):
        return cm_frame(wire, self.local_id, kReq, self.body(wire))


class Connection:
    """Our half of a queue pair. `confirm`: with an RTU. `fields`: of the Request."""

    next_qpn = 0x300000

    def __init__(self, wire, grant, port=4790, timeout_s=20, confirm=True, **fields):
        Connection.next_qpn += 1
        self.wire, self.timeout_s = wire, timeout_s
        self.qpn = fields.pop("qpn", Connection.next_qpn)
        self.local_id = self.transaction = Connection.next_qpn
        self.asked = Request(grant, port, self.qpn, self.local_id, **fields)
        body = self._ask(kReq, self.asked.body(wire), (kRep, kRej))
        self.server_id = body[0:4]
        self.server_qpn = int.from_bytes(body[12:15], "big")
        self.psn = int.from_bytes(body[20:23], "big")  # what we begin with is for it to say
        welcome = body[36:84]
        (self.version, self.region_id, self.page_bytes, self.rkey, self.dirty_rkey, _, self.size, self.epoch,
         _) = struct.unpack(">B3xIIIIIQQQ", welcome)
        if confirm:
            self.confirm()

    def confirm(self):
        self.send_mad(kRtu, self._ids())

    def _ids(self):
        return struct.pack(">I", self.local_id) + self.server_id

    def send_mad(self, attribute, body, wire=None):
        self.wire.send(cm_frame(wire or self.wire, self.transaction, attribute, body))

    def receive_mad(self, wanted, timeout_s):
        """The next CM message for this connection of one of these kinds: kind and what follows the MAD's header."""
        end = time.monotonic() + timeout_s
        while (left := end - time.monotonic()) > 0 and (packet := self.wire.receive(left)) is not None:
            mad = packet.payload[8:] if packet.opcode == 0x64 else b""
            kind = int.from_bytes(mad[16:18], "big")
            if len(mad) >= 256 and kind in wanted and mad[28:32] == struct.pack(">I", self.local_id):
                return kind, mad[24:]
        return None

    def _ask(self, attribute, body, wanted):
        """Sends the message, again after a while, until an answer to it has come."""
        end = time.monotonic() + self.timeout_s
        while time.monotonic() < end:
            self.send_mad(attribute, body)
            answer = self.receive_mad(wanted, 1)
            if answer is None:
                continue
            if answer[0] == kRej:
                raise Rejected(int.from_bytes(answer[1][10:12], "big"), answer[1][84:232])
            return answer[1]
        raise TimeoutError("no answer to a CM message")

    def frame(self, opcode, body=b"", psn=None, **fields):
        """A request at the next PSN, or at the one given."""
        if psn is None:
            psn = self.psn
            self.psn = self.psn + 1 & 0xffffff
        return self.wire.roce(opcode, self.server_qpn, psn, body, **fields)

    def receive(self, timeout_s=None):
        """The next packet for this queue pair."""
        end = time.monotonic() + (self.timeout_s if timeout_s is None else timeout_s)
        while (left := end - time.monotonic()) > 0:
            packet = self.wire.receive(left)
            if packet is not None and packet.qpn == self.qpn:
                return packet
        return None

    def exchange(self, frame):
        self.wire.send(frame)
        return self.receive()

    def write(self, va, data):
        return self.exchange(self.frame(kWriteOnly, reth(va, self.rkey, len(data)) + data))

    def read(self, va, length):
        answer = self.exchange(self.frame(kReadRequest, reth(va, self.rkey, length)))
        return answer.payload if answer is not None else None

    def dreq(self):
        return self._ids() + self.server_qpn.to_bytes(3, "big") + bytes(1)

    def close(self):
        self._ask(kDreq, self.dreq(), (kDrep,))
