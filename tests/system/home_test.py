#!/usr/bin/python3
# SPDX-License-Identifier: BSD-3-Clause
# lagan-test: hugepages=no builds=release timeout=600
"""Clients that find their region through a manager and follow it from one appliance to another. The manager is a stand-in, and the
region is moved by hand: a checkpoint there, a restore here."""
import json
import os
import pathlib
import signal
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "support"))
from fake_manager import FakeManager
from harness import Skip, Suite
from lagand_node import LagandNode
from links import interface_index

suite = Suite(__file__)
kHangs = 150  # seconds that nothing here takes, however slow the machine
kProgram = pathlib.Path(__file__).resolve().parent / "programs/managed_pages.py"
kNetwork = "10.78.0"


class Cluster:
    """Two appliances with one store for baselines, a manager, and an interface for a client; all on one bridge."""

    def __init__(self, t, region_mib=8):
        if os.geteuid() != 0:
            raise Skip("a bridge needs root")
        self.t = t
        number = os.getpid() % 100000
        self.bridge = f"lgb{number}"
        self.make(["ip", "link", "add", self.bridge, "type", "bridge"], self.bridge)
        t.run(["ip", "link", "set", self.bridge, "up"])
        self.client, *ports = [self.port(f"lg{letter}{number}") for letter in "cxy"]
        self.store = t.dir / "store"
        self.nodes = [LagandNode(t, name, size="192MiB", port=f'kind = "af_packet"\ninterface = "{interface}"', peer=None,
                                 addresses=[f"{kNetwork}.{i + 1}/24"], more=f'[baseline]\nstore = "{self.store}"')
                      for i, (name, interface) in enumerate(zip(("one", "two"), ports))]
        for node in self.nodes:
            node.start()
        t.equal(self.nodes[0].call("POST", "/v1/regions", {"name": "r", "size": f"{region_mib}MiB"}).status, 201, "a region")
        self.manager = FakeManager(t)
        self.live_at(0)

    def make(self, argv, name):
        made = self.t.run(argv, check=False)
        if made.status != 0:
            raise Skip(f"{' '.join(argv)}: {made.stderr.strip()}")
        self.t.defer(lambda: os.system(f"ip link del {name} 2>/dev/null"))

    def port(self, name):
        """An interface on the bridge, that the kernel does not use."""
        self.make(["ip", "link", "add", name, "index", interface_index(), "type", "veth", "peer", "name", name + "b"], name)
        for end in (name, name + "b"):
            self.t.run(["ip", "link", "set", end, "addrgenmode", "none", "up"])
        self.t.run(["ip", "link", "set", name + "b", "master", self.bridge])
        return name

    def live_at(self, i, **more):
        node = self.nodes[i]
        self.manager.homes["r"] = {"node": node, "address": f"{kNetwork}.{i + 1}", "epoch": node.get("/v1/regions/r")["epoch"],
                                   **more}

    def options(self):
        return [*self.manager.options(), "--region", "r", "--interface", self.client, "--local-address", f"{kNetwork}.9/24",
                "--reconnect-seconds", 100]

    def bench(self, *more):
        return self.t.start([self.t.binary("client/bench/lagan-bench"), *self.options(), "--json", "--verify", "--fill", "--mix",
                             "read=50,write=40,free=10", "--qps", 2, "--depth", 8, "--warmup", 0, "--ops", 12000, "--rate", 2000,
                             "--seed", self.t.rng.randrange(1 << 31), *more])

    def at_work(self, process, operations=2000):
        """Waits until the first appliance has served so many."""
        def enough():
            counters = self.nodes[0].counters()
            return process.status is not None or counters["pages_stored"] + counters["reads"] > operations
        self.t.wait_until(enough, f"{operations} operations", timeout=60)

    def checkpoint(self):
        at = self.nodes[0]
        self.t.equal(at.call("POST", "/v1/regions/r/checkpoint").status, 202, "checkpoint asked for")
        def ended():
            return at.get("/v1/regions/r/checkpoint")["state"] not in ("waiting", "running")
        self.t.wait_until(ended, "the checkpoint's end", 60)
        state = at.get("/v1/regions/r/checkpoint")
        self.t.equal(state["state"], "done", f"checkpoint: {state}")

    def restore(self):
        at = self.nodes[1]
        self.t.equal(at.call("POST", "/v1/restores", {"region": "r"}).status, 202, "restore asked for")
        self.t.wait_until(lambda: at.get("/v1/restores/r")["state"] != "running", "the restore's end", 60)
        state = at.get("/v1/restores/r")
        self.t.equal(state["state"], "done", f"restore: {state}")

    def move(self, client):
        """The client is held, so that the checkpoint has all that it has stored."""
        client.signal(signal.SIGSTOP)
        self.checkpoint()
        self.nodes[0].lagand.kill()
        self.restore()
        self.live_at(1)
        client.signal(signal.SIGCONT)

    def roll_back(self, client):
        self.checkpoint()
        stored = self.nodes[0].counters()["pages_stored"]
        def more():
            return client.status is not None or self.nodes[0].counters()["pages_stored"] > stored + 300
        self.t.wait_until(more, "stores after the checkpoint", 60)
        self.nodes[0].lagand.kill()
        self.manager.undecided = True
        self.restore()
        epoch = self.nodes[1].get("/v1/regions/r")["epoch"]
        self.live_at(1, rolled_back={"epoch": epoch, "cut_number": 1, "cut_time_us": 1_700_000_000_000_000})
        self.manager.undecided = False

    def end(self):
        for node in self.nodes:
            if node.lagand.status is None:
                self.t.equal(node.lagand.terminate(), 0, f"{node.name}'s exit status")


