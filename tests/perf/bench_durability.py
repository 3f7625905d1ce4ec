#!/usr/bin/python3
# SPDX-License-Identifier: BSD-3-Clause
"""What durability costs: dirty marks on the WRITE path, checkpoints beside fio and beside reads, and warm restarts.

Everything but marks and restarts runs with a real lagand and lagan-bench over the local port (vhost), and with a
baseline in a directory of --directory's file system.
"""
import argparse
import json
import os
import pathlib
import shutil
import signal
import statistics
import sys
import tempfile

kSupport = pathlib.Path(__file__).resolve().parents[1] / "support"
sys.path.insert(0, str(kSupport))
from bench_script import bench_main
from link import Link
from node_http import request

kRegion = "bench"
kAttempts = 5  # to have operations during a checkpoint
# fio's ways to write a file in sequence and sync it: through the page cache, and past it.
kFioWays = {"buffered": 0, "direct": 1}


def parse_options():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true", help="end with one JSON object")
    parser.add_argument("--rounds", type=int, default=5, help="of each comparison, whose median counts (default 5)")
    parser.add_argument("--region-mib", type=int, default=1024, help="what a checkpoint writes (default 1024)")
    parser.add_argument("--batches", type=int, default=2000, help="of WRITEs with and without marks (default 2000)")
    parser.add_argument("--arena-mib", type=int, nargs="+", default=[256, 512, 1024, 2048],
                        help="arenas of warm restarts (default 256 512 1024 2048)")
    parser.add_argument("--directory", type=pathlib.Path, default=pathlib.Path(os.environ.get("LAGAN_BUILD_DIR", "/var/tmp")),
                        help="the store and fio's file go into a new directory here (default: the build's)")
    parser.add_argument("--bandwidth", help="limit of a checkpoint's rate, such as 64MiB (default: none)")
    parser.add_argument("--inside", action="store_true", help=argparse.SUPPRESS)
    return parser.parse_args()


def say(text):
    print(text, file=sys.stderr, flush=True)


def program(t, name, *arguments):
    """Runs a benchmark of this folder; its JSON object. What it prints for people goes on."""
    say(f"{name} {' '.join(map(str, arguments))}")
    lines = t.run([t.binary(f"tests/perf/{name}"), "--json", *arguments], timeout=600).stdout.strip().splitlines()
    print("\n".join(lines[:-1]), flush=True)
    return json.loads(lines[-1])


def fio_mib_per_s(t, directory, mib, direct):
    """What fio gets for one file, written in sequence and synced, as large as a checkpoint."""
    file = directory / "fio"
    done = t.run(["fio", "--name=sequential", f"--filename={file}", "--rw=write", "--bs=4M", f"--size={mib}M",
                  "--ioengine=psync", f"--direct={direct}", "--end_fsync=1", "--output-format=json"], timeout=300)
    file.unlink()
    job = json.loads(done.stdout[done.stdout.index("{"):])["jobs"][0]
    return mib / (job["job_runtime"] / 1e3)  # the sync is part of it


class Checkpoints:
    """An appliance with one region, and its checkpoints."""

    def __init__(self, t, directory, mib, bandwidth):
        self.t, self.mib = t, mib
        baseline = {"store": directory / "store"} | ({"bandwidth": bandwidth} if bandwidth else {})
        # A sixteenth of the frames is kept for checkpoints, some more for what is on its way.
        self.link = Link(t, memory=f"{mib * 5 // 4 + 128}MiB", baseline=baseline)
        self.call("POST", "/v1/regions", {"name": kRegion, "size": mib << 20})

    def call(self, method, target, body=None):
        reply = request(self.link.socket, method, target, body, timeout=60)
        self.t.true(reply.status < 300, f"{method} {target}: {reply}")
        return reply.body

    def state(self):
        return self.call("GET", f"/v1/regions/{kRegion}/checkpoint")

    def store_all(self):
        self.link.bench("--region", kRegion, "--fill", "--mix", "read", "--ops", 1, "--depth", 32, timeout=300)

    def start(self):
        self.call("POST", f"/v1/regions/{kRegion}/checkpoint")

    def wait(self):
        self.t.wait_until(lambda: self.state()["state"] not in ("waiting", "running"), "the checkpoint's end", 300)
        state = self.state()
        self.t.equal(state["state"], "done", f"checkpoint: {state}")
        return state

    def mib_per_s(self):
        """Of a checkpoint of all pages, from its start to the committed manifest."""
        self.store_all()
        self.start()
        state = self.wait()
        self.t.equal(state["bytes_written"], self.mib << 20, "bytes that the checkpoint wrote")
        return state["bytes_written"] / state["seconds"] / (1 << 20)

    def alone(self, mix, seconds):
        return self.link.bench("--region", kRegion, "--mix", mix, "--seconds", seconds, "--warmup", 0.2)[1][mix]

    def beside_checkpoint(self, mix):
        """lagan-bench's figures while one checkpoint of all pages runs: it begins after the checkpoint and ends with it."""
        self.store_all()
        self.start()
        bench = self.t.start(self.link.command("--json", "--region", kRegion, "--mix", mix, "--seconds", 600,
                                               "--warmup", 0), name="bench")
        self.wait()
        bench.signal(signal.SIGINT)
        bench.expect_exit()
        last = bench.text().strip().splitlines()[-1]
        figures = json.loads(last)
        return {**figures[mix], "seconds": figures["seconds"]} if mix in figures else None


