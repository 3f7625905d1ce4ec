#!/usr/bin/python3
# SPDX-License-Identifier: BSD-3-Clause
# lagan-test: hugepages=no builds=release timeout=180
"""lagan-bench against a real lagand: what it reads back is right and what it prints is complete. Never how fast."""
import json
import pathlib
import signal
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "support"))
from harness import Suite
from link import Link
from node_http import request

suite = Suite(__file__)

kGood, kVerificationFailed, kUsage, kNoConnection = range(4)
kRowKeys = {"ops", "iops", "mb_per_s", "mean_us", "p50_us", "p90_us", "p99_us", "p999_us", "max_us"}
kRunning = r" s  [1-9]\d* operations/s"
kShort = ("--seconds", 0.5, "--warmup", 0.1, "--region-size", "4M")


def regions(link):
    return request(link.socket, "GET", "/v1/regions").body["regions"]


def verified(t, link, *arguments):
    status, figures = link.bench("--verify", "--seed", t.seed, *kShort, *arguments, check=False)
    t.equal((status, figures and figures["mismatches"]), (kGood, 0), f"status and mismatches with {arguments}: {figures}")
    t.true(figures["cells_verified"] > 0, f"something is read with {arguments}")
    t.equal(regions(link), [], "regions that are left")
    return figures


@suite.case
def every_mix_reads_back_what_was_stored(t):
    link = Link(t)
    figures = verified(t, link, "--mix", "read=70,write=25,free=5", "--qps", 4, "--depth", 16)
    for kind in ("read", "write", "free", "all"):
        t.equal(set(figures[kind]), kRowKeys, f"keys of {kind}")
        t.true(figures[kind]["ops"] > 0, f"there are operations of kind {kind}")
        t.true(figures[kind]["p50_us"] <= figures[kind]["p999_us"] <= figures[kind]["max_us"], f"order of {kind}")
    t.equal(sum(figures[kind]["ops"] for kind in ("read", "write", "free")), figures["all"]["ops"], "sum of operations")
    verified(t, link, "--mix", "read=1,write=1,free=1", "--size", "12K", "--align", 512, "--qps", 2, "--depth", 32)
    verified(t, link, "--mix", "read=1,write=3,free=1", "--align", 64, "--pattern", "zipf:1.2", "--depth", 32)
    verified(t, link, "--mix", "read=1,write=1", "--size", 64, "--pattern", "sequential", "--depth", 200)
    verified(t, link, "--mix", "read=1,write=1,free=1", "--size", "1M", "--depth", 4)
    t.equal(link.lagand.terminate(), 0, "exit status of lagand")


@suite.case
def the_asked_number_of_operations_at_the_asked_rate(t):
    link = Link(t)
    _, figures = link.bench("--mix", "read", "--ops", 500, "--rate", 2000, "--depth", 64, "--warmup", 0,
                            "--region-size", "4M")
    t.equal(figures["all"]["ops"], 500, "operations")
    t.true(figures["seconds"] > 0.2, "500 operations at 2000 a second take at least 0.2 s")


@suite.case
def a_region_that_is_there_stays_and_is_only_read(t):
    link = Link(t)
    reply = request(link.socket, "POST", "/v1/regions", {"name": "mine", "size": 4 << 20})
    t.true(reply.status in (200, 201), f"region made: {reply}")
    link.bench("--region", "mine", "--mix", "read", "--ops", 100)
    left = regions(link)
    t.equal([(region["name"], region["present_pages"]) for region in left], [("mine", 0)], "regions afterwards")
    status, _ = link.bench("--region", "mine", "--verify", check=False)
    t.equal(status, kUsage, "exit status of --verify on a region without --fill")


@suite.case
def an_interrupted_run_has_figures_and_leaves_nothing(t):
    link = Link(t)
    bench = t.start(link.command("--json", "--seconds", 600, "--progress", "--mix", "read=1,write=1"), name="bench")
    bench.wait_for(kRunning)
    bench.signal(signal.SIGINT)
    t.equal(bench.wait(), kGood, "exit status after SIGINT")
    figures = json.loads(bench.text().strip().splitlines()[-1])
    t.true(figures["interrupted"] and figures["all"]["ops"] > 0, f"figures so far: {figures}")
    t.equal(regions(link), [], "regions that are left")


@suite.case
def a_client_after_one_that_was_killed(t):
    link = Link(t)
    bench = t.start(link.command("--seconds", 600, "--progress", "--qps", 3, "--depth", 16), name="bench")
    bench.wait_for(kRunning)
    bench.kill()
    for region in regions(link):
        request(link.socket, "DELETE", "/v1/regions/" + region["name"])
    verified(t, link, "--mix", "read=1,write=1,free=1", "--qps", 2, "--depth", 16)


@suite.case
def an_appliance_that_dies_under_load(t):
    link = Link(t)
    bench = t.start(link.command("--json", "--seconds", 600, "--progress", "--depth", 8), name="bench")
    bench.wait_for(kRunning)
    link.lagand.kill()
    t.equal(bench.wait(), kNoConnection, "exit status")
    t.true("connection lost" in bench.text(), "it says so")


@suite.case
def wrong_usage(t):
    for arguments in (("--mix", "erase"), ("--pattern", "zipf:x"), ("--qps", 0), ("--size", "2M"), ("--depth", 9999),
                      ("--size", 100, "--verify"), ("--region", "a", "--region-size", "1M"), ("--nonsense",)):
        done = t.run([t.binary("client/bench/lagan-bench"), *arguments], check=False)
        t.equal(done.status, kUsage, f"exit status with {arguments}")
        t.true(done.stderr.strip() != "", f"words about {arguments}")
    done = t.run([t.binary("client/bench/lagan-bench"), "--appliance", t.dir / "nobody.sock"], check=False)
    t.equal(done.status, kNoConnection, "exit status without an appliance")


if __name__ == "__main__":
    suite.main()
