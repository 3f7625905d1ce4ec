#!/usr/bin/python3
# SPDX-License-Identifier: BSD-3-Clause
# lagan-test: hugepages=no builds=release,asan timeout=240 beside=yes
"""Clients that mean harm or have lost their mind, played by Scapy against a running lagand: what they do is contained, counted and
cleaned up within the times of docs/protocol.md, and a connection beside them sees nothing of it."""
import pathlib
import signal
import struct
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "support"))
from harness import Suite
from node_http import request
from roce_peer import (Connection, Rejected, Request, cm_frame, kAck, kDrep, kDreq, kFirstPsn, kReadRequest, kRej, kRep, kRtu,
                       kWriteFirst, kWriteMiddle, kWriteOnly, reth)
from scapy_node import Node

suite = Suite(__file__)
kOther = "10.79.0.3"
kBatch = 64  # REQs on their way at a time: af_packet's ring takes no more than some hundred


def flood(node, wires, count, **fields):
    """`count` REQs from each host, none of whose replies is looked at; how many there were."""
    grant = node.grant()
    frames = []
    for wire in wires:
        for _ in range(count):
            Connection.next_qpn += 1
            asked = Request(grant, node.service_port, Connection.next_qpn, Connection.next_qpn, **fields)
            frames.append((wire, bytes(asked.frame(wire))))
    before = node.cm("req_received")
    for at in range(0, len(frames), kBatch):
        for wire, frame in frames[at:at + kBatch]:
            wire.socket.send(frame)
        arrived = before + min(at + kBatch, len(frames))
        node.t.wait_until(lambda: node.cm("req_received") >= arrived, "the REQs of the flood are taken")
    return len(frames)


def is_cleaned_up(node, queue_pairs):
    node.t.wait_until(lambda: node.queue_pairs() == queue_pairs, "the queue pairs of unconfirmed connections go", timeout=30)
    node.t.equal(node.cm("rtu_timeout"), node.cm("accepted") - node.cm("established"), "accepted, never confirmed and given up")


@suite.case
def a_flood_of_requests_from_one_host(t):
    node = Node(t)
    victim = node.connect(wire=node.wire.of(kOther))
    sent = flood(node, [node.wire], 300, cm_timeout=20, cm_retries=1)  # 8.6 s each
    refused = node.cm("limit_half_open_source")
    t.true(0 < refused <= sent - 256, f"{refused} of {sent} REQs from one address refused")
    t.equal(node.cm("rej_sent_no_resources"), refused, "with reason 3")
    node.serves(victim)
    node.serves(node.connect(wire=node.wire.of(kOther)))  # not that one's fault
    is_cleaned_up(node, 2)
    node.wire.drain()
    node.serves(node.connect())  # from the flood's address as well
    node.serves(victim)
    t.equal(node.lagand.terminate(), 0, "exit status")


@suite.case
def a_flood_of_requests_from_many_hosts(t):
    node = Node(t, "[rdma]\nmax_qps = 2048")
    victim = node.connect()
    hosts = [node.wire.of(f"10.79.0.{i}") for i in range(10, 15)]
    sent = flood(node, hosts, 250, cm_timeout=20, cm_retries=2)  # 12.9 s each
    refused = node.cm("limit_half_open")
    t.true(0 < refused <= sent - 1024, f"{refused} of {sent} REQs refused")
    t.equal(node.cm("accepted") - 1 + node.cm("rej_sent_no_resources"), sent, "REQs accepted or refused with reason 3")
    node.serves(victim)
    is_cleaned_up(node, 1)
    node.serves(node.connect(wire=node.wire.of(kOther)))
    node.serves(victim)
    t.equal(node.lagand.terminate(), 0, "exit status")


@suite.case
def an_rtu_that_never_comes(t):
    node = Node(t)
    victim = node.connect(wire=node.wire.of(kOther))
    silent = node.connect(confirm=False, cm_timeout=14, cm_retries=2)  # 67 ms
    seen = []
    while not seen or seen[-1][0] == kRep:
        answer = silent.receive_mad((kRep, kRej), t.scaled(20))
        t.true(answer is not None, f"a REJ after the repeated REPs; seen: {[kind for kind, _ in seen]}")
        seen.append(answer)
    t.equal([kind for kind, _ in seen], [kRep, kRep, kRej], "after the first REP")
    t.equal(int.from_bytes(seen[-1][1][10:12], "big"), 4, "reason of the REJ (timeout)")
    is_cleaned_up(node, 1)
    silent.confirm()  # too late
    t.wait_until(lambda: node.cm("rtu_received") == 2, "the late RTU is taken")
    node.wire.send(silent.frame(kReadRequest, reth(0, silent.rkey, 4)))
    t.wait_until(lambda: node.total("drops")["unknown_qpn"] == 1, "its queue pair is gone")
    node.serves(victim)
    t.equal(node.lagand.terminate(), 0, "exit status")