def measure_store(checkpoints, directory, options):
    """Checkpoints and fio in turn: each checkpoint against the better of fio's two ways just before it."""
    fio = {way: [] for way in kFioWays}
    ours, ratios = [], []
    for round_number in range(options.rounds):
        say(f"round {round_number + 1} of {options.rounds}: fio and a checkpoint")
        for way, direct in kFioWays.items():
            fio[way].append(fio_mib_per_s(checkpoints.t, directory, options.region_mib, direct))
        ours.append(checkpoints.mib_per_s())
        ratios.append(ours[-1] / max(rates[-1] for rates in fio.values()))
    return {
        "checkpoint_vs_fio": statistics.median(ratios),
        "checkpoint_vs_fio_all": ratios,
        "checkpoint_mib_per_s": statistics.median(ours),
        "checkpoint_mib_per_s_all": ours,
        **{f"fio_{way}_mib_per_s_all": rates for way, rates in fio.items()},
    }


def measure_load(checkpoints, options):
    """Reads, and stores, with and without a checkpoint in turn. A busy machine may start lagan-bench so late that the
    checkpoint is over before the first operation: then there is another round of that kind."""
    ratios = {"read": [], "write": []}
    seconds = 0.0
    for round_number in range(options.rounds):
        for mix, figure in (("read", "p50_us"), ("write", "iops")):
            say(f"round {round_number + 1} of {options.rounds}: {mix}s with and without a checkpoint")
            attempts = (checkpoints.beside_checkpoint(mix) for _ in range(kAttempts))
            beside = next((figures for figures in attempts if figures), None)
            checkpoints.t.true(beside, f"no {mix} came during {kAttempts} checkpoints: make them longer (--region-mib)")
            alone = checkpoints.alone(mix, min(2, max(0.3, beside["seconds"])))
            seconds += beside["seconds"]
            ratios[mix].append((beside[figure] / alone[figure], beside[figure], alone[figure]))
    reads, writes = sorted(ratios["read"]), sorted(ratios["write"])
    return {
        "read_p50_during_checkpoint_ratio": statistics.median(one[0] for one in reads),
        "read_p50_during_checkpoint_us": statistics.median(one[1] for one in reads),
        "read_p50_us": statistics.median(one[2] for one in reads),
        "read_p50_during_checkpoint_ratio_all": [one[0] for one in reads],
        "write_rate_during_checkpoint_ratio": statistics.median(one[0] for one in writes),
        "seconds_under_load": seconds,
    }


def measure(t, options):
    figures = program(t, "bench_dirty_marking", "--batches", options.batches)
    figures |= program(t, "bench_restart", "--arena-mib", *options.arena_mib)
    directory = pathlib.Path(tempfile.mkdtemp(prefix="bench-durability-", dir=options.directory))
    try:
        checkpoints = Checkpoints(t, directory, options.region_mib, options.bandwidth)
        figures |= measure_store(checkpoints, directory, options)
        figures |= measure_load(checkpoints, options)
        t.equal(checkpoints.link.lagand.terminate(), 0, "exit status of lagand")
    finally:
        t.stop_processes()
        shutil.rmtree(directory, ignore_errors=True)
    return figures


def report(figures, options):
    print(f"checkpoints of {options.region_mib} MiB into {options.directory}, median of {options.rounds}")
    for key, value in figures.items():
        if isinstance(value, (int, float)):
            print(f"  {key:<42}{value:>12,.3f}")
        elif isinstance(value, list) and value and isinstance(value[0], float):
            print(f"  {key:<42}{' '.join(f'{one:,.2f}' for one in value):>12}")
    return figures


if __name__ == "__main__":
    bench_main(__file__, "durability", parse_options(), measure, report)
