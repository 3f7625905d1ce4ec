#!/usr/bin/python3
# SPDX-License-Identifier: BSD-3-Clause
# lagan-test: hugepages=no builds=release timeout=300
"""rdma-core's rping and our engine: as client and as server, with the data looked at on both sides."""
import pathlib
import sys

sys.path[:0] = [str(pathlib.Path(__file__).resolve().parents[1] / "support"), str(pathlib.Path(__file__).resolve().parent)]
import guest
from harness import Suite
from peer import Peer, guest_for_peers

suite = Suite(__file__)
# rping takes 23 to 65535 bytes. Around a path MTU, not multiples of four, and a message of many packets.
kSizes = (23, 24, 64, 1023, 4095, 4096, 4097, 12289, 65535)
kPings = 10


@suite.shared
def rig(t):
    return guest_for_peers(t)


@suite.case
def a_linux_client_is_served(t):
    peer = Peer(t, t.shared, "rping-server", "--clients", len(kSizes))
    for size in kSizes:
        done = t.shared.guest.run(f"rping -c -a {guest.kServer4} -v -V -C {kPings} -S {size}")
        t.equal(done.stdout.count("ping data: rdma-ping-"), kPings, f"pings of {size} bytes that rping shows")
    counters = peer.ended(t, said=f"{kPings} pings from {guest.kGuest4}, all right", times=len(kSizes))
    t.equal(counters["requests"], len(kSizes) * kPings * 4, "READs, WRITEs and messages that the peer has sent")


@suite.case
def a_linux_server_is_pinged(t):
    sizes = [word for size in kSizes for word in ("--size", size)]
    peer = Peer(t, t.shared, "rping-client", "--remote", guest.kGuest4, "--count", kPings, *sizes, memory=1 << 17)
    for size in kSizes:
        done = t.shared.guest.run(f"rping -s -v -C {kPings} -S {size}")
        t.equal(done.stdout.count("ping data: lagan-ping-"), kPings, f"pings of {size} bytes that rping shows")
    counters = peer.ended(t, said=f"to {guest.kGuest4}, all right", times=len(kSizes))
    t.true(counters["reads"] >= len(kSizes) * kPings, f"the server's READs: {counters}")
    t.equal(counters["write_messages"], len(kSizes) * kPings, "the server's WRITEs")


@suite.case
def nothing_was_counted_as_an_error(t):
    t.shared.guest.no_protocol_error(t)


if __name__ == "__main__":
    suite.main()
