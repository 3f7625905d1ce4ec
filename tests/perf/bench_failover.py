#!/usr/bin/python3
# SPDX-License-Identifier: BSD-3-Clause
"""How quick a failover is: the first page at the new home, pages pulled a second beside READs a second, what the time of a rebuild
grows with, the load of a baseline beside fio, and how long a client waits.

Real lagands on a bridge (af_packet, MTU 4200), a real lagan-mgmtd with its default timers. The baseline is in a directory of
--directory's file system.
"""
import argparse
import json
import math
import os
import pathlib
import shutil
import statistics
import sys
import tempfile

kSupport = pathlib.Path(__file__).resolve().parents[1] / "support"
sys.path.insert(0, str(kSupport))
from bench_script import bench_main
from failover_rig import Failovers
from rebuild_rig import BaselineHome, TwoHomes

kDepths = (16, 32, 64)  # lagan-bench's, of which the best counts
kMoreDirty = 4
kFioWays = {"buffered": 0, "direct": 1}


def parse_options():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true", help="end with one JSON object")
    parser.add_argument("--rounds", type=int, default=5, help="of each comparison, whose median counts (default 5)")
    parser.add_argument("--failovers", type=int, default=3, help="of each kind, under the manager (default 3)")
    parser.add_argument("--region-mib", type=int, nargs="+", default=[64, 1024, 4096],
                        help="regions that are rebuilt (default 64 1024 4096)")
    parser.add_argument("--dirty-pages", type=int, default=8192, help="of each of them (default 8192)")
    parser.add_argument("--pull-mib", type=int, default=256, help="pulled in the comparison with READs (default 256)")
    parser.add_argument("--read-seconds", type=float, default=1, help="of READs at each depth (default 1)")
    parser.add_argument("--baseline-mib", type=int, default=1024, help="loaded in the comparison with fio (default 1024)")
    parser.add_argument("--directory", type=pathlib.Path, default=pathlib.Path(os.environ.get("LAGAN_BUILD_DIR", "/var/tmp")),
                        help="the store goes into a new directory here (default: the build's)")
    parser.add_argument("--inside", action="store_true", help=argparse.SUPPRESS)
    return parser.parse_args()


def say(text):
    print(text, file=sys.stderr, flush=True)


def writes_for(pages, wanted):
    """So many writes at random make so many different pages dirty, give or take."""
    return round(-pages * math.log(1 - min(wanted / pages, 0.99)))


