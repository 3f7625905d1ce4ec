#!/usr/bin/python3
# SPDX-License-Identifier: BSD-3-Clause
# lagan-test: hugepages=no builds=release timeout=300
"""rdma-core's rping and our engine: as client and as server, with the data looked at on both sides."""
import contextlib
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
kPingsOfBadNetwork = 30  # of 65535 bytes: some hundred packets, of which none is lost once in ten thousand runs


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
def a_linux_client_comes_by_ipv6_and_over_a_vlan(t):
    ways = ((guest.kServer6, guest.kGuest6), (guest.kServerVlan4, guest.kGuestVlan4), (guest.kServerVlan6, guest.kGuestVlan6))
    peer = Peer(t, t.shared, "rping-server", "--clients", len(ways))
    for to, _ in ways:
        t.shared.guest.run(f"rping -c -a {to} -V -C {kPings} -S 12289")
    peer.ended(t, said="\n".join(f"{kPings} pings from {of}, all right" for _, of in ways))


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
def a_linux_server_is_pinged_by_ipv6(t):
    peer = Peer(t, t.shared, "rping-client", "--remote", guest.kGuest6, "--count", kPings, "--size", 4097)
    t.shared.guest.run(f"rping -s -a {guest.kGuest6} -C {kPings} -S 4097")
    peer.ended(t, said=f"{kPings} pings of 4097 bytes to {guest.kGuest6}, all right")


@suite.case
def a_smaller_path_mtu_is_kept_to(t):
    peer = Peer(t, t.shared, "rping-server")
    t.shared.guest.run("ip link set eth0 mtu 1500")
    t.shared.guest.run(f"rping -c -a {guest.kServer4} -V -C {kPings} -S 12289")
    t.shared.guest.run(f"ip link set eth0 mtu {guest.kMtu}")
    counters = peer.ended(t, said=f"{kPings} pings from {guest.kGuest4}, all right")
    t.true(counters["tx_packets"] >= kPings * 13, f"packets of 1024 bytes: {counters}")  # of the WRITEs alone


@contextlib.contextmanager
def bad_network(t):
    """What leaves the guest gets lost, doubled and delayed: requests, responses, acknowledgements and CM messages."""
    t.shared.guest.run("tc qdisc add dev eth0 root netem loss 2% duplicate 3% delay 2ms")
    try:
        yield
    finally:  # or the next case cannot have its own
        t.shared.guest.run("tc qdisc del dev eth0 root")


@suite.case
def a_linux_client_is_served_on_a_bad_network(t):
    peer = Peer(t, t.shared, "rping-server")
    with bad_network(t):
        t.shared.guest.run(f"rping -c -a {guest.kServer4} -V -C {kPingsOfBadNetwork} -S 65535", timeout=120)
    counters = peer.ended(t, said=f"{kPingsOfBadNetwork} pings from {guest.kGuest4}, all right")
    t.true(counters["retransmits"] > 0, f"the peer had to ask again: {counters}")


@suite.case
def a_linux_server_is_pinged_on_a_bad_network(t):
    peer = Peer(t, t.shared, "rping-client", "--remote", guest.kGuest4, "--count", kPingsOfBadNetwork, "--size", 65535, memory=1 << 17)
    with bad_network(t):
        t.shared.guest.run(f"rping -s -C {kPingsOfBadNetwork} -S 65535", timeout=120)
    counters = peer.ended(t, said=f"{kPingsOfBadNetwork} pings of 65535 bytes to {guest.kGuest4}, all right")
    t.equal(counters["write_bytes"], kPingsOfBadNetwork * 65535, "bytes written, none of them twice")


@suite.case
def nothing_was_counted_as_an_error(t):
    t.shared.guest.no_protocol_error(t)


if __name__ == "__main__":
    suite.main()
