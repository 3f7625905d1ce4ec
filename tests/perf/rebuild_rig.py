# SPDX-License-Identifier: BSD-3-Clause
"""Two lagands on one network, between which regions are rebuilt, and lagan-bench in the place of the second one."""
import json
import os
import time

from fake_manager import FakeManager
from lagand_node import LagandNode
from links import interface_index
from page_node import kPage

kNetwork = "10.78.0"
kPatience = 300


class Home(LagandNode):
    """A lagand with a vhost port for a local client, and one on the network. `cpu`: where it polls."""

    def __init__(self, t, name, address, interface, mib, store, cpu):
        network = f'[[port]]\nname = "net"\nkind = "af_packet"\ninterface = "{interface}"\nmtu = 4200\naddresses = ["{address}/24"]'
        super().__init__(t, name, size=f"{mib}MiB", more=f'{network}\n[baseline]\nstore = "{store}"\n[poll]\nlcores = [{cpu}]')
        self.address = address

    def good(self, method, target, body=None):
        reply = self.call(method, target, body)
        self.t.true(reply.status < 300, f"{method} {target}: {reply}")
        return reply.body

    def make(self, region, mib, reserve_mib):
        return self.good("POST", "/v1/regions", {"name": region, "size": mib << 20, "reserve": min(mib, reserve_mib) << 20,
                                                   "overcommit": True})

    def store_pages(self, region, *arguments):
        """By lagan-bench over the local port."""
        self.t.run([self.t.binary("client/bench/lagan-bench"), "--appliance", self.socket, "--region", region, "--depth", 64,
                    "--warmup", 0, *arguments], timeout=kPatience)

    def source(self, region):
        """As POST /v1/rebuilds wants it."""
        return {"address": self.address, "port": 7471, "grant": self.good("POST", f"/v1/regions/{region}/grants",
                                                                          {"role": "recover"})["grant"]}

    def checkpoint(self, region):
        target = f"/v1/regions/{region}/checkpoint"
        self.good("POST", target)
        self.t.wait_until(lambda: self.get(target)["state"] not in ("waiting", "running"), "the checkpoint", kPatience)
        state = self.get(target)
        self.t.equal(state["state"], "done", f"checkpoint: {state}")
        return state

    def rebuild(self, of, source, reserve_mib, epoch=2):
        """Orders it, and waits for its end; its figures, with the milliseconds that the order took."""
        order = {"region": of["name"], "uid": of["uid"], "epoch": epoch, "size_bytes": of["size_bytes"], "source": source,
                 "baseline": True, "reserve_bytes": min(reserve_mib << 20, of["size_bytes"]), "overcommit": True}
        begin = time.monotonic()
        self.good("POST", "/v1/rebuilds", order)
        order_ms = (time.monotonic() - begin) * 1e3
        target = f"/v1/rebuilds/{of['name']}"
        self.t.wait_until(lambda: self.get(target)["state"] in ("done", "failed", "source_lost"), "the rebuild", kPatience, 0.05)
        state = self.get(target)
        self.t.equal(state["state"], "done", f"rebuild: {state}")
        return {**state, "order_ms": order_ms}

    def drop(self, region):
        self.good("DELETE", f"/v1/regions/{region}")


class TwoHomes:
    """Running, `old` and `new`, with a third interface for lagan-bench."""

    def __init__(self, t, mib, store, cpus):
        self.t = t
        number = os.getpid() % 100000
        self.bridge = f"lbbr{number}"
        self.link(["ip", "link", "add", self.bridge, "type", "bridge"], self.bridge)
        t.run(["ip", "link", "set", self.bridge, "up"])
        self.client, *ports = [self.port(f"lb{letter}{number}") for letter in "con"]
        self.old, self.new = (Home(t, name, f"{kNetwork}.{i + 1}", interface, mib, store, cpu)
                              for i, (name, interface, cpu) in enumerate(zip(("old", "new"), ports, cpus)))
        for home in (self.old, self.new):
            home.start()
        self.manager = FakeManager(t)

    def link(self, argv, name):
        self.t.run(argv)
        self.t.defer(lambda: os.system(f"ip link del {name} 2>/dev/null"))

    def port(self, name):
        self.link(["ip", "link", "add", name, "index", interface_index(), "mtu", "4200",
                   "type", "veth", "peer", "name", name + "b", "mtu", "4200"], name)
        for end in (name, name + "b"):
            self.t.run(["ip", "link", "set", end, "addrgenmode", "none", "up"])
        self.t.run(["ip", "link", "set", name + "b", "master", self.bridge])
        return name

    def reads_per_s(self, region, depth, seconds):
        """What lagan-bench gets from the old home, over the network that the new one pulls over."""
        self.manager.homes[region] = {"node": self.old, "address": self.old.address,
                                      "epoch": self.old.get(f"/v1/regions/{region}")["epoch"]}
        done = self.t.run([self.t.binary("client/bench/lagan-bench"), *self.manager.options(), "--region", region, "--interface",
                           self.client, "--local-address", f"{kNetwork}.9/24", "--json", "--mix", "read", "--size", kPage,
                           "--depth", depth, "--seconds", seconds, "--warmup", 0.2], timeout=60 + seconds)
        return json.loads(done.stdout.strip().splitlines()[-1])["read"]["iops"]


class BaselineHome(Home):
    """Alone, with a region of which only the baseline is left."""

    def __init__(self, t, mib, store):
        LagandNode.__init__(self, t, "baseline", size=f"{mib * 5 // 4 + 128}MiB", more=f'[baseline]\nstore = "{store}"')
        self.mib, self.segments = mib, store / "full/segments"
        self.start()
        self.make("full", mib, mib)
        self.store_pages("full", "--fill", "--mix", "read", "--ops", 1)
        self.checkpoint("full")
        self.region = self.get("/v1/regions/full")
        self.drop("full")

    def forget_cache(self):
        for path in self.segments.iterdir():
            with open(path, "rb") as file:
                os.fsync(file.fileno())
                os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)

    def load_mib_per_s(self, epoch):
        self.forget_cache()
        state = self.rebuild(self.region, None, self.mib, epoch)
        self.t.equal(state["pages_from_baseline"], self.region["present_pages"], f"pages from the baseline: {state}")
        self.drop("full")
        return self.mib / state["seconds"]
