#!/usr/bin/python3
# SPDX-License-Identifier: BSD-3-Clause
# lagan-test: hugepages=no builds=release timeout=400 beside=yes
"""Networks that fall apart, between each two parties of a cluster: who freezes, who serves, what clients see, and what happens when
the network is whole again. Also what else takes real processes to see: an appliance that hangs in part, orders that cross, a new home
that dies half-way, regions that no manager knows."""
import ctypes
import json
import os
import pathlib
import signal
import sys
import threading
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "support"))
from cluster import Cluster, kPatience
from harness import Suite
from watcher import Watcher

suite = Suite(__file__)
kPages = 1024
kSlow = "2mbit"  # at which the pages that are dirty take seconds
kSeize, kInterrupt, kDetach = 0x4206, 0x4207, 17  # ptrace(2)


class Divided:
    """Region "r" with a client that never pauses; two managers on an etcd of three members."""

    def __init__(self, session):
        self.cluster = Cluster(session, managers=2, members=3, clients=("r", "bench", "run"))
        self.network = self.cluster.network
        self.cluster.create("r", kPages * 4096, "a")
        self.watcher = Watcher(session, self.cluster.nodes.values())
        self.client = self.cluster.client("r")
        self.t = session
        self.record = self.rolled_back = self.failovers = None

    def begin(self, t):
        """The region is at rest, and everything of it has been read. Notes how things are."""
        self.t = t
        self.network.heal_all()
        for node in self.cluster.nodes.values():
            if not node.runs():
                node.begin()
        self.served("r")
        t.wait_until(lambda: [len(node.regions()) for node in self.cluster.nodes.values()] == [1 if self.is_home(node) else 0
                     for node in self.cluster.nodes.values()], "nothing but the region is anywhere", kPatience)
        self.checkpoint()
        self.client.ask("quiet")
        self.client.ask("load")
        self.record = self.region()
        self.rolled_back = self.told()
        self.failovers = self.ids()
        return self

    def is_home(self, node):
        return self.region()["node"] == node.name

    def checkpoint(self):
        self.t.wait_until(lambda: self.cluster.leader().call("POST", "/v1/regions/r/checkpoint").status == 202, "a checkpoint", kPatience)
        self.t.wait_until(lambda: self.cluster.leader().good("GET", "/v1/regions/r/checkpoint")["state"] == "done", "its end", kPatience)

    def region(self, name="r"):
        return self.cluster.leader().region(name)

    def ids(self):
        return {failover["id"] for failover in self.cluster.leader().failovers("r")}

    def new_failovers(self):
        """Without those that were cancelled since the home was heard again: a machine that stands still for 600 ms makes one."""
        return [failover for failover in self.cluster.leader().failovers("r")
                if failover["id"] not in self.failovers and failover["step"] != "cancelled"]

    def told(self):
        return len(self.client.said("rolled_back"))

    @property
    def home(self):
        return self.cluster.nodes[self.record["node"]]

    @property
    def others(self):
        return [node for node in self.cluster.nodes.values() if node is not self.home]

    def cut(self, x, *others):
        for y in others:
            self.network.cut(x.host, y if isinstance(y, str) else y.host)

    def served(self, name="r"):
        """Waits for its home, and returns its record."""
        def ready():
            record = self.region(name)
            if record["state"] != "ready" or record["failover"] or self.cluster.nodes[record["node"]].lease(name) != "valid":
                return None
            return record
        return self.t.wait_until(ready, f"{name} is served", kPatience, 0.05)

    def served_elsewhere(self, name, home):
        self.t.wait_until(lambda: self.region(name)["node"] != home.name, f"a new home for {name}", kPatience)
        return self.served(name)

    def moved(self):
        self.t.wait_until(lambda: self.region()["epoch"] > self.record["epoch"], "a new home", kPatience)
        return self.served()

    def order(self, target, path="/v1/failovers"):
        return self.cluster.leader().good("POST", path, {"region": "r", "target": target.name})["id"]

    def failover(self, one):
        return self.cluster.leader().good("GET", f"/v1/failovers/{one}")

    def step(self, one, *steps):
        return self.t.wait_until(lambda: (found := self.failover(one))["step"] in steps and found, f"{one} is {steps}", kPatience)

    def slow(self, node, other):
        """Enough is dirty, and what node sends to other takes its time. Returns what ends that."""
        self.t.wait_until(lambda: node.region("r")["dirty_pages"] > 300, "dirty pages", kPatience)
        port = self.network.port(node.host, other.host)
        command = self.network.argv(node.host, ["tc", "qdisc", "replace", "dev", port, "root", "tbf", "rate", kSlow, "burst", "32kb",
                                                "latency", "400ms"])
        self.t.run(command)
        return lambda: self.t.run(self.network.argv(node.host, ["tc", "qdisc", "del", "dev", port, "root"]))

    def end(self, rolled_back=0, epoch=None):
        """Whole again: nothing was lost but what was said to be, and no two ever served."""
        self.network.heal_all()
        record = self.served()
        if epoch is not None:
            self.t.equal(record["epoch"], epoch, f"its epoch: {record}")
        self.client.ask("quiet")
        self.client.ask("load")
        self.t.equal(self.told() - self.rolled_back, rolled_back, f"roll-backs that its client was told of: {record}")
        self.t.equal((record["rolled_back"] or {"epoch": 0})["epoch"] > self.record["epoch"], rolled_back > 0, f"in the API: {record}")
        self.t.equal(self.watcher.wrong, [], "two homes")
        return record


