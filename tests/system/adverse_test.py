#!/usr/bin/python3
# SPDX-License-Identifier: BSD-3-Clause
# lagan-test: hugepages=no builds=release,asan timeout=400
"""Real processes over a bad link: a forwarding process between client and appliance loses, repeats, swaps, delays and corrupts
frames, or cuts the link. Every operation is done right or fails with the right error after the retry limit; nothing hangs."""
import json
import os
import pathlib
import signal
import sys
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "support"))
from harness import Skip, Suite
from lagand_node import LagandNode

suite = Suite(__file__)
kHangs = 120  # seconds that nothing here takes, however slow the machine
kNoAnswer = "no answer"


class Network(LagandNode):
    """lagand, and bad_link in the place of its vhost socket. `disturbance`: bad_link's options, for both directions."""

    def __init__(self, t, **disturbance):
        super().__init__(t, "far", size="192MiB")
        self.start()
        self.behind = t.dir / "behind.vhost"
        self.vhost.rename(self.behind)  # whoever asks lagand where its port is finds the link instead
        options = [f"--{way}-{name.replace('_', '-')}={value}" for name, value in disturbance.items() for way in ("up", "down")]
        self.link = t.start([t.binary("tests/system/bad_link"), "--appliance", self.behind, "--client", self.vhost,
                             "--seed", t.rng.randrange(1 << 32), *options])
        self.link.wait_for("forwarding", 60)

    def bench(self, *arguments, region=("--region-size", "8M")):
        return self.t.start([self.t.binary("client/bench/lagan-bench"), "--appliance", self.socket, "--json", "--verify", *region,
                             "--seed", self.t.rng.randrange(1 << 31), *arguments])

    def run_far(self, *program, options=(), **more):
        return self.t.start([self.t.binary("client/lagan"), "run", "--appliance", self.socket, "--local-memory", "4M",
                             "--region-size", "64M", *options, "--", *program], **more)

    def cut(self):
        self.link.signal(signal.SIGUSR1)

    def mend(self):
        self.link.signal(signal.SIGUSR2)

    def end(self):
        """Ends both; what the link did to frames, by direction."""
        self.t.equal(self.lagand.terminate(), 0, "lagand's exit status")
        self.t.equal(self.link.terminate(), 0, "the link's exit status")
        return json.loads(self.link.text().strip().splitlines()[-1])


def figures_of(process):
    return json.loads(process.text().strip().splitlines()[-1])


def both(counts, name):
    return counts["up"][name] + counts["down"][name]


def told_of(t, stats, counts, drops, counters):
    """The appliance's counters name what the link did."""
    total = stats["total"]
    for name in drops:
        t.true(total["drops"][name] > 0, f"drops.{name} stays 0: {total['drops']}; the link: {counts}")
    for name in counters:
        t.true(total["counters"][name] > 0, f"counters.{name} stays 0: {total['counters']}; the link: {counts}")
    t.true(all(value == 0 for value in total["refusals"].values()), f"refusals of right requests: {total['refusals']}")


def verified_case(name, ops, drops=(), counters=(), **disturbance):
    def case(t):
        network = Network(t, **disturbance)
        bench = network.bench("--mix", "read=50,write=40,free=10", "--qps", 2, "--depth", 16, "--size", "8K", "--align", 512,
                              "--warmup", 0, "--ops", ops)
        bench.expect_exit(0, kHangs)
        t.equal(figures_of(bench)["mismatches"], 0, "wrong data")
        stats = network.stats()
        counts = network.end()
        for kind in ("drop", "duplicate", "reorder", "corrupt"):
            if disturbance.get(kind):
                counted = {"drop": "dropped"}.get(kind, f"{kind}d" if kind.endswith("e") else f"{kind}ed")
                t.true(both(counts, counted) > 0, f"the link {counted} nothing: {counts}")
        told_of(t, stats, counts, drops, counters)
    case.__name__ = name
    return suite.case(case)


def everything(chance):
    return {"drop": chance, "duplicate": chance, "reorder": chance, "corrupt": chance}