class Rebuilds:
    """Regions of all sizes, rebuilt in turn."""

    def __init__(self, t, options):
        self.t, self.options, self.made = t, options, 0
        self.reserve_mib = max(options.dirty_pages * kMoreDirty * 5 // 4 * 4096 >> 20, options.pull_mib, 16)
        # Each polls on a CPU of its own, as lagan-bench does beside the old one: of two on one CPU each has half.
        cpus = sorted(os.sched_getaffinity(0))
        self.homes = TwoHomes(t, self.reserve_mib * 5 // 4 + 128, t.dir / "rebuilds", (cpus[0], cpus[-1]))
        self.by_size = {mib: [] for mib in options.region_mib}
        self.more_dirty, self.pulls = [], []

    def region(self, mib, *stores):
        self.made += 1
        name = f"r{self.made}"
        self.homes.old.make(name, mib, self.reserve_mib)
        self.homes.old.store_pages(name, *stores)
        return self.homes.old.get(f"/v1/regions/{name}")

    def rebuild(self, region):
        state = self.homes.new.rebuild(region, self.homes.old.source(region["name"]), self.reserve_mib)
        self.t.equal(state["pages_pulled"], region["dirty_pages"], f"pages that were pulled: {state}")
        for home in (self.homes.new, self.homes.old):
            home.drop(region["name"])
        return state

    def of_size(self, mib, dirty_pages):
        writes = writes_for((mib << 20) // 4096, dirty_pages)
        return self.rebuild(self.region(mib, "--mix", "write", "--ops", writes, "--seed", self.made))

    def pull_and_reads(self):
        """Pages a second of a rebuild from its first page on, and READs a second of the same pages just before."""
        region = self.region(self.options.pull_mib, "--fill", "--mix", "read", "--ops", 1)
        reads = max(self.homes.reads_per_s(region["name"], depth, self.options.read_seconds) for depth in kDepths)
        state = self.rebuild(region)
        return state["pages_pulled"] / (state["seconds"] - state["first_page_ms"] / 1e3), reads

    def round(self):
        for mib, of_size in self.by_size.items():
            of_size.append(self.of_size(mib, self.options.dirty_pages))
        self.more_dirty.append(self.of_size(max(self.by_size), self.options.dirty_pages * kMoreDirty))
        self.pulls.append(self.pull_and_reads())

    def figures(self):
        # From the order's first byte: the region is made before the record begins.
        first = {mib: [each["first_page_ms"] + each["order_ms"] for each in of_size] for mib, of_size in self.by_size.items()}
        times = {mib: [each["seconds"] * 1e3 for each in of_size] for mib, of_size in self.by_size.items()}
        small, large = min(self.by_size), max(self.by_size)
        ratios = [pulled / reads for pulled, reads in self.pulls]
        return {
            "first_page_ms": {f"{mib} MiB": statistics.median(each) for mib, each in first.items()},
            "first_page_ms_all": {f"{mib} MiB": each for mib, each in first.items()},
            "order_ms": {f"{mib} MiB": statistics.median(each["order_ms"] for each in of_size)
                         for mib, of_size in self.by_size.items()},
            "rebuild_ms": {f"{mib} MiB": statistics.median(each) for mib, each in times.items()},
            "rebuild_ms_by_region_size": statistics.median(times[large]) / statistics.median(times[small]),
            "rebuild_ms_by_dirty_pages": statistics.median(each["seconds"] * 1e3 for each in self.more_dirty) /
                                         statistics.median(times[large]),
            "pull_vs_read_rate": statistics.median(ratios),
            "pull_vs_read_rate_all": ratios,
            "pull_pages_per_s": statistics.median(pulled for pulled, _ in self.pulls),
            "read_4096_iops": statistics.median(reads for _, reads in self.pulls),
        }


def measure_rebuilds(t, options):
    rebuilds = Rebuilds(t, options)
    for number in range(options.rounds):
        say(f"round {number + 1} of {options.rounds}: rebuilds, and READs")
        rebuilds.round()
    t.stop_processes()
    return rebuilds.figures()


def fio_mib_per_s(t, home, direct):
    """What fio gets for the baseline's segments, that are not in the page cache."""
    home.forget_cache()
    done = t.run(["fio", "--name=sequential", f"--opendir={home.segments}", "--rw=read", "--bs=1M", "--ioengine=psync",
                  "--file_service_type=sequential", f"--direct={direct}", "--output-format=json"], timeout=300)
    job = json.loads(done.stdout[done.stdout.index("{"):])["jobs"][0]
    return job["read"]["io_bytes"] / (1 << 20) / (job["job_runtime"] / 1e3)


def measure_baseline(t, directory, options):
    """Each load against the better of fio's two ways just before it."""
    home = BaselineHome(t, options.baseline_mib, directory / "store")
    fio = {way: [] for way in kFioWays}
    ours, ratios = [], []
    for number in range(options.rounds):
        say(f"round {number + 1} of {options.rounds}: fio, and a baseline's load")
        for way, direct in kFioWays.items():
            fio[way].append(fio_mib_per_s(t, home, direct))
        ours.append(home.load_mib_per_s(epoch=2 + number))
        ratios.append(ours[-1] / max(rates[-1] for rates in fio.values()))
    t.stop_processes()
    return {
        "baseline_vs_fio": statistics.median(ratios),
        "baseline_vs_fio_all": ratios,
        "baseline_mib_per_s": statistics.median(ours),
        **{f"fio_{way}_mib_per_s_all": rates for way, rates in fio.items()},
    }


def measure_failovers(t, options):
    """From the fault to the client's first answer from the new home; of the manager's record, when the home was switched."""
    failovers = Failovers(t, 64)
    seen = {"management_dead": [], "kill": []}
    for number in range(options.failovers):
        say(f"failovers {number + 1} of {options.failovers}: management dead, and kill -9")
        seen["management_dead"].append(failovers.cut_off())
        seen["kill"].append(failovers.kill())
    t.stop_processes()
    every = {kind: [each["serving_ms"] for each in of_kind] for kind, of_kind in seen.items()}
    return {
        "detect_to_serving_ms": {kind: statistics.median(each) for kind, each in every.items()},
        "detect_to_serving_ms_all": every,
        "detected_ms": {kind: statistics.median(each["detected_ms"] for each in of_kind) for kind, of_kind in seen.items()},
        "switched_ms": {kind: statistics.median(each["switched_ms"] for each in of_kind) for kind, of_kind in seen.items()},
    }


def measure(t, options):
    directory = pathlib.Path(tempfile.mkdtemp(prefix="bench-failover-", dir=options.directory))
    try:
        return (measure_rebuilds(t, options) | measure_baseline(t, directory, options) | measure_failovers(t, options))
    finally:
        t.stop_processes()
        shutil.rmtree(directory, ignore_errors=True)


def report(figures, options):
    print(f"rebuilds with {options.dirty_pages} dirty pages, medians of {options.rounds}; {options.failovers} failovers of each kind")
    for key, value in figures.items():
        each = value.items() if isinstance(value, dict) else [("", value)]
        for name, of_name in each:
            numbers = of_name if isinstance(of_name, list) else [of_name]
            print(f"  {key + ' ' + name:<44}" + " ".join(f"{number:,.2f}" for number in numbers))
    return figures


if __name__ == "__main__":
    bench_main(__file__, "failover", parse_options(), measure, report)