@suite.shared
def shared(session):
    return Divided(session)


def stays(t, seconds, condition, what):
    """What is wrong after a pause of the machine's, when a lease may have ended, has a second to be right again."""
    last = time.monotonic()
    end = last + seconds
    while last < end:
        good, now = condition(), time.monotonic()
        if not good:
            t.true(now - last > 0.3, what)
            t.wait_until(condition, f"{what}, after a pause of {now - last:.1f} s", 1)
        last = time.monotonic()
        time.sleep(0.05)


# ---- Partitions ----

@suite.case
def a_client_that_cannot_reach_its_home_waits(t):
    d = t.shared.begin(t)
    d.network.cut("k-r", d.home.host)
    time.sleep(0.3)  # what was on its way
    stored = d.home.counters()["pages_stored"]
    stays(t, 1.5, lambda: d.home.lease("r") == "valid", "the home's lease")
    t.equal(d.home.counters()["pages_stored"], stored, "pages stored meanwhile")
    d.end(epoch=d.record["epoch"])
    t.equal(d.new_failovers(), [], "failovers: the region is well")


@suite.case
def managers_need_not_reach_each_other(t):
    d = t.shared.begin(t)
    leader = d.cluster.leader()
    d.network.cut("m1", "m2")
    stays(t, 1.5, lambda: d.home.lease("r") == "valid" and leader.leads(), "the home's lease")
    d.end(epoch=d.record["epoch"])
    t.equal(d.new_failovers(), [], "failovers")


@suite.case
def a_home_that_its_manager_cannot_reach_is_fenced_by_another(t):
    d = t.shared.begin(t)
    d.cut(d.home, d.cluster.leader())
    record = d.moved()
    t.true(record["node"] != d.home.name, f"its new home: {record}")
    failover = d.new_failovers()[-1]
    t.equal((failover["step"], failover["source_kind"], failover["lease_over_by"]), ("done", "live", "fence"), f"{failover}")
    t.equal(d.home.lease("r"), "fenced", "the old home's lease")
    d.end(rolled_back=0)
    t.wait_until(lambda: d.home.lease("r") is None, "the stale copy is deleted", kPatience)


@suite.case
def a_home_that_only_its_client_reaches_freezes_before_another_serves(t):
    d = t.shared.begin(t)
    d.cut(d.home, *d.cluster.managers, *d.others)
    record = d.moved()
    t.equal(record["rolled_back"]["epoch"], record["epoch"], f"rolled back: {record}")
    failover = d.new_failovers()[-1]
    t.equal((failover["step"], failover["source_kind"], failover["lease_over_by"]), ("rolled_back", "none", "expiry"), f"{failover}")
    t.equal(d.home.lease("r"), "expired", "the old home's lease")
    t.true(d.home.stats()["total"]["drops"]["frozen"] > 0, "its client asked it still")
    d.end(rolled_back=1)
    t.wait_until(lambda: d.home.lease("r") is None, "the stale copy is deleted", kPatience)


