#!/usr/bin/python3
# SPDX-License-Identifier: BSD-3-Clause
# lagan-test: hugepages=no builds=release timeout=300
"""Rounds of random faults in a cluster of real processes, under clients that remember every page: what was acknowledged is read back,
or the region says that it was rolled back, and then is as it was at one moment, no earlier than its last checkpoint. No two
appliances serve one region, and when the faults of a round are over, the cluster comes to rest.

The seed repeats the choice of faults and of their times, not the moments that the processes are at then."""
import collections
import heapq
import itertools
import pathlib
import sys
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "support"))
from cluster import Cluster, kPatience
from faults import Faults
from harness import Failure, Suite
from watcher import Watcher

suite = Suite(__file__)
kRegions = ("r0", "r1", "r2")
kPages = 512
kRounds = (3, 100)  # and with --long
kTimes = "[failover]\nhalf_way_wait_ms = 4000"
# What is done more often than other things.
kWeights = {"kill_home": 4, "kill_target": 3, "kill_home_and_rescue": 2, "kill_manager": 2, "stop_home": 2, "stop_target": 2, "cut_manager": 3, "checkpoint": 3,
            "damage_store": 0.3}


class Chaos:
    def __init__(self, t):
        self.t = t
        self.cluster = Cluster(t, managers=2, members=3, clients=kRegions, more=kTimes)
        for region, node in zip(kRegions, self.cluster.nodes):
            self.cluster.create(region, kPages * 4096, node)
        self.watcher = Watcher(t, self.cluster.nodes.values())
        self.faults = Faults(self.cluster, self.watcher)
        self.clients = {region: self.cluster.client(region) for region in kRegions}
        self.told = collections.Counter()  # roll-backs that a region's client was told of
        self.epochs = {region: 0 for region in kRegions}  # of its last roll-back, as the manager has it
        self.cuts = {region: (0, 0.0) for region in kRegions}  # newest that is durable, and when it was asked for
        for client in self.clients.values():
            t.wait_until(lambda: client.said("ready") or client.alive(), "the client is ready", kPatience)  # pylint: disable=cell-var-from-loop
        self.checkpoints()

    # ---- A round ----

    def plan(self):
        """What is done when, for how long, to which region. All of a round's random numbers."""
        rng, weights = self.t.rng, [kWeights.get(kind, 1) for kind in Faults.kinds]
        return [(rng.uniform(0, 2), kind, rng.choice(kRegions), rng.uniform(0.1, 4), rng.random())
                for kind in rng.choices(Faults.kinds, weights, k=rng.randint(1, 4))]

    def carry_out(self, plan):
        """Faults and their ends, in the order of their times."""
        begin, order = time.monotonic(), itertools.count()
        agenda = [(at, next(order), fault) for at, *fault in plan]
        heapq.heapify(agenda)
        while agenda:
            at, _, what = heapq.heappop(agenda)
            time.sleep(max(0.0, begin + at - time.monotonic()))
            if callable(what):
                what()
                continue
            kind, region, seconds, choice = what
            end = self.faults.inject(kind, region, choice)
            if end:
                heapq.heappush(agenda, (time.monotonic() - begin + seconds, next(order), end))

    def round(self, number):
        plan = self.plan()
        print(f"round {number}: " + ", ".join(f"{kind} {region} at {at:.1f} for {seconds:.1f}"
                                              for at, kind, region, seconds, _ in sorted(plan)), flush=True)
        try:
            self.carry_out(plan)
            self.rest()
            self.judge()
        except Failure as failure:
            raise Failure(f"round {number}, seed {self.t.seed}: {failure}; {self.state()}") from None

    # ---- After it ----

    def rest(self):
        """Every region has a home that serves it, and every client has read all of it."""
        self.faults.finish()
        for region in kRegions:
            self.t.wait_until(lambda: self.is_ready(region), f"{region} is ready", kPatience, 0.05)  # pylint: disable=cell-var-from-loop
        for client in self.clients.values():
            client.ask("quiet")

    def is_ready(self, region):
        try:
            leader = self.cluster.leader_now()
            record = leader and leader.region(region)
            return record and record["state"] == "ready" and not record["failover"] \
                and self.cluster.nodes[record["node"]].lease(region) == "valid"
        except (OSError, Failure, TypeError):
            return False

    def judge(self):
        self.t.equal(self.watcher.wrong, [], "two homes")
        damaged = {region: client.said("damaged") for region, client in self.clients.items()}
        self.t.true(self.faults.done["damage_store"] > 0 or not any(damaged.values()), f"damaged pages, and nobody damaged anything: {damaged}")
        for region, client in self.clients.items():
            record = self.cluster.leader().region(region)
            rolled_back = record["rolled_back"]
            told = client.said("rolled_back")
            epoch = rolled_back["epoch"] if rolled_back else 0
            self.t.equal(len(told) > self.told[region], epoch > self.epochs[region],
                         f"{region} was rolled back: its client was told, the API says {rolled_back}")
            if epoch > self.epochs[region]:
                self.judge_roll_back(region, rolled_back, told[-1])
            self.told[region], self.epochs[region] = len(told), epoch
        self.checkpoints()
        for client in self.clients.values():
            client.ask("load")

    def judge_roll_back(self, region, rolled_back, told):
        cut, asked = self.cuts[region]
        self.t.true(rolled_back["cut_number"] >= cut, f"{region} was rolled back to {rolled_back}, behind checkpoint {cut}, which was durable")
        self.t.true(told["until"] >= asked,
                    f"{region} is as it was at {told['until']} at the latest, and checkpoint {cut} was asked for at {asked}")

    def checkpoints(self):
        """Of every region: what it can be rolled back to from now on."""
        for region in kRegions:
            asked = time.monotonic()
            cut = self.t.wait_until(lambda: self.checkpoint(region), f"a checkpoint of {region}", kPatience)  # pylint: disable=cell-var-from-loop
            self.cuts[region] = (cut, asked)

    def checkpoint(self, region):
        """The number of its cut; nothing if it is to be asked for again, because the region moved meanwhile, or nobody led."""
        target = f"/v1/regions/{region}/checkpoint"
        leader = self.cluster.leader()
        state = {"state": "waiting"} if leader.call("POST", target).status == 202 else {}
        while state.get("state") in ("waiting", "running"):
            time.sleep(0.01)
            state = leader.call("GET", target).body
        return state["cut_number"] if state.get("state") == "done" else None

    def state(self):
        """For people."""
        words = []
        for region in kRegions:
            copies = {}
            for name, node in self.cluster.nodes.items():
                try:
                    copies[name] = [(each["epoch"], each["state"], each["lease"]) for each in node.regions() if each["name"] == region]
                except OSError as error:
                    copies[name] = str(error)
            leader = self.cluster.leader_now()
            failovers = [each for each in leader.failovers(region) if not each["ended"]] if leader else "no leader"
            words.append(f"{region}: {leader and leader.region(region)}, {copies}, {failovers}")
        return "; ".join(words)

    def end(self):
        figures = collections.Counter()
        for client in self.clients.values():
            client.close()
            client.process.expect_exit(0, kPatience)
            figures.update({name: value for name, value in client.said("quiet")[-1].items() if isinstance(value, int)})
        return dict(figures)


@suite.case
def random_faults(t):
    print(f"seed {t.seed}", flush=True)
    chaos = Chaos(t)
    rounds = kRounds[t.long]
    for number in range(1, rounds + 1):
        chaos.round(number)
    print(f"{rounds} rounds, seed {t.seed}: {dict(chaos.faults.done)}, {chaos.watcher.looks} looks at leases; {chaos.end()}", flush=True)


if __name__ == "__main__":
    suite.main()
