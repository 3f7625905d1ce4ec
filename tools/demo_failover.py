#!/usr/bin/python3
# SPDX-License-Identifier: BSD-3-Clause
"""The demo's second act, called by tools/demo: two appliances, a manager, and a Redis whose memory lives on the first of them,
which is killed. All of it runs in namespaces of its own, that the kernel clears away however this ends."""

import argparse
import json
import os
import pathlib
import signal
import sys
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "tests/support"))
from demo_redis import Connection, Data, Traffic, kServer
from demo_run import die, kEnds, say, step
from errors import Failure, Skip
from harness import Context
from mgmtd import Appliances, Mgmtd
from namespaces import run_inside

kRegion = "redis"
kRegionMib = 192
kLocalMib = 16
kPatience = 120  # seconds, that nothing here takes


class Stage:
    """Appliances a and b, the manager, and Redis under `lagan run` with its memory in a region at a."""

    def __init__(self, t, keys):
        self.t = t
        step("starting two appliances, and a manager with its directory")
        self.nodes = Appliances(t, "ab", size=f"{kRegionMib * 3 // 2}MiB").start()
        # As long as it takes whoever watches over lagand to start a rescue.
        self.manager = Mgmtd(t, more="[failover]\nrescue_wait_ms = 30000").start()
        self.nodes.register(self.manager)
        self.manager.good("POST", "/v1/regions", {"name": kRegion, "size": kRegionMib << 20, "node": "a"})
        t.wait_until(lambda: self.nodes["a"].lease(kRegion) == "valid", "appliance a serves the region", kPatience)
        step("starting Redis with its memory on appliance a")
        self.stats_file = t.dir / "stats.json"
        self.redis = self.start_redis()
        self.data = Data(t.dir / "redis.sock", keys)

    def start_redis(self):
        t = self.t
        server, token = t.dir / "redis-server", t.dir / "token"
        server.symlink_to(kServer)
        token.touch(mode=0o600)
        token.write_text(self.manager.token("admin"))
        redis = t.start([t.binary("client/lagan"), "run", "--manager", f"unix:{self.manager.socket}", "--token-file", token,
                         "--region", kRegion, "--interface", self.nodes.interface(f"lmr{os.getpid() % 100000}"),
                         "--local-address", "10.79.0.9/24", "--local-memory", f"{kLocalMib}M", "--stats-file", self.stats_file,
                         "--", server, "--port", "0", "--unixsocket", t.dir / "redis.sock", "--save", "", "--appendonly", "no"],
                        cwd=t.dir, name="redis")
        redis.wait_for("ready to accept connections", kPatience)
        return redis

    def checkpoint(self):
        target = f"/v1/regions/{kRegion}/checkpoint"
        self.manager.good("POST", target)
        self.t.wait_until(lambda: self.manager.good("GET", target)["state"] == "done", "the checkpoint", kPatience)
        return self.manager.good("GET", target)

    def ended_failover(self):
        every = self.manager.failovers(kRegion)
        return every[-1] if every and every[-1]["ended"] else None

    def end_redis(self):
        """Its figures, as `lagan run` gives them."""
        try:
            Connection(self.data.path).call(b"SHUTDOWN", b"NOSAVE")
        except ConnectionError:
            pass  # as it should be
        self.redis.expect_exit(0, kPatience)
        return json.loads(self.stats_file.read_text())