verified_case("every_byte_is_right_without_disturbance", 20000)
verified_case("every_byte_is_right_at_a_thousandth", 30000, **everything(0.001), delay_us=100)
verified_case("every_byte_is_right_at_a_hundredth", 10000, ("icrc", "psn_ahead"), ("duplicates",), **everything(0.01),
              delay_us=300)
verified_case("every_byte_is_right_at_a_twentieth", 3000, ("icrc", "psn_ahead"), ("duplicates",), **everything(0.05), delay_us=300)
verified_case("every_byte_is_right_with_delay_alone", 3000, delay_us=5000)


def needs_userfaultfd():
    if os.geteuid() != 0:
        raise Skip("userfaultfd needs root")


def some_text(t, lines):
    path = t.dir / "text"
    path.write_text("".join(f"{t.rng.getrandbits(64):020}\n" for _ in range(lines)))
    return path


def sort_case(name, chance, lines):
    def case(t):
        needs_userfaultfd()
        network = Network(t, **everything(chance), delay_us=100)
        text, env = some_text(t, lines), {"LC_ALL": "C"}
        t.run(["sort", text, "-o", t.dir / "expected"], env=env)
        sort = network.run_far("sort", "-S", "32M", "--parallel=1", text, "-o", t.dir / "sorted", env=env)
        sort.expect_exit(0, kHangs)
        t.true((t.dir / "sorted").read_bytes() == (t.dir / "expected").read_bytes(), "sort's result is another than without Lagan")
        stats = network.stats()["total"]
        t.true(stats["counters"]["pages_stored"] > 500 and stats["counters"]["reads"] > 500, f"the heap was not far: {stats}")
        counts = network.end()
        t.true(both(counts, "dropped") > 0, f"the link lost nothing: {counts}")
    case.__name__ = name
    return suite.case(case)


sort_case("a_sort_is_right_at_a_thousandth", 0.001, 100_000)
sort_case("a_sort_is_right_at_a_hundredth", 0.01, 100_000)
sort_case("a_sort_is_right_at_a_twentieth", 0.05, 100_000)


def last_line(process):
    return process.text().strip().splitlines()[-1]


@suite.case
def nobody_answers(t):
    network = Network(t, drop=1)
    bench = network.bench("--ops", 10)
    bench.expect_exit(3, kHangs)
    t.true("no connection to 10.77.0.1" in last_line(bench), f"why: {last_line(bench)}")
    run = network.run_far("true")
    run.expect_exit(125, kHangs)
    t.true("no connection to 10.77.0.1" in last_line(run), f"why: {last_line(run)}")
    t.equal(network.call("GET", "/v1/regions").body["regions"], [], "regions that were made for the runs")
    network.end()


@suite.case
def the_link_is_cut_under_load(t):
    network = Network(t)
    bench = network.bench("--mix", "read=50,write=40,free=10", "--depth", 16, "--seconds", 1000)
    t.wait_until(lambda: network.stats()["total"]["counters"]["reads"] > 1000, "reads", timeout=60)
    network.cut()
    bench.expect_exit(3, kHangs)
    t.true("connection lost: " in last_line(bench) and kNoAnswer in last_line(bench), f"why: {last_line(bench)}")
    network.mend()
    network.bench("--mix", "read=50,write=50", "--ops", 1000).expect_exit(0, kHangs)  # the next one is served
    network.end()


# lagand's port stays up: it hears of nothing, and has to ask.
@suite.case
def the_link_is_cut_under_a_program(t):
    needs_userfaultfd()
    network = Network(t)
    sort = network.run_far("sort", "-S", "32M", "--parallel=1", some_text(t, 400_000), "-o", t.dir / "sorted", env={"LC_ALL": "C"},
                           options=["--reconnect-seconds", 0])
    t.wait_until(lambda: network.stats()["total"]["counters"]["reads"] > 200, "pages that come back", timeout=60)
    network.cut()
    sort.expect_exit(75, kHangs)
    t.true("the program was killed" in last_line(sort), f"why: {last_line(sort)}")
    t.true(not (t.dir / "sorted").exists() or (t.dir / "sorted").stat().st_size == 0, "a result that cannot be right")
    network.end()