@suite.case
def a_leader_without_its_directory_is_followed_by_another(t):
    d = t.shared.begin(t)
    leader = d.cluster.leader()
    d.cut(leader, *d.cluster.etcd.names)
    t.wait_until(lambda: (now := d.cluster.leader_now()) and now is not leader, "another leads", kPatience)
    d.end(epoch=d.record["epoch"])
    t.equal(d.new_failovers(), [], "failovers because of that")
    t.true(not leader.leads(), "the old leader leads")


@suite.case
def one_member_of_etcd_is_not_missed(t):
    d = t.shared.begin(t)
    leader, member = d.cluster.leader(), d.cluster.etcd.leader()
    d.cut(leader, member)
    stays(t, 1.5, lambda: d.home.lease("r") == "valid", "the home's lease")
    d.end(epoch=d.record["epoch"])
    t.equal(d.new_failovers(), [], "failovers because of that")


@suite.case
def without_any_directory_regions_freeze_and_nothing_is_lost(t):
    d = t.shared.begin(t)
    for manager in d.cluster.managers.values():
        d.cut(manager, *d.cluster.etcd.names)
    t.wait_until(lambda: d.home.lease("r") == "expired", "the lease ends", kPatience)
    t.equal(d.cluster.managers["m1"].call("GET", "/v1/regions/r/home").status, 503, "its home")
    stored = d.home.counters()["pages_stored"]
    stays(t, 0.5, lambda: d.home.lease("r") == "expired", "nobody renews it")
    t.equal(d.home.counters()["pages_stored"], stored, "pages stored meanwhile")
    d.network.heal_all()
    d.end(epoch=d.record["epoch"])
    t.equal(d.new_failovers(), [], "failovers because of that")


@suite.case
def a_home_and_a_target_that_cannot_reach_each_other(t):
    d = t.shared.begin(t)
    target = d.others[0]
    d.cut(d.home, target)
    one = d.order(target)
    t.equal(d.step(one, "failed", "done", "rolled_back", "cancelled")["step"], "failed", f"{d.failover(one)}")
    t.wait_until(lambda: "no connection" in (d.failover(one)["problem"] or ""), f"it says why: {d.failover(one)}")
    d.end(epoch=d.record["epoch"])


@suite.case
def a_source_that_its_target_loses_half_way_is_waited_for(t):
    d = t.shared.begin(t)
    target = d.others[0]
    at_full_speed = d.slow(d.home, target)
    one = d.order(target)
    d.step(one, "switched")
    d.cut(d.home, target)
    t.wait_until(lambda: target.get("/v1/rebuilds/r")["state"] == "source_lost", "the source is lost", kPatience)
    at_full_speed()
    d.network.heal_all()
    t.equal(d.step(one, "done", "rolled_back")["step"], "done", "the failover's end")
    t.equal(d.end()["node"], target.name, "its home")


@suite.case
def a_target_that_its_manager_loses_half_way_goes_on(t):
    d = t.shared.begin(t)
    target, leader = d.others[0], d.cluster.leader()
    at_full_speed = d.slow(d.home, target)
    one = d.order(target)
    d.step(one, "switched")
    d.cut(leader, target)
    t.wait_until(lambda: target.lease("r") == "expired", "without a manager it freezes", kPatience)
    at_full_speed()
    d.network.heal_all()
    t.equal(d.step(one, "done", "rolled_back")["step"], "done", "the failover's end")
    t.equal(d.end()["node"], target.name, "its home")


@suite.case
def a_target_that_is_killed_half_way_goes_on_when_it_is_back(t):
    d = t.shared.begin(t)
    target = d.others[1]
    at_full_speed = d.slow(d.home, target)
    one = d.order(target)
    d.step(one, "switched")
    t.true(target.get("/v1/rebuilds/r")["pages_pending"] > 0, "it was quicker than thought")
    target.lagand.kill()
    time.sleep(t.rng.uniform(0, 2))
    target.begin()
    at_full_speed()
    t.equal(d.step(one, "done", "rolled_back")["step"], "done", "the failover's end")
    t.equal(d.end()["node"], target.name, "its home")


