#!/usr/bin/python3
# SPDX-License-Identifier: BSD-3-Clause
"""A real lagand and lagan-bench over the local port (vhost): operations a second and latency.

Runs in namespaces of its own where the machine allows that, so that nothing is left behind however it is killed.
"""
import argparse
import pathlib
import statistics
import sys

kSupport = pathlib.Path(__file__).resolve().parents[1] / "support"
sys.path.insert(0, str(kSupport))
from bench_script import bench_main
from errors import Skip
from link import Link
from testpmd import memif_mpps

# What is run → lagan-bench's arguments.
kRuns = {
    "read": ("--mix", "read"),
    "write": ("--mix", "write"),
    "read_depth32": ("--mix", "read", "--depth", "32"),
    "write_depth32": ("--mix", "write", "--depth", "32"),
}
# Key → (run, kind of operation, figure in lagan-bench's JSON).
kKeys = {
    "read_4096_iops": ("read", "read", "iops"),
    "read_4096_p50_us": ("read", "read", "p50_us"),
    "read_4096_p99_us": ("read", "read", "p99_us"),
    "read_4096_p999_us": ("read", "read", "p999_us"),
    "write_4096_iops": ("write", "write", "iops"),
    "write_4096_p50_us": ("write", "write", "p50_us"),
    "read_4096_iops_depth32": ("read_depth32", "read", "iops"),
    "write_4096_iops_depth32": ("write_depth32", "write", "iops"),
}


def parse_options():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true", help="end with one JSON object")
    parser.add_argument("--seconds", type=float, default=2, help="of each run (default 2)")
    parser.add_argument("--rounds", type=int, default=3, help="runs of each kind, whose median counts (default 3)")
    parser.add_argument("--idle", choices=("adaptive", "spin"), default="adaptive", help="lagand's poll.idle")
    parser.add_argument("--no-testpmd", dest="testpmd", action="store_false",
                        help="without the packet rate of DPDK's own testpmd over memif, for comparison")
    parser.add_argument("--inside", action="store_true", help=argparse.SUPPRESS)
    return parser.parse_args()


def measure(t, options):
    link = Link(t, idle=options.idle)
    results = {run: [] for run in kRuns}
    for round_number in range(options.rounds):
        for run, arguments in kRuns.items():
            print(f"round {round_number + 1} of {options.rounds}: {run}", file=sys.stderr, flush=True)
            results[run].append(link.bench(*arguments, "--seconds", options.seconds, timeout=60 + options.seconds)[1])
    link.t.equal(link.lagand.terminate(), 0, "exit status of lagand")
    figures = {key: statistics.median(result[kind][figure] for result in results[run])
               for key, (run, kind, figure) in kKeys.items()}
    return figures | testpmd_rates(t) if options.testpmd else figures


def testpmd_rates(t):
    rates = {}
    for size in (64, 4150):
        try:
            rates[f"testpmd_memif_{size}_mpps"] = memif_mpps(t, size)
        except Skip as skip:
            print(f"without testpmd's rate: {skip}", file=sys.stderr)
            break
    return rates


def report(figures, options):
    print(f"lagan-bench against lagand over vhost, poll.idle = {options.idle}, median of {options.rounds} runs")
    for key, value in figures.items():
        print(f"  {key:<26}{value:>14,.2f}" if value < 1000 else f"  {key:<26}{value:>14,.0f}")
    return figures


if __name__ == "__main__":
    bench_main(__file__, "link", parse_options(), measure, report)
