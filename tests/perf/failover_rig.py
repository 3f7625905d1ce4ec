# SPDX-License-Identifier: BSD-3-Clause
"""Two appliances under a lagan-mgmtd with its default timers, one region, and a client that reads all the time: how long it is from
a fault until the client has an answer from the new home."""
import os
import pathlib
import time

from mgmtd import Appliances, Mgmtd

kPatience = 120
kClient = pathlib.Path(__file__).with_name("reading_client.py")
kRegion = "r"


class Failovers:
    def __init__(self, t, mib):
        self.t = t
        self.nodes = Appliances(t, "ab", size=f"{mib * 5 // 4 + 64}MiB").start()
        self.manager = Mgmtd(t, health="").start()
        self.nodes.register(self.manager)
        self.manager.good("POST", "/v1/regions", {"name": kRegion, "size": mib << 20, "node": "a"})
        self.home, self.other = self.nodes["a"], self.nodes["b"]
        t.wait_until(lambda: self.home.lease(kRegion) == "valid", "a lease", kPatience)
        token = t.dir / "token"
        token.touch(mode=0o600)
        token.write_text(self.manager.token("admin"))
        self.client = t.start(
            ["/usr/bin/python3", kClient, t.binary("client/liblagan.so"), f"unix:{self.manager.socket}", token, kRegion,
             (mib << 20) // 4096, self.nodes.interface(f"lmr{os.getpid() % 100000}"), "10.79.0.9/24"], name="client")
        self.client.wait_for("^reads", kPatience)
        t.run([t.binary("client/bench/lagan-bench"), "--appliance", self.home.socket, "--region", kRegion, "--fill", "--mix", "read",
               "--ops", 1, "--depth", 32, "--warmup", 0], timeout=kPatience)
        self.checkpoint()

    def checkpoint(self):
        target = f"/v1/regions/{kRegion}/checkpoint"
        self.manager.good("POST", target)
        self.t.wait_until(lambda: self.manager.good("GET", target)["state"] == "done", "the checkpoint", kPatience)

    def failed_over(self):
        record = self.manager.region(kRegion)
        return record["node"] == self.other.name and record["state"] == "ready" and not record["failover"]

    def pause_after(self, fault):
        """Begin and end of the client's longest pause that was over later than the fault."""
        lines = [line.split() for line in self.client.text().splitlines()]
        pauses = [(float(words[1]), float(words[2])) for words in lines if words[0] == "pause"]
        return max((pause for pause in pauses if pause[1] > fault), key=lambda pause: pause[1] - pause[0])

    def is_served(self, since):
        """The client has had answers for a while."""
        return sum(line.startswith("reads") and float(line.split()[1]) > since for line in self.client.text().splitlines()) > 3

    def measure(self, fault, mend):
        """Milliseconds from the fault to the client's next answer, and to the manager's switch; all is well again afterwards."""
        began = time.time()
        fault()
        self.t.wait_until(self.failed_over, "another home", kPatience)
        now = time.time()
        self.t.wait_until(lambda: self.is_served(now), "the client's answers", kPatience)
        begin, end = self.pause_after(began)
        failover = self.manager.failovers(kRegion)[-1]
        switched = next(each["ms"] for each in failover["times"] if each["step"] == "switched")
        mend()
        self.home, self.other = self.other, self.home
        self.t.wait_until(lambda: self.other.regions() == [], "the stale copy is deleted", kPatience)
        self.t.wait_until(lambda: self.manager.good("GET", f"/v1/nodes/{self.other.name}")["health"] == "up", "both are up", kPatience)
        self.checkpoint()
        return {"serving_ms": (end - began) * 1e3, "pause_ms": (end - begin) * 1e3, "switched_ms": switched - began * 1e3,
                "detected_ms": failover["times"][0]["ms"] - began * 1e3, "source": failover["source_kind"], "times": failover["times"]}

    def kill(self):
        """kill -9: nobody is there any more, and the region is as at its checkpoint."""
        return self.measure(self.home.lagand.kill, self.home.start)

    def cut_off(self):
        """Its management is gone, its datapath lives."""
        socket, hidden = self.home.socket, self.home.socket.with_suffix(".hidden")
        return self.measure(lambda: socket.rename(hidden), lambda: hidden.rename(socket))