def under_load(t, *more):
    cluster = Cluster(t)
    bench = cluster.bench(*more)
    cluster.at_work(bench)
    return cluster, bench


def ends_well(t, bench):
    bench.expect_exit(0, kHangs)
    figures = json.loads(bench.text().strip().splitlines()[-1])
    t.equal(figures["mismatches"], 0, "wrong data")
    t.true(figures["reconnections"] >= 2, f"both connections were made again: {figures['reconnections']}")


@suite.case
def a_load_follows_its_region_and_every_byte_is_right(t):
    cluster, bench = under_load(t)
    cluster.manager.give_token("another-token")
    cluster.move(bench)
    ends_well(t, bench)
    t.true(cluster.nodes[1].counters()["pages_stored"] > 100, "the second appliance was stored to")
    cluster.end()


@suite.case
def a_load_goes_on_while_its_region_is_rebuilt_elsewhere(t):
    """Nothing is held: the old home is fenced in the middle of it, and its pages are pulled while the load stores to the new one."""
    cluster, bench = under_load(t)
    one, two = cluster.nodes
    region = one.get("/v1/regions/r")
    grant = one.call("POST", "/v1/regions/r/grants", {"role": "recover"}).body["grant"]
    cluster.manager.undecided = True
    ordered = two.call("POST", "/v1/rebuilds", {
        "region": "r", "uid": region["uid"], "epoch": region["epoch"] + 1, "size_bytes": region["size_bytes"], "baseline": False,
        "source": {"address": f"{kNetwork}.1", "port": 7471, "grant": grant, "epoch": region["epoch"]}})
    t.equal(ordered.status, 202, f"the order: {ordered.body}")
    t.wait_until(lambda: two.get("/v1/rebuilds/r")["fenced"], "the old home is fenced", 60)
    cluster.live_at(1)
    cluster.manager.undecided = False
    ends_well(t, bench)
    rebuild = two.get("/v1/rebuilds/r")
    t.equal(rebuild["state"], "done", f"the rebuild: {rebuild}")
    t.true(rebuild["pages_pulled"] > 0, f"pages came from the old home: {rebuild}")
    # A client that goes to the old home all the same is sent away.
    cluster.live_at(0)
    sent_away = cluster.bench()
    sent_away.expect_exit(3, kHangs)
    t.true("moved: the region has a new home" in sent_away.text(), sent_away.text()[-300:])
    cluster.end()


@suite.case
def a_roll_back_ends_a_load_with_a_status_of_its_own(t):
    cluster, bench = under_load(t)
    cluster.roll_back(bench)
    bench.expect_exit(4, kHangs)
    t.true("the region was rolled back: acknowledged stores are missing: it is as it was at 2023-11-14 22:13:20 UTC" in bench.text(),
           bench.text()[-600:])
    cluster.end()


@suite.case
def or_it_goes_on_and_finds_what_is_missing(t):
    cluster, bench = under_load(t, "--on-rollback", "continue")
    cluster.roll_back(bench)
    bench.expect_exit(1, kHangs)
    t.true("going on, as asked" in bench.text(), bench.text()[-600:])
    t.true("reconnections" in bench.text(), bench.text()[-600:])
    cluster.end()


