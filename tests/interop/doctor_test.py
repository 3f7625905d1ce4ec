#!/usr/bin/python3
# SPDX-License-Identifier: BSD-3-Clause
# lagan-test: hugepages=no builds=release timeout=300
"""lagan doctor on a compute host with an RDMA device: a Linux guest with rxe. What is broken there is found, and the remedies, run
as they are given, mend it."""
import json
import pathlib
import re
import sys

sys.path[:0] = [str(pathlib.Path(__file__).resolve().parents[1] / "support"), str(pathlib.Path(__file__).resolve().parent)]
import guest
from harness import Suite

suite = Suite(__file__)
kJemalloc = "/usr/lib/x86_64-linux-gnu/libjemalloc.so.2"
kPort = "rdma port rxe0/1"


@suite.shared
def rig(t):
    rig = guest.on_lagand(t, programs=[
        (t.binary("client/lagan"), "/usr/bin/lagan"), (kJemalloc, kJemalloc),
        (t.binary("client/preload/liblagan_preload.so"), "/usr/lib/lagan/liblagan_preload.so")])
    # The guest's user is root, and has no sudo.
    rig.guest.put("/usr/bin/sudo", '#!/bin/sh\nexec "$@"\n')
    # All modules are loaded, and modprobe would look for their files. It is a link to busybox until now.
    rig.guest.run("rm /usr/bin/modprobe")
    rig.guest.put("/usr/bin/modprobe", "#!/bin/sh\n")
    rig.guest.run("chmod 755 /usr/bin/sudo /usr/bin/modprobe")
    rig.appliance.region("sort", "8MiB")
    return rig


def doctor(t, *arguments):
    """What it finds with the appliance's address, by name."""
    where = [] if "--address" in arguments else ["--address", guest.kServer4]
    command = " ".join(["lagan doctor --json", *where, *arguments])
    done = t.shared.guest.run(command, check=False)
    t.true(done.stdout.startswith("{"), f"{command}: {done}")
    report = json.loads(done.stdout)
    t.equal(done.status, 1 if report["problems"] else 0, "exit status")
    return {check["check"]: check for check in report["checks"]}


def expect(t, found, check, verdict, pattern):
    t.true(check in found, f"nothing about {check}; there are {', '.join(found)}")
    t.equal(found[check]["verdict"], verdict, f"{check}: {found[check]}")
    t.true(re.search(pattern, found[check]["seen"] + "\n" + found[check]["mend"]), f"/{pattern}/ is not in {found[check]}")


def mend(t, found, check):
    t.shared.guest.run(found[check]["mend"])


def problems(found):
    return [check for check in found.values() if check["verdict"] == "PROBLEM"]


@suite.case
def nothing_stands_in_the_way(t):
    t.shared.guest.put("/tmp/grant", t.shared.appliance.grant("sort"))
    found = doctor(t, "--grant /tmp/grant")
    t.equal(problems(found), [], "problems")
    expect(t, found, kPort, "ok", "active on eth0")
    expect(t, found, f"{kPort}, mtu", "ok", "path MTU of 4096")
    expect(t, found, f"{kPort}, gid table", "ok", guest.kGuest4)
    expect(t, found, "route", "ok", "by eth0, which is rxe0")
    expect(t, found, "path", "ok", "4160 bytes")
    expect(t, found, "grant", "ok", "to write region")
    expect(t, found, "connection", "ok", "takes it, with this grant")
    expect(t, doctor(t), "connection", "ok", "asks for a grant")
    t.wait_until(lambda: t.shared.appliance.queue_pairs() == 0, "no queue pair is left behind")


@suite.case
def refusals_in_the_appliances_words(t):
    good = t.shared.appliance.grant("sort")
    t.shared.guest.put("/tmp/forged", good[:-2] + f"{int(good[-2:], 16) ^ 1:02x}")
    expect(t, doctor(t, "--grant /tmp/forged"), "connection", "PROBLEM", "signature does not fit.*\n.*/grants")
    t.shared.appliance.region("gone", "1MiB")
    t.shared.guest.put("/tmp/gone", t.shared.appliance.grant("gone"))
    t.shared.appliance.ask("DELETE", "/v1/regions/gone", status=204)
    expect(t, doctor(t, "--grant /tmp/gone"), "connection", "PROBLEM", "region that does not exist")
    t.shared.guest.put("/tmp/short", good[:-1])
    found = doctor(t, "--grant /tmp/short")
    expect(t, found, "grant", "PROBLEM", "is no grant")
    t.true("connection" not in found, "what is no grant is not tried")
    found = doctor(t, "--address", f"{guest.kServer4}:7999")
    expect(t, found, "connection", "PROBLEM", "nobody at port 7999.*\n.*rdma.service_port")
    t.equal(t.shared.appliance.queue_pairs(), 0, "queue pairs")


@suite.case
def a_small_mtu(t):
    t.shared.guest.run("ip link set dev eth0 mtu 1500")
    found = doctor(t)
    expect(t, found, f"{kPort}, mtu", "warn", "path MTU of 1024")
    mend(t, found, f"{kPort}, mtu")
    expect(t, doctor(t), f"{kPort}, mtu", "ok", "path MTU of 4096")


@suite.case
def no_device(t):
    t.shared.guest.run("rdma link delete rxe0")
    found = doctor(t)
    expect(t, found, "rdma device", "PROBLEM", "none here")
    mend(t, found, "rdma device")
    t.shared.guest.run(f"ip link set dev eth0.{guest.kVlan} down && ip link set dev eth0.{guest.kVlan} up")
    t.equal(problems(doctor(t)), [], "problems after the remedy")


@suite.case
def an_interface_that_is_down(t):
    t.shared.guest.run("ip link set dev eth0 down")
    found = doctor(t)
    expect(t, found, kPort, "PROBLEM", "eth0 is down")
    expect(t, found, "route", "PROBLEM", "no route")
    mend(t, found, kPort)
    found = t.wait_until(lambda: (lambda now: now if not problems(now) else None)(doctor(t)), "the remedy's effect", timeout=30)
    expect(t, found, kPort, "ok", "active")


if __name__ == "__main__":
    suite.main()