def load(stage):
    data, keys = stage.data, len(stage.data.versions)
    data.store(range(keys))
    region = stage.nodes["a"].region(kRegion)
    say(f"{keys} keys of 1 KiB; Redis has {kLocalMib} MiB of this machine's memory, {region['present_pages'] * 4 >> 10} MiB are on "
        "the appliance")
    step("a checkpoint into the directory that both appliances share")
    checkpoint = stage.checkpoint()
    say(f"{checkpoint['pages']} pages, {checkpoint['stored_bytes'] >> 20} MiB, in {checkpoint['seconds']:.2f} s")
    step("storing a third of the keys again, after the checkpoint")
    data.store(range(keys // 3))
    region = stage.nodes["a"].region(kRegion)
    say(f"{region['dirty_pages']} pages differ from the checkpoint")


def kill(stage):
    """kill -9 of appliance a under traffic. When it was killed, when there was a rescue, the failover, the traffic."""
    traffic = Traffic(stage.data, len(stage.data.versions) // 3, seed=1)
    traffic.start()
    time.sleep(1.5)
    step("kill -9 of appliance a, while a client reads and stores")
    killed = time.time()
    stage.nodes["a"].lagand.kill()
    stage.nodes["a"].rescue()
    rescued = time.time()
    failover = stage.t.wait_until(stage.ended_failover, "the failover's end", kPatience)
    time.sleep(1.5)  # the client goes on at b
    traffic.end()
    if traffic.error or traffic.wrong:
        die(f"the client saw {traffic.wrong} wrong values, and: {traffic.error}")
    return killed, rescued, failover, traffic


def show_timeline(killed, rescued, failover, traffic):
    times = {each["step"]: each["ms"] / 1e3 for each in failover["times"]}
    progress = failover["progress"]
    paused, answered = traffic.longest(killed)
    lines = [
        (killed, "killed: appliance a"),
        (rescued, "lagand --rescue gives its memory away, as a supervisor would start it"),
        (times["detected"], "detected: the manager puts the failover on record"),
        (times["fencing"], "ordered: appliance b fences a, and reads the list of its dirty pages"),
        (times["fencing"] + progress["first_page_ms"] / 1e3, f"first page is at b, {progress['first_page_ms']:.0f} ms after the order"),
        (times["rebuilding"], "fenced: the manager has it on record that nothing can be stored at a any more"),
        (times["switched"], f"switched: b is the region's home, epoch {failover['epoch']}"),
        (times["done"], f"rebuilt: {progress['pages_pulled']} pages pulled, {progress['pages_from_baseline']} from the checkpoint"),
        (answered, f"Redis answered again; that request took {answered - paused:.2f} s, and no error"),
    ]
    step("the timeline, in seconds")
    for at, text in sorted(lines):
        say(f"{at - killed:6.3f}  {text}")


def check(stage, failover, traffic):
    record = stage.manager.region(kRegion)
    if (record["node"], record["rolled_back"], failover["step"]) != ("b", None, "done"):
        die(f"the region is not whole at appliance b: {record}, {failover}")
    step("reading every key")
    wrong, count = stage.data.wrong()
    if wrong or count != len(stage.data.versions):
        die(f"{len(wrong)} keys do not hold what Redis has acknowledged, and it has {count} keys")
    say(f"{count} keys hold what Redis has acknowledged; the client had {len(traffic.answers)} answers, all right")
    figures = stage.end_redis()
    if figures["reconnections"] < 1:
        die("lagan run did not connect again: was the appliance killed?")
    if figures["peak_local_bytes"] > (kLocalMib + 8) << 20:
        die(f"Redis's local memory reached {figures['peak_local_bytes']} bytes")
    say(f"Redis had {figures['peak_local_bytes'] / (1 << 20):.1f} MiB local at most; {figures['pages_read']} pages read, "
        f"{figures['pages_stored']} stored")
    for name, node in stage.nodes.nodes.items():
        if node.lagand.terminate() != 0:
            die(f"appliance {name} ended with an error:\n{node.lagand.text()}")


def act(t, keys):
    stage = Stage(t, keys)
    load(stage)
    killed, rescued, failover, traffic = kill(stage)
    show_timeline(killed, rescued, failover, traffic)
    check(stage, failover, traffic)
    step("all has stopped; nothing was lost")


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--keys", type=int, default=80_000)
    parser.add_argument("--inside", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    for number in kEnds:
        signal.signal(number, lambda number, _: sys.exit(128 + number))
    if not options.inside:
        run_inside(__file__)
    t = Context(None, "demo", seed=1)
    try:
        act(t, options.keys)
    except Skip as skip:
        die(f"this machine cannot have two appliances on one network ({skip}); ./tools/demo --act 1 needs none")
    except Failure as failure:
        t.show_logs()
        die(str(failure))
    finally:
        for number in kEnds:
            signal.signal(number, signal.SIG_IGN)
        t.remove(keep=False)


if __name__ == "__main__":
    main()