@suite.case
def while_the_manager_is_away_the_home_of_before_will_do(t):
    cluster, bench = under_load(t)
    cluster.manager.away = True
    cluster.nodes[0].lagand.kill()
    cluster.nodes[0].start()
    ends_well(t, bench)
    cluster.end()


def run_far(t, cluster, *program, **more):
    return t.start([t.binary("client/lagan"), "run", *cluster.options(), "--local-memory", "2M", "--stats-file", t.dir / "stats.json",
                    "--", *program], **more)


def text_to_sort(t, lines):
    path = t.dir / "text"
    path.write_text("".join(f"{t.rng.getrandbits(64):020}\n" for _ in range(lines)))
    t.run(["sort", path, "-o", t.dir / "expected"], env={"LC_ALL": "C"})
    return path


def far_sort(t, cluster):
    text = text_to_sort(t, 200_000)  # more than it can have done when its appliance goes
    return run_far(t, cluster, "sort", "-S", "16M", "--parallel=1", text, "-o", t.dir / "sorted", env={"LC_ALL": "C"})


@suite.case
def a_program_follows_its_memory(t):
    cluster = Cluster(t, region_mib=64)
    sort = far_sort(t, cluster)
    cluster.at_work(sort)
    cluster.move(sort)
    sort.expect_exit(0, kHangs)
    t.true((t.dir / "sorted").read_bytes() == (t.dir / "expected").read_bytes(), "sort's result is another than without Lagan")
    t.true(json.loads((t.dir / "stats.json").read_text())["reconnections"] >= 1, sort.text()[-300:])
    t.equal(cluster.nodes[1].get("/v1/regions/r")["present_pages"], 0, "pages that are left in the region")
    cluster.end()


@suite.case
def a_program_whose_memory_was_rolled_back_is_killed_and_told_why(t):
    cluster = Cluster(t, region_mib=64)
    sort = far_sort(t, cluster)
    cluster.at_work(sort)
    cluster.roll_back(sort)
    sort.expect_exit(76, kHangs)
    t.true("the region was rolled back: acknowledged stores are missing" in sort.text()
           and "the program was killed" in sort.text(), sort.text()[-600:])
    cluster.end()


@suite.case
def a_program_over_liblagan_follows_its_region(t):
    cluster = Cluster(t)
    program = t.start(["/usr/bin/python3", kProgram, t.binary("client/liblagan.so"), cluster.manager.url,
                       cluster.manager.token_file, "r", cluster.client, f"{kNetwork}.9/24"])
    program.wait_for("round 20$", kHangs)
    cluster.move(program)
    program.wait_for("round 40$", kHangs)
    t.equal(program.status, None, "it goes on")
    cluster.end()


@suite.case
def what_is_wrong_is_said(t):
    cluster = Cluster(t)
    def bench(*more, url=cluster.manager.url, token=cluster.manager.token_file, region="r"):
        return t.run([t.binary("client/bench/lagan-bench"), "--manager", url, "--token-file", token, "--region", region, "--interface",
                      cluster.client, "--local-address", f"{kNetwork}.9/24", "--ops", 10, *more], check=False, timeout=60)
    wrong = t.dir / "wrong"
    wrong.write_text("another\n")
    for done, status, words in (
            (bench(token=wrong), 3, "this takes a token"),
            (bench(region="q"), 3, "there is no region 'q'"),
            (bench(url="http://127.0.0.1:1"), 3, "127.0.0.1:1"),
            (bench(url="http://192.0.2.1:1"), 3, "for everyone to read"),
            (bench(url="far"), 3, "is no manager's address"),
            (bench(token=t.dir / "missing"), 3, "cannot be read"),
            (bench("--fabric", "verbs"), 2, "--interface"),
            (bench("--appliance", "x"), 2, "--appliance")):
        t.equal(done.status, status, done.stderr[-300:])
        t.true(words in done.stderr + done.stdout, f"{words} is not in {done.stderr[-300:]}")
    both = bench("--manager", "http://127.0.0.1:1")  # the first does not matter if the other answers
    t.equal(both.status, 0, both.stderr[-300:])
    cluster.end()


if __name__ == "__main__":
    suite.main()
