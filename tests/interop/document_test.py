#!/usr/bin/python3
# SPDX-License-Identifier: BSD-3-Clause
# lagan-test: hugepages=no builds=release timeout=300
"""docs/interop.md, as it is written: its commands for the appliance and for the host, one after the other, in a fresh guest."""
import pathlib
import re
import sys

sys.path[:0] = [str(pathlib.Path(__file__).resolve().parents[1] / "support"), str(pathlib.Path(__file__).resolve().parent)]
import guest
from harness import Suite, kRoot

suite = Suite(__file__)
kLine = re.compile(r"    (appliance\$|host#) (.*)")
kJemalloc = "/usr/lib/x86_64-linux-gnu/libjemalloc.so.2"


@suite.case
def the_commands_of_the_document_work(t):
    appliance = guest.Appliance(t)
    host = guest.Guest(t, "guest", guest.vhost_netdev(appliance.vhost), 2, programs=[
        (t.binary("client/lagan"), "/usr/bin/lagan"), (t.binary("client/bench/lagan-bench"), "/usr/bin/lagan-bench"),
        (t.binary("client/preload/liblagan_preload.so"), "/usr/lib/lagan/liblagan_preload.so"), (kJemalloc, kJemalloc)])
    host.wait_booted()
    lines = [match.groups() for match in map(kLine.match, (kRoot / "docs/interop.md").read_text().splitlines()) if match]
    t.true(len(lines) > 10, "commands in docs/interop.md")
    for who, command in lines:
        if who == "host#":
            host.run(f"cd /tmp; {command}", timeout=90)
            continue
        t.run(["sh", "-c", command.replace("/run/lagan/lagand.sock", str(appliance.socket))], cwd=t.dir)
        for grant in t.dir.glob("*.grant"):
            host.put(f"/tmp/{grant.name}", grant.read_text())
    host.no_protocol_error(t)


if __name__ == "__main__":
    suite.main()
