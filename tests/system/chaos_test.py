#!/usr/bin/python3
# SPDX-License-Identifier: BSD-3-Clause
# lagan-test: hugepages=no builds=release timeout=300
"""Rounds of random faults under clients that know every byte."""
import collections
import pathlib
import sys
import threading
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "support"))
from cluster import Cluster, kPatience
from harness import Suite

suite = Suite(__file__)
kRegions = ("r0", "r1", "r2")


class Chaos:
    def __init__(self, t, managers=1, members=0):
        self.t = t
        self.cluster = Cluster(t, managers=managers, members=members, clients=kRegions)
        for region, node in zip(kRegions, self.cluster.nodes):
            self.cluster.create(region, 512 * 4096, node)
        self.clients = {region: self.cluster.client(region) for region in kRegions}
        for client in self.clients.values():
            t.wait_until(lambda: client.said("ready") or client.alive(), "the client is ready", kPatience)  # pylint: disable=cell-var-from-loop
        self.faults = collections.Counter()

    def alive(self):
        for client in self.clients.values():
            client.alive()

    def checkpoint(self, region):
        self.cluster.leader().call("POST", f"/v1/regions/{region}/checkpoint")

    def kill_home(self):
        region = self.t.rng.choice(kRegions)
        home = self.cluster.nodes[self.cluster.leader().region(region)["node"]]
        home.lagand.kill()
        self.faults["kill"] += 1

    def rest(self):
        for node in self.cluster.nodes.values():
            if not node.runs():
                node.begin()
        for region in kRegions:
            self.cluster.leader().wait_ready(region, kPatience)
        for client in self.clients.values():
            print(client.region, client.ask("quiet"), flush=True)
        for client in self.clients.values():
            client.ask("load")

    def round(self):
        for region in kRegions:
            self.checkpoint(region)
        time.sleep(self.t.rng.uniform(0.2, 1))
        self.kill_home()
        time.sleep(self.t.rng.uniform(0.2, 3))
        self.rest()


@suite.case
def random_faults(t):
    print(f"seed {t.seed}", flush=True)
    chaos = Chaos(t)
    for _ in range(3):
        chaos.round()
    for client in chaos.clients.values():
        client.end()


if __name__ == "__main__":
    suite.main()
