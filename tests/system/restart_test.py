#!/usr/bin/python3
# SPDX-License-Identifier: BSD-3-Clause
# lagan-test: hugepages=no builds=release,asan timeout=400 beside=yes
"""lagand is killed and started again under its clients: they connect again by themselves and repeat what was not acknowledged,
and every byte is right."""
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
kHangs = 150  # seconds that nothing here takes, however slow the machine


class Node(LagandNode):
    """Started again and again on the same arena."""

    def __init__(self, t):
        super().__init__(t, "far")
        self.start()

    def restart(self, how=signal.SIGKILL):
        """Whatever it was doing."""
        self.lagand.signal(how)
        self.lagand.wait(timeout=60)
        time.sleep(self.t.rng.choice([0, 0, 0.2, 1]))
        self.start()

    def end(self):
        self.t.equal(self.regions(), [], "regions that were made for the runs")
        self.t.equal(self.lagand.terminate(), 0, "lagand's exit status")


def needs_userfaultfd():
    if os.geteuid() != 0:
        raise Skip("userfaultfd needs root")


def run_far(t, node, *program, local="4M", options=(), **more):
    needs_userfaultfd()
    return t.start([t.binary("client/lagan"), "run", "--appliance", node.socket, "--local-memory", local, "--region-size", "96M",
                    "--stats-file", t.dir / "stats.json", *options, "--", *program], **more)


def at_work(node, process, pages):
    """Waits until the appliance has served so many pages since it started, or the program has ended."""
    def enough():
        counters = node.counters()
        return process.status is not None or counters["pages_stored"] + counters["reads"] > pages
    node.t.wait_until(enough, f"{pages} pages stored or read", timeout=60)


def kill_under(node, process, times):
    """Restarts lagand while the process runs, so many times at most; returns how often."""
    for count in range(times):
        at_work(node, process, node.t.rng.randrange(100, 2500))
        time.sleep(node.t.rng.uniform(0, 0.02))
        if process.status is not None:
            return count
        node.restart()
    return times


def rode_through(t, process, killed):
    """The program ended well, and there were reconnections."""
    process.expect_exit(0, kHangs)
    last = process.text().strip().splitlines()[-1]
    figures = json.loads((t.dir / "stats.json").read_text())
    t.true(killed > 0, "lagand was never killed while the program ran")
    t.true("reconnection" in last and figures["reconnections"] >= killed, f"killed {killed} times; {last}")


def text_to_sort(t, lines):
    path = t.dir / "text"
    path.write_text("".join(f"{t.rng.getrandbits(64):020}\n" for _ in range(lines)))
    t.run(["sort", path, "-o", t.dir / "expected"], env={"LC_ALL": "C"})
    return path


def far_sort(t, node, text, **more):
    return run_far(t, node, "sort", "-S", "32M", "--parallel=1", text, "-o", t.dir / "sorted", env={"LC_ALL": "C"}, **more)


def is_sorted(t):
    return (t.dir / "sorted").read_bytes() == (t.dir / "expected").read_bytes()


@suite.case
def a_sort_rides_through_kills(t):
    text = text_to_sort(t, 200_000)
    node = Node(t)
    sort = far_sort(t, node, text)
    rode_through(t, sort, kill_under(node, sort, 20 if t.long else 5))
    t.true(is_sorted(t), "sort's result is another than without Lagan")
    node.end()


@suite.case
def a_sort_rides_through_an_orderly_restart(t):
    text = text_to_sort(t, 200_000)
    node = Node(t)
    sort = far_sort(t, node, text)
    at_work(node, sort, 1000)
    node.restart(signal.SIGTERM)
    rode_through(t, sort, 1)
    t.true(is_sorted(t), "sort's result is another than without Lagan")
    node.end()


def workload_case(mode, mib, times):
    def case(t):
        node = Node(t)
        program = run_far(t, node, t.binary("tests/system/paging_workload"), mode, mib)
        rode_through(t, program, kill_under(node, program, times))
        node.end()
    case.__name__ = f"every_byte_of_{mode}_is_right"
    return suite.case(case)


workload_case("random", 32, 4)
workload_case("threads", 32, 4)
workload_case("exec", 32, 8)  # the pages of the first image are freed, and the second one's go on


