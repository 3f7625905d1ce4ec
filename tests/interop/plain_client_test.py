#!/usr/bin/python3
# SPDX-License-Identifier: BSD-3-Clause
# lagan-test: hugepages=no builds=release timeout=420
"""An RDMA client in plain C, on Linux's own stack in a guest, against lagand: right data, right completions, right errors, by
IPv4, by IPv6 and over a VLAN; and clients that do not behave."""
import pathlib
import signal
import sys
import time

sys.path[:0] = [str(pathlib.Path(__file__).resolve().parents[1] / "support"), str(pathlib.Path(__file__).resolve().parent)]
import guest
from harness import Suite

suite = Suite(__file__)
kKeepaliveS = 3  # of silence, after which lagand asks a client for a sign of life


@suite.shared
def rig(t):
    return guest.on_lagand(t, programs=[t.binary("tests/interop/plain_client")], rdma__keepalive_seconds=kKeepaliveS)


def write_grants(rig, region):
    """A new region, and in the guest a file of grants for it: its path."""
    rig.appliance.region(region, "8MiB")
    rig.appliance.region(f"{region}-other", "1MiB")
    grants = {"write": rig.appliance.grant(region), "read": rig.appliance.grant(region, "read"),
              "other": rig.appliance.grant(f"{region}-other"), "expired": rig.appliance.grant(region, ttl_seconds=1)}
    path = f"/tmp/grants-{region}"
    rig.guest.put(path, "".join(f"{name} {grant}\n" for name, grant in grants.items()))
    return path


def tell(t, done):
    """Each check that plain_client has made is a part of the case."""
    for line in done.stdout.splitlines():
        verdict, _, rest = line.partition(" ")
        name, _, why = rest.partition(": ")
        t.part(name, "" if verdict == "PASS" else why or "failed")
    t.true(done.stdout and done.status == (1 if t.parts_failed else 0),
           f"plain_client ended with status {done.status}, behind: {(done.stdout.splitlines() or ['nothing'])[-1]}; {done.stderr}")


def check(t, region, address, *options):
    path = write_grants(t.shared, region)
    time.sleep(2)  # until the grant of one second has expired
    command = f"plain_client check --server {address} --grants {path} {' '.join(options)}"
    tell(t, t.shared.guest.run(command, timeout=120, check=False))


@suite.case
def by_ipv4(t):
    check(t, "ipv4", guest.kServer4)


@suite.case
def by_ipv6(t):
    check(t, "ipv6", guest.kServer6)


@suite.case
def by_ipv4_over_a_vlan(t):
    check(t, "vlan4", guest.kServerVlan4)


@suite.case
def by_ipv6_over_a_vlan(t):
    check(t, "vlan6", guest.kServerVlan6, "--only", "'*_4097'")


@suite.case
def more_reads_in_flight_than_negotiated(t):
    path = write_grants(t.shared, "depth")
    client = t.shared.guest.start(f"plain_client check --server {guest.kServer4} --grants {path} --held /tmp/held")
    t.shared.guest.run("until [ -e /tmp/held.ready ]; do sleep 0.05; done")
    lagand = t.shared.appliance.lagand
    lagand.signal(signal.SIGSTOP)
    try:
        t.shared.guest.run("touch /tmp/held; sleep 0.5")
    finally:
        lagand.signal(signal.SIGCONT)
    tell(t, client.wait(check=False))
    t.true(t.shared.appliance.stats()["total"]["refusals"]["read_depth"] > 0, "read_depth was counted")


def holding(t, path, *options):
    """A client that has connected, stored a page and waits, and its process id in the guest."""
    name = f"/tmp/holding{len(t.shared.guest.answers)}"
    t.shared.guest.run(f"plain_client hold --server {guest.kServer4} --grants {path} {' '.join(options)} >{name} 2>&1 & "
                       f"echo $! >{name}.pid; until grep -q holding {name}; do kill -0 $(cat {name}.pid) || exit 1; sleep 0.05; done")
    return t.shared.guest.run(f"cat {name}.pid").stdout.strip()


def counter(t, name):
    return t.shared.appliance.stats()["connections"]["counters"][name]


@suite.case
def a_killed_clients_kernel_disconnects(t):
    t.equal(t.shared.appliance.queue_pairs(), 0, "queue pairs before")
    pid = holding(t, write_grants(t.shared, "killed"))
    t.equal(t.shared.appliance.queue_pairs(), 1, "queue pairs of a client")
    t.shared.guest.run(f"kill -9 {pid}")
    t.wait_until(lambda: t.shared.appliance.queue_pairs() == 0, "its queue pair is gone", timeout=30)


@suite.case
def a_client_that_dies_without_a_dreq_is_tidied_away(t):
    path = write_grants(t.shared, "lost")
    idle = holding(t, path)
    pid = holding(t, path)
    there = t.shared.guest
    # As when the host loses its power: whatever its kernel still has to say does not get out.
    there.run(f"set -e; tc qdisc add dev eth0 root netem loss 100%; kill -9 {pid}; sleep 1; tc qdisc del dev eth0 root")
    t.equal(t.shared.appliance.queue_pairs(), 2, "queue pairs: nobody has told of the end")
    t.wait_until(lambda: t.shared.appliance.queue_pairs() == 1, "the dead client's queue pair is gone", timeout=60)
    # The other one has been silent for as long, and its kernel has answered for it; it still does when it is asked again.
    time.sleep(3 * kKeepaliveS)
    t.equal(t.shared.appliance.queue_pairs(), 1, "queue pairs of an idle client")
    there.run(f"kill -9 {idle}")
    t.wait_until(lambda: t.shared.appliance.queue_pairs() == 0, "the idle client's queue pair is gone", timeout=30)


@suite.case
def a_client_that_never_confirms_holds_nobody_up(t):
    path = write_grants(t.shared, "half-open")
    pid = holding(t, path, "--no-rtu")
    t.equal(t.shared.appliance.queue_pairs(), 1, "queue pairs of a connection without an RTU")
    check(t, "beside", guest.kServer4, "--only", "'*_4096'")
    # Its kernel asks for more time by MRA; lagand gives it half a minute.
    t.wait_until(lambda: counter(t, "rtu_timeout") == 1, "lagand has given it up", timeout=120)
    t.true(counter(t, "mra_received") > 0, "an MRA was received")
    t.wait_until(lambda: t.shared.appliance.queue_pairs() == 0, "its queue pair is gone", timeout=10)
    t.shared.guest.run(f"kill -9 {pid}")


@suite.case
def nothing_is_left_and_nothing_went_wrong(t):
    t.wait_until(lambda: t.shared.appliance.queue_pairs() == 0, "no queue pair is left", timeout=30)
    drops = t.shared.appliance.stats()["total"]["drops"]
    # What a client sends behind its refused request meets a queue pair in error; a guest also sends other protocols.
    bad = {name: count for name, count in drops.items() if count and name not in ("qp_not_ready", "not_rocev2")}
    t.equal(bad, {}, "packets that lagand dropped")
    t.shared.guest.no_protocol_error(t)


if __name__ == "__main__":
    suite.main()
