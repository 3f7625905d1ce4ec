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


@suite.shared
def rig(t):
    return guest.on_lagand(t, programs=[t.binary("tests/interop/plain_client")])


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
    lagand = t.shared.appliance.process
    lagand.signal(signal.SIGSTOP)
    try:
        t.shared.guest.run("touch /tmp/held; sleep 0.5")
    finally:
        lagand.signal(signal.SIGCONT)
    tell(t, client.wait(check=False))
    t.true(t.shared.appliance.stats()["total"]["refusals"]["read_depth"] > 0, "read_depth was counted")


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