@suite.case
def every_operation_that_was_acknowledged_is_there(t):
    node = Node(t)
    kills = 40 if t.long else 6
    bench = t.start([t.binary("client/bench/lagan-bench"), "--appliance", node.socket, "--json", "--verify", "--region-size", "16M",
                     "--mix", "read=40,write=40,free=20", "--size", "8K", "--align", 512, "--depth", 16, "--qps", 3, "--warmup", 0,
                     "--seed", t.rng.randrange(1 << 31), "--seconds", 1000, "--reconnect-seconds", 100])
    killed = kill_under(node, bench, kills)
    at_work(node, bench, 500)
    bench.signal(signal.SIGTERM)  # to its end, with the figures so far
    bench.expect_exit(0, kHangs)
    figures = json.loads(bench.text().strip().splitlines()[-1])
    t.equal(figures["mismatches"], 0, f"wrong data: {bench.text()[-2000:]}")
    t.true(killed == kills and figures["reconnections"] >= kills, f"killed {killed} times: {figures}")
    node.end()


@suite.case
def a_program_on_liblagan_rides_through_kills(t):
    node = Node(t)
    t.equal(node.call("POST", "/v1/regions", {"name": "own", "size": "1MiB"}).status, 201, "a region")
    held, hold = os.pipe()
    program = t.start([t.binary("tests/system/far_restart"), node.socket, "own"], stdin=held)
    killed = kill_under(node, program, 4)
    at_work(node, program, 500)
    os.close(hold)
    os.close(held)
    program.expect_exit(0, kHangs)
    t.true(killed == 4 and "all right after" in program.text(), f"killed {killed} times; {program.text()}")
    t.equal(node.regions()[0]["connections"], 0, "connections")


@suite.case
def the_port_stays_with_its_client(t):
    text = text_to_sort(t, 200_000)
    node = Node(t)
    sort = far_sort(t, node, text)
    at_work(node, sort, 1000)
    sort.signal(signal.SIGSTOP)  # it comes back late
    node.restart()
    other = t.run([t.binary("client/bench/lagan-bench"), "--appliance", node.socket, "--ops", 1], check=False, timeout=60)
    sort.signal(signal.SIGCONT)
    t.true(other.status == 3 and "no free port" in other.stderr, f"another client: {other}")
    rode_through(t, sort, 1)
    t.true(is_sorted(t), "sort's result is another than without Lagan")
    node.end()


@suite.case
def a_region_that_is_gone_ends_the_run_at_once(t):
    text = text_to_sort(t, 200_000)
    node = Node(t)
    sort = far_sort(t, node, text, options=["--reconnect-seconds", 100_000])
    at_work(node, sort, 1000)
    node.lagand.kill()
    node.start("--empty-arena")
    sort.expect_exit(75, kHangs)
    t.true("there is no region" in sort.text() and "stays at the appliance" not in sort.text(), f"why: {sort.text()[-500:]}")
    node.end()


@suite.case
def an_appliance_that_stays_away_is_given_up(t):
    text = text_to_sort(t, 200_000)
    node = Node(t)
    sort = far_sort(t, node, text, options=["--reconnect-seconds", 2])
    at_work(node, sort, 1000)
    node.lagand.kill()
    sort.expect_exit(75, kHangs)
    t.true("given up after" in sort.text() and "the program was killed" in sort.text(), f"why: {sort.text()[-500:]}")


@suite.case
def a_program_that_needs_nothing_far_is_left_alone(t):
    node = Node(t)
    fifo = t.dir / "fifo"
    os.mkfifo(fifo)
    idle = run_far(t, node, "head", "-c", "1", fifo, options=["--reconnect-seconds", 1])
    t.wait_until(lambda: node.regions() and node.regions()[0]["connections"] == 1, "its connection", timeout=60)
    node.lagand.kill()
    time.sleep(3)
    t.equal(idle.status, None, "its status while nobody is there")
    node.start()
    end = os.open(fifo, os.O_RDWR)  # which waits for no reader
    os.write(end, b"x")
    idle.expect_exit(0, kHangs)
    os.close(end)
    node.end()


if __name__ == "__main__":
    suite.main()
