# SPDX-License-Identifier: BSD-3-Clause
"""Asks every appliance all the time what it serves, and objects when two could serve one region."""
import threading
import time

from node_http import request

kBetween = 0.1   # seconds between two looks at an appliance
kPatience = 1.0  # for its answer: it may be stopped


class Watcher:
    """Once a copy of a region was seen with a valid lease, none of an older epoch may have one: in no answer to a question that was
    asked later. That needs no common moment of two appliances."""

    def __init__(self, t, nodes):
        self.newest = {}  # a region's uid → (epoch, appliance, when)
        self.homes = {}   # name → the appliance that was seen to serve it last
        self.wrong = []
        self.looks = 0
        self.lock = threading.Lock()
        self.stop = threading.Event()
        self.threads = [threading.Thread(target=self.watch, args=(node,), daemon=True) for node in nodes]
        for thread in self.threads:
            thread.start()
        t.defer(self.end)

    def watch(self, node):
        while not self.stop.wait(kBetween):
            asked = time.monotonic()
            try:
                regions = request(node.socket, "GET", "/v1/regions", timeout=kPatience).body["regions"]
            except (OSError, TypeError, KeyError, ValueError):  # it is dead, stopped or starting
                continue
            with self.lock:
                self.looks += 1
                for region in regions:
                    if region["lease"] in ("valid", "unmanaged"):
                        self.homes[region["name"]] = node.name
                        self.note(region["uid"], region["epoch"], node.name, asked)

    def note(self, uid, epoch, name, asked):
        newest, at, seen = self.newest.get(uid, (0, "", 0.0))
        if epoch < newest and asked > seen:
            self.wrong.append(f"{name} serves {uid} with epoch {epoch} at {asked:.3f}; {at} served epoch {newest} at {seen:.3f}")
        if epoch > newest or (epoch == newest and name == at):
            # The first time: later answers about it tell nothing new.
            self.newest[uid] = (epoch, name, seen if epoch == newest else time.monotonic())
        elif epoch == newest and asked > seen:
            self.wrong.append(f"{name} and {at} have the same epoch {epoch} of {uid}")

    def home(self, region):
        with self.lock:
            return self.homes.get(region)

    def end(self):
        self.stop.set()
        for thread in self.threads:
            thread.join()