def cut_beyond_the_retries(t, network, client):
    """Cuts the link under load, until the client has noticed (it asks for eight times in 3.6 s) and a while longer; then mends it."""
    words = "the appliance does not answer: "
    told = client.text().count(words)
    network.cut()
    t.wait_until(lambda: client.text().count(words) > told or client.status is not None, "the client notices", timeout=60)
    time.sleep(t.rng.uniform(0, 2))
    network.mend()


@suite.case
def a_long_cut_is_survived_by_a_program(t):
    needs_userfaultfd()
    network = Network(t)
    text, env = some_text(t, 150_000), {"LC_ALL": "C"}
    t.run(["sort", text, "-o", t.dir / "expected"], env=env)
    sort = network.run_far("sort", "-S", "32M", "--parallel=1", text, "-o", t.dir / "sorted", env=env)
    t.wait_until(lambda: network.stats()["total"]["counters"]["reads"] > 200, "pages that come back", timeout=60)
    cut_beyond_the_retries(t, network, sort)
    sort.expect_exit(0, kHangs)
    t.true((t.dir / "sorted").read_bytes() == (t.dir / "expected").read_bytes(), "sort's result is another than without Lagan")
    t.true("reconnection" in last_line(sort), f"the figures: {last_line(sort)}")
    for words in ("the appliance does not answer: ", "the appliance is back after "):
        t.true(words in sort.text(), f"nobody said '{words}': {sort.text()}")
    t.equal(network.call("GET", "/v1/regions").body["regions"], [], "regions that were made for the run")
    network.end()


@suite.case
def long_cuts_are_survived_by_every_byte(t):
    network = Network(t)
    network.call("POST", "/v1/regions", {"name": "kept", "size": "8MiB"})
    bench = network.bench("--mix", "read=45,write=40,free=15", "--qps", 3, "--depth", 16, "--size", "8K", "--align", 512,
                          "--warmup", 0, "--ops", 150_000, "--reconnect-seconds", 60, region=("--region", "kept", "--fill"))
    for _ in range(2):
        before = network.stats()["total"]["counters"]["reads"]
        t.wait_until(lambda: network.stats()["total"]["counters"]["reads"] > before + 3000, "reads", timeout=60)
        cut_beyond_the_retries(t, network, bench)
    bench.expect_exit(0, kHangs)
    t.equal(figures_of(bench)["mismatches"], 0, "wrong data")
    t.true(figures_of(bench)["reconnections"] > 0, f"the connections were never lost: {figures_of(bench)}")
    network.end()


@suite.case
def a_program_can_be_stopped_while_the_appliance_is_away(t):
    needs_userfaultfd()
    network = Network(t)
    sort = network.run_far("sort", "-S", "32M", "--parallel=1", some_text(t, 400_000), "-o", t.dir / "sorted", env={"LC_ALL": "C"},
                           options=["--reconnect-seconds", 1000])
    t.wait_until(lambda: network.stats()["total"]["counters"]["reads"] > 200, "pages that come back", timeout=60)
    network.cut()
    t.wait_until(lambda: "the appliance does not answer: " in sort.text(), "the line about it", timeout=60)
    sort.signal(signal.SIGTERM)
    sort.expect_exit(128 + signal.SIGTERM, 30)  # and not when the time is over that the appliance is waited for
    network.end()


@suite.case
def a_short_cut_is_survived(t):
    network = Network(t)
    bench = network.bench("--mix", "read=50,write=40,free=10", "--depth", 16, "--seconds", 1000)
    t.wait_until(lambda: network.stats()["total"]["counters"]["reads"] > 1000, "reads", timeout=60)
    for _ in range(3):
        network.cut()
        time.sleep(0.3)  # a client gives up after 3.6 s
        network.mend()
        time.sleep(0.3)
    reads = network.stats()["total"]["counters"]["reads"] + 1000
    t.wait_until(lambda: network.stats()["total"]["counters"]["reads"] > reads or bench.status is not None, "it goes on", timeout=60)
    bench.signal(signal.SIGTERM)  # to its end: one of a set length might end before the first cut
    bench.expect_exit(0, kHangs)
    t.equal(figures_of(bench)["mismatches"], 0, "wrong data")
    t.true(both(network.end(), "cut") > 0, "the link was never cut while something was on its way")


if __name__ == "__main__":
    suite.main()