@suite.case
def without_its_store_a_region_moves_and_has_checkpoints_again_later(t):
    d = t.shared.begin(t)
    for node in d.cluster.nodes.values():
        d.cut(node, "s3")
    t.equal(d.cluster.leader().call("POST", "/v1/regions/r/checkpoint").status, 202, "a checkpoint is asked for")
    t.wait_until(lambda: d.cluster.leader().good("GET", "/v1/regions/r/checkpoint")["state"] == "failed", "it fails", kPatience)
    stays(t, 0.5, lambda: d.home.lease("r") == "valid", "the home's lease")
    d.cut(d.home, d.cluster.leader())
    t.wait_until(lambda: any(failover["step"] in ("switched", "done") for failover in d.new_failovers()), "a new home, from the old one alone", kPatience)
    d.end()
    d.checkpoint()


# ---- Others that take real processes ----

class Tracer:
    """Stops one thread of a process, and no other."""

    def __init__(self, t):
        self.libc = ctypes.CDLL(None, use_errno=True)
        self.libc.ptrace.argtypes = [ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p]
        self.t = t

    def do(self, what, thread):
        self.t.true(self.libc.ptrace(what, thread, None, None) == 0, f"ptrace: {os.strerror(ctypes.get_errno())}")

    def stop(self, thread):
        self.do(kSeize, thread)
        self.do(kInterrupt, thread)
        os.waitpid(thread, 0x40000000)  # __WALL

    def go_on(self, thread):
        self.do(kDetach, thread)


@suite.case
def a_home_whose_control_hangs_freezes_by_itself(t):
    """Its datapath answers as before: a lease is compared with the clock where stores are carried out."""
    d = t.shared.begin(t)
    tracer, frozen = Tracer(t), d.home.stats()["total"]["drops"]["frozen"]
    tracer.stop(d.home.lagand.pid)
    try:
        record = d.moved()
        t.equal(record["rolled_back"]["epoch"], record["epoch"], f"rolled back: {record}")
    finally:
        tracer.go_on(d.home.lagand.pid)
    t.wait_until(lambda: d.home.stats()["total"]["drops"]["frozen"] > frozen, "stores came when the lease was over", kPatience)
    d.end(rolled_back=1)
    t.wait_until(lambda: d.home.lease("r") is None, "the stale copy is deleted", kPatience)


