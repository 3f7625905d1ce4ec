#!/usr/bin/python3
# SPDX-License-Identifier: BSD-3-Clause
"""READ and WRITE of one Linux guest with rxe, against lagand and against a second guest with rxe, in one session.

The same program (plain_client) does the same against both, in turns; what counts is the median of the rounds. Ratios above 1
say that lagand is better. Guests are emulated: only the ratios mean something, and they vary.
"""
import argparse
import json
import pathlib
import statistics
import sys

sys.path[:0] = [str(pathlib.Path(__file__).resolve().parents[1] / "support"), str(pathlib.Path(__file__).resolve().parent)]
import guest
import image
from bench_script import bench_main

kPeer, kOwn = "10.78.0.1", "10.78.0.2"  # on the wire between the guests
kOperations = ("read", "write")


def parse_options():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true", help="end with one JSON object")
    parser.add_argument("--count", type=int, default=2000, help="operations of each measurement (default 2000)")
    parser.add_argument("--rounds", type=int, default=3, help="measurements of each kind, whose median counts (default 3)")
    parser.add_argument("--size", type=int, default=4096, help="bytes of an operation (default 4096)")
    parser.add_argument("--inside", action="store_true", help=argparse.SUPPRESS)
    return parser.parse_args()


def start(t):
    """The guest that measures, and the grant's file in it."""
    program = [t.binary("tests/interop/plain_client")]
    appliance = guest.Appliance(t)
    client = guest.Guest(t, "client", guest.vhost_netdev(appliance.vhost), 2, program,
                         second=guest.wire_netdev(t, "client", "peer", "net1"))
    peer = guest.Guest(t, "peer", guest.wire_netdev(t, "peer", "client"), 3, program)
    client.wait_booted()
    client.join([f"{guest.kGuest4}/24"])
    client.join([f"{kOwn}/24"], "eth1")
    client.add_rxe(0)
    client.add_rxe(1)
    peer.wait_booted()
    peer.join([f"{kPeer}/24"])
    peer.add_rxe()
    peer.run("plain_client serve >/tmp/served 2>&1 & until grep -q serving /tmp/served; do sleep 0.1; done")
    appliance.region("bench", "8MiB")
    client.put("/tmp/grants", f"write {appliance.grant('bench')}\n")
    return client


def measure(t, options):
    client = start(t)
    results = {}  # (target, operation, figure) → one value a round
    for number in range(options.rounds):
        print(f"round {number + 1} of {options.rounds}", file=sys.stderr, flush=True)
        for operation in kOperations:
            for target, more in (("lagand", f"{guest.kServer4} --grants /tmp/grants"), ("rxe", kPeer)):
                said = client.run(f"plain_client bench --operation {operation} --size {options.size} --count {options.count} "
                                  f"--server {more}", timeout=120).stdout
                for figure, value in json.loads(said).items():
                    results.setdefault((target, operation, figure), []).append(value)
    return {key: statistics.median(values) for key, values in results.items()}


def report(results, options):
    figures = {}
    print(f"{options.size} bytes, guest against lagand and against another guest, median of {options.rounds} rounds")
    for operation in kOperations:
        for figure, unit, better in (("bytes_per_second", "bw", 1), ("median_us", "lat", -1)):
            ours, theirs = results["lagand", operation, figure], results["rxe", operation, figure]
            ratio = (ours / theirs) ** better
            figures[f"{operation}_{unit}_ratio"] = round(ratio, 3)
            print(f"  {operation:<6}{figure:<18} lagand {ours:>14,.1f}   rxe {theirs:>14,.1f}   ratio {ratio:.2f}")
    return figures


if __name__ == "__main__":
    bench_main(__file__, "interop", parse_options(), measure, report, prepare=image.ready)