@suite.case
def the_first_packet_is_as_good_as_an_rtu(t):
    node = Node(t)
    node.serves(connection := node.connect(confirm=False, cm_timeout=18, cm_retries=2))  # 3.2 s
    t.wait_until(lambda: node.cm("rtu_implied") == 1, "the connection is confirmed by its first packet")
    node.serves(connection)
    t.equal(node.cm("rtu_timeout"), 0, "connections given up")
    t.equal(node.lagand.terminate(), 0, "exit status")


@suite.case
def packets_on_the_queue_pair_of_another(t):
    node = Node(t)
    victim, thief = node.connect(wire=node.wire.of(kOther)), node.connect()
    node.serves(victim)
    before = victim.read(0, 16)

    def on_victims(opcode, body, psn):
        return node.wire.roce(opcode, victim.server_qpn, psn, body)

    write = reth(0, victim.rkey, 16) + bytes(range(16))
    for what, frame in (("a WRITE at the PSN that is expected", on_victims(kWriteOnly, write, victim.psn)),
                        ("a READ", on_victims(kReadRequest, reth(0, victim.rkey, 16), victim.psn)),
                        ("a packet from the future", on_victims(kWriteOnly, write, victim.psn + 9)),
                        ("a request that is refused", on_victims(kReadRequest, reth(0, 0, 16), victim.psn)),
                        ("a NAK", on_victims(kAck, struct.pack(">I", 0x63000000), kFirstPsn))):
        node.counts("drops", "address_pair", lambda frame=frame: node.wire.send(frame), what)
        t.equal(thief.receive(0.2), None, f"an answer to {what}")
    t.equal(victim.read(0, 16), before, "the victim's memory")
    node.serves(victim)
    node.serves(thief)
    t.equal(node.lagand.terminate(), 0, "exit status")


@suite.case
def packets_from_another_address(t):
    node = Node(t)
    moved, stranger = node.connect(), node.wire.of(kOther)
    node.serves(moved)
    elsewhere = stranger.roce(kWriteOnly, moved.server_qpn, moved.psn, reth(0, moved.rkey, 4) + bytes(4))
    node.counts("drops", "address_pair", lambda: stranger.send(elsewhere), "a packet from another address")
    for kind, body in ((kDreq, moved.dreq()), (kRtu, moved.dreq()[:8]), (kRej, moved.dreq()[:8] + bytes([0, 0, 0, 28]))):
        seen = node.cm("wrong_source")
        stranger.send(cm_frame(stranger, moved.transaction, kind, body))
        t.wait_until(lambda: node.cm("wrong_source") == seen + 1, f"CM message {kind:#x} from another address is counted")
    t.equal(node.cm("drep_sent"), 0, "DREPs")
    node.serves(moved)
    t.equal(node.lagand.terminate(), 0, "exit status")


@suite.case
def more_reads_than_were_negotiated(t):
    node = Node(t)
    victim, greedy = node.connect(wire=node.wire.of(kOther)), node.connect(depth=1)
    first, second = (greedy.frame(kReadRequest, reth(0, greedy.rkey, 1024)) for _ in range(2))

    def both():
        node.lagand.signal(signal.SIGSTOP)  # else it may have answered the first before the second has come
        tasks = list(pathlib.Path(f"/proc/{node.lagand.pid}/task").iterdir())
        t.wait_until(lambda: all("State:\tT" in (task / "status").read_text() for task in tasks), "lagand stands still")
        node.wire.send(first)
        node.wire.send(second)
        node.lagand.signal(signal.SIGCONT)
        answers = [greedy.receive(), greedy.receive()]
        t.true(all(answer is not None and answer.icrc_ok for answer in answers), f"two answers, not {answers}")
        t.equal([(answer.opcode, answer.psn) for answer in answers], [(0x10, first.psn), (kAck, second.psn)], "the answers")
        t.equal(answers[1].syndrome, 0x61, "syndrome of the NAK")
    node.counts("refusals", "read_depth", both, "a second READ where one was granted")
    node.serves(victim)
    t.wait_until(lambda: node.queue_pairs() == 1, "its queue pair goes")
    one = node.connect(depth=1)
    node.serves(one)
    node.serves(victim)
    t.equal(node.lagand.terminate(), 0, "exit status")