@suite.case
def of_two_failovers_at_once_one_runs(t):
    d = t.shared.begin(t)
    for _ in range(3):
        replies, before = [], d.ids()
        home = d.cluster.nodes[d.region()["node"]]
        # Or the first one may be done before the last one is asked for.
        at_full_speed = [d.slow(home, other) for other in d.cluster.nodes.values() if other is not home]
        threads = [threading.Thread(target=lambda m=manager: replies.append(m.call("POST", "/v1/failovers", {"region": "r"})))
                   for manager in d.cluster.managers.values() for _ in range(2)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        for end in at_full_speed:
            end()
        t.equal(sorted(reply.status for reply in replies), [202, 409, 409, 409], f"{replies}")
        t.true(all("nothing else is under way" in reply.body["detail"] for reply in replies if reply.status == 409), f"{replies}")
        one = next(reply.body["id"] for reply in replies if reply.status == 202)
        t.equal(d.step(one, "done", "failed", "superseded", "cancelled")["step"], "done", "the one that runs")
        d.served()
        ran = [each for each in d.cluster.leader().failovers("r") if each["id"] not in before and each["kind"] == "drill"
               and each["step"] != "superseded"]
        t.equal([each["id"] for each in ran], [one], f"drills that ran: {ran}")
    d.end()


def options(d, region):
    host = f"k-{region}"
    urls = [word for manager in d.cluster.managers.values() for word in ("--manager", manager.url)]
    return [*urls, "--token-file", d.cluster.token_file, "--ca", d.cluster.certificates.ca, "--region", region, "--interface",
            d.network.interface(host), "--local-address", f"{d.network.machine_address(host)}/24", "--reconnect-seconds", kPatience]


@suite.case
def programs_and_loads_go_on_through_a_failover(t):
    d = t.shared.begin(t)
    for name, size in (("bench", 8 << 20), ("run", 16 << 20)):
        d.cluster.create(name, size, d.home.name)
        t.defer(lambda n=name: d.cluster.leader().call("DELETE", f"/v1/regions/{n}"))
    text = t.dir / "text"
    text.write_text("".join(f"{t.rng.getrandbits(64):020}\n" for _ in range(100_000)))
    t.run(["sort", text, "-o", t.dir / "expected"], env={"LC_ALL": "C"})
    bench = t.start(d.network.argv("k-bench", [
        t.binary("client/bench/lagan-bench"), *options(d, "bench"), "--json", "--verify", "--fill", "--mix", "read=50,write=40,free=10",
        "--depth", 8, "--warmup", 0, "--seconds", 1000, "--rate", 2000, "--seed", t.rng.randrange(1 << 31)]))
    sort = t.start(d.network.argv("k-run", [
        t.binary("client/lagan"), "run", *options(d, "run"), "--local-memory", "2M", "--stats-file", t.dir / "stats.json", "--", "sort", "-S",
        "12M", "--parallel=1", text, "-o", t.dir / "sorted"]), env={"LC_ALL": "C"})
    t.wait_until(lambda: all(region["present_pages"] > 100 or process.status is not None
                             for region, process in ((d.home.region("bench"), bench), (d.home.region("run"), sort))), "both are at work", kPatience)
    d.cut(d.home, d.cluster.leader())
    new = d.cluster.nodes[d.served_elsewhere("bench", d.home)["node"]]
    reads = 200 + new.counters()["reads"]
    t.wait_until(lambda: new.counters()["reads"] > reads or bench.status is not None, "the load goes on at its new home", kPatience)
    bench.signal(signal.SIGTERM)  # to its end, with the figures so far: one of a set length might end before its home does
    bench.expect_exit(0, kPatience)
    sort.expect_exit(0, kPatience)
    figures = json.loads(bench.text().strip().splitlines()[-1])
    t.equal(figures["mismatches"], 0, "wrong data")
    t.true(figures["reconnections"] >= 1, f"the load's connection was made again: {figures}")
    t.true((t.dir / "sorted").read_bytes() == (t.dir / "expected").read_bytes(), "sort's result is another than without Lagan")
    t.true(json.loads((t.dir / "stats.json").read_text())["reconnections"] >= 1, "the program's connection was made again")
    d.end()
    t.wait_until(lambda: len(d.home.regions()) == 0, "the stale copies are deleted", kPatience)


@suite.case
def what_no_manager_made_no_manager_touches(t):
    """Regions of the same name that were made at appliances are neither taken over nor in the way for long."""
    d = t.shared.begin(t)
    other = d.others[0]
    t.equal(other.call("POST", "/v1/regions", {"name": "own", "size": "1MiB"}).status, 201, "a region of nobody's")
    t.defer(lambda: other.call("DELETE", "/v1/regions/own"))
    t.equal(d.cluster.leader().call("GET", "/v1/regions/own").status, 404, "the manager's view of it")
    refused = d.cluster.leader().call("POST", "/v1/regions", {"name": "own", "size": 1 << 20, "node": other.name})
    t.equal(refused.status, 409, f"one of that name there: {refused}")
    # And where there is another one, a region of that name cannot go.
    d.cluster.create("own", 1 << 20, d.home.name)
    t.defer(lambda: d.cluster.leader().call("DELETE", "/v1/regions/own"))
    uid = other.region("own")["uid"]
    drill = d.cluster.leader().good("POST", "/v1/failovers", {"region": "own", "target": other.name})["id"]
    drill = d.step(drill, "failed", "done")
    t.equal(drill["step"], "failed", f"{drill}")
    t.equal(other.region("own")["uid"], uid, "nobody's region")
    d.served("own")
    d.cut(d.home, d.cluster.leader())
    t.wait_until(lambda: d.region("own")["epoch"] > 1, "a new home", kPatience)
    t.equal(d.served("own")["node"], d.others[1].name, "its new home")
    t.equal((other.region("own")["uid"], other.region("own")["lease"]), (uid, "unmanaged"), "nobody's region")
    d.end()


if __name__ == "__main__":
    suite.main()
