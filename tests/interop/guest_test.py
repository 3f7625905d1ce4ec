#!/usr/bin/python3
# SPDX-License-Identifier: BSD-3-Clause
# lagan-test: hugepages=no builds=release timeout=300
"""The guest itself, and that its kernel's network and RDMA connection manager reach lagand: by IPv4, IPv6 and over a VLAN."""
import pathlib
import sys

sys.path[:0] = [str(pathlib.Path(__file__).resolve().parents[1] / "support"), str(pathlib.Path(__file__).resolve().parent)]
import guest
from harness import Suite

suite = Suite(__file__)


@suite.shared
def rig(t):
    return guest.on_lagand(t)


@suite.case
def the_guest_has_an_rxe_device(t):
    link = t.shared.guest.run("rdma link show rxe0/1").stdout
    t.true("state ACTIVE" in link and "netdev eth0" in link, f"rdma link: {link}")
    about = t.shared.guest.run("ibv_devinfo -d rxe0").stdout
    t.true("active_mtu:\t\t4096" in about, f"a path MTU of 4096: {about}")


@suite.case
def commands_tell_their_status_and_both_outputs(t):
    there = t.shared.guest
    t.equal(there.run("echo out; echo err >&2; exit 3", check=False), guest.Done(3, "out\n", "err\n"), "a command")
    t.equal(there.run("sleep 30", timeout=1, check=False).status, 124, "the status of one whose time was up")
    late = there.start("until [ -e /tmp/go ]; do sleep 0.1; done; cat /tmp/go")
    there.put("/tmp/go", "it's\n100 % there\n")
    t.equal(late.wait().stdout, "it's\n100 % there\n", "two at once, and a file that was put there")


@suite.case
def lagand_is_reached_by_every_address(t):
    for address in (guest.kServer4, guest.kServer6, guest.kServerVlan4, guest.kServerVlan6):
        t.shared.guest.run(f"ping -c 2 -i 0.2 -W 20 {address}")
    t.shared.guest.run(f"ping -c 1 -W 20 -M do -s 4100 {guest.kServer4}")


@suite.case
def a_connection_without_a_grant_is_refused(t):
    before = t.shared.appliance.stats()["connections"]["counters"]
    done = t.shared.guest.run(f"rping -c -a {guest.kServer4} -p {guest.kServicePort} -C 1", check=False)
    t.true("RDMA_CM_EVENT_REJECTED, error 28" in done.stdout + done.stderr, f"rping said: {done}")
    after = t.shared.appliance.stats()["connections"]["counters"]
    for name in ("req_received", "rej_sent_consumer"):
        t.true(after[name] > before[name], f"{name} was counted: {after}")
    t.equal(t.shared.appliance.queue_pairs(), 0, "queue pairs")


@suite.case
def nothing_was_counted_as_an_error(t):
    t.shared.guest.no_protocol_error(t)


if __name__ == "__main__":
    suite.main()