@suite.case
def a_path_mtu_that_changes_midway(t):
    node = Node(t)
    victim = node.connect(wire=node.wire.of(kOther))

    def refused(name, what, *frames_of):
        connection = node.connect(mtu_code=2)  # 512
        answer = connection.write(0, bytes(512))
        t.true(answer is not None and answer.syndrome == 0x1f, "the path MTU that was agreed upon serves")

        def act():
            for frame_of in frames_of:
                node.wire.send(frame_of(connection))
            answer = connection.receive()
            t.true(answer is not None and answer.icrc_ok and answer.syndrome == 0x61, f"NAK 0x61 for {what}")
        node.counts("refusals", name, act, what)
        node.serves(victim)

    def frame(opcode, bytes_sent, message=0):
        head = lambda c: reth(0, c.rkey, message) if message else b""
        return lambda c: c.frame(opcode, head(c) + bytes(bytes_sent), ackreq=0)

    refused("packet_length", "a FIRST of 1024 bytes", frame(kWriteFirst, 1024, 4096))
    refused("packet_length", "a FIRST of 256 bytes", frame(kWriteFirst, 256, 4096))
    refused("packet_length", "a MIDDLE of 1024 bytes", frame(kWriteFirst, 512, 4096), frame(kWriteMiddle, 1024))
    refused("packet_length", "an ONLY of 1024 bytes", frame(kWriteOnly, 1024, 1024))
    # The answers keep to what was agreed upon.
    connection = node.connect(mtu_code=2)
    node.wire.send(connection.frame(kReadRequest, reth(0, connection.rkey, 1024)))
    t.equal([len(connection.receive().payload) for _ in range(2)], [512, 512], "bytes in each response")
    t.wait_until(lambda: node.queue_pairs() == 2, "the queue pairs of those that were refused go")
    t.equal(node.lagand.terminate(), 0, "exit status")


@suite.case
def both_sides_disconnect_at_once(t):
    node = Node(t)
    connection = node.connect()
    node.serves(connection)
    t.equal(request(node.socket, "DELETE", "/v1/regions/r").status, 204, "deletion, which closes its connections")
    t.true(connection.receive_mad((kDreq,), t.scaled(20)) is not None, "lagand's DREQ")
    connection.close()  # ours crosses it, and gets its DREP all the same
    told = node.cm("dreq_sent")
    t.wait_until(lambda: node.stats()["connections"]["count"] == 0, "nothing is left of the connection", timeout=20)
    t.equal(node.cm("disconnect_timeout"), 0, "lagand took our DREQ for an answer to its own")
    t.true(node.cm("dreq_sent") <= told + 1, "and does not ask again")
    connection.close()  # what lagand does not know any more
    t.true(node.cm("dreq_unknown") >= 1, "DREQs for unknown connections are counted")  # it is sent again when we are slow
    t.equal(node.lagand.terminate(), 0, "exit status")


@suite.case
def disconnect_requests_for_what_is_not_there(t):
    node = Node(t)
    connection = node.connect()
    node.serves(connection)
    other = node.connect()
    wrong_qpn = connection.dreq()[:8] + other.server_qpn.to_bytes(3, "big") + bytes(1)
    connection.send_mad(kDreq, wrong_qpn)
    t.wait_until(lambda: node.cm("dreq_wrong_qpn") == 1, "a DREQ with another's QPN is counted")
    t.equal(connection.receive_mad((kDrep,), 0.3), None, "a DREP to it")
    node.serves(connection)
    stray = struct.pack(">II", connection.local_id, t.rng.randrange(1 << 32)) + bytes(4)
    connection.send_mad(kDreq, stray)
    t.true(connection.receive_mad((kDrep,), t.scaled(20)) is not None, "a DREP to a DREQ with unknown ids")
    t.equal(node.cm("dreq_unknown"), 1, "counted")
    node.serves(connection)
    node.serves(other)
    t.equal(node.lagand.terminate(), 0, "exit status")


@suite.case
def a_client_that_has_forgotten_its_connection(t):
    node = Node(t)
    victim = node.connect(wire=node.wire.of(kOther))
    old = node.connect()
    node.serves(old)
    try:
        node.connect(qpn=old.qpn)
        t.true(False, "a queue pair that is connected was connected again")
    except Rejected as rejected:
        t.equal(rejected.reason, 10, "reason of the REJ (stale connection)")
    counted = node.cm("rej_sent_stale_connection"), node.cm("stale_connection")
    t.true(min(counted) >= 1, f"counted: {counted}")  # more than once when we are slow, and ask again
    t.wait_until(lambda: node.queue_pairs() == 1, "the old queue pair goes")

    def again():
        try:
            return node.connect(qpn=old.qpn)
        except Rejected as rejected:
            t.equal(rejected.reason, 10, "reason while the old connection ends")
            return None
    node.serves(t.wait_until(again, "the same queue pair can be connected again", timeout=20, interval=0.3))
    node.serves(victim)
    t.equal(node.lagand.terminate(), 0, "exit status")


# The arena is new, and region 1 may be somebody else's.
@suite.case
def a_grant_outlives_a_restart_and_not_its_arena(t):
    node = Node(t)
    grant = node.grant()
    Connection(node.wire, grant, node.service_port, t.scaled(20)).close()
    t.equal(node.lagand.terminate(), 0, "exit status")
    node.start()
    Connection(node.wire, grant, node.service_port, t.scaled(20)).close()
    t.equal(node.lagand.terminate(), 0, "exit status")
    node.start("--empty-arena")
    try:
        Connection(node.wire, grant, node.service_port, t.scaled(20))
        t.true(False, "connected with a grant for another arena")
    except Rejected as rejected:
        t.true(b"for an arena that is no more" in rejected.private_data, f"the REJ's words: {rejected.private_data}")
    node.serves(node.connect())
    t.equal(node.lagand.terminate(), 0, "exit status")


if __name__ == "__main__":
    suite.main()
