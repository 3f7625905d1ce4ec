# SPDX-License-Identifier: BSD-3-Clause
"""A running lagand on one end of a veth pair, and a Wire that Scapy speaks on at the other."""
import os

from harness import Skip
from lagand_node import LagandNode
from roce_peer import Connection, Wire, kAck

kServerMac, kPeerMac = "02:00:00:00:51:01", "02:00:00:00:51:02"
kServerIp, kPeerIp = "10.79.0.1", "10.79.0.2"
kRegionBytes = 16 << 20


class Node(LagandNode):
    """lagand on one end of a veth pair, a Wire on the other."""

    def __init__(self, t, settings=""):
        if os.geteuid() != 0:
            raise Skip("a veth pair needs root")
        ends = [f"lgs{os.getpid() % 1000000}", f"lgp{os.getpid() % 1000000}"]
        made = t.run(["ip", "link", "add", ends[0], "address", kServerMac, "type", "veth",
                      "peer", "name", ends[1], "address", kPeerMac], check=False)
        if made.status != 0:
            raise Skip(f"no veth pair can be made: {made.stderr.strip()}")
        t.defer(lambda: os.system(f"ip link del {ends[0]} 2>/dev/null"))
        for end in ends:
            t.run(["ip", "link", "set", end, "addrgenmode", "none"])
            t.run(["ip", "link", "set", end, "up"])
        super().__init__(t, "scapy", size="64MiB", port=f'kind = "af_packet"\ninterface = "{ends[0]}"',
                         addresses=[f"{kServerIp}/24"], peer=None, more=settings)
        self.start()
        self.wire = Wire(ends[1], kPeerMac, kServerMac, kPeerIp, kServerIp)
        self.service_port = self.get("/v1/node")["rdma"]["service_port"]

    def start(self, *more):
        super().start(*more)
        made = self.call("POST", "/v1/regions", {"name": "r", "size": "16MiB"})
        self.t.true(made.status in (201, 409), f"a region, made or there from before: {made}")

    def grant(self, role="write"):
        reply = self.call("POST", "/v1/regions/r/grants", {"role": role, "ttl_seconds": 600})
        return reply.body["grant"]

    def connect(self, role="write", wire=None, **fields):
        return Connection(wire or self.wire, self.grant(role), self.service_port, self.t.scaled(20), **fields)

    def queue_pairs(self):
        return self.stats()["queue_pairs"]["in_use"]

    def cm(self, name):
        """A counter of the connection manager's."""
        return self.stats()["connections"]["counters"][name]

    def total(self, group):
        return self.stats()["total"][group]

    def counts(self, group, name, act, what):
        """act() makes the counter go up by one."""
        before = self.total(group)[name]
        act()
        self.t.wait_until(lambda: self.total(group)[name] > before, f"{group}.{name} counts {what}", timeout=20)
        self.t.equal(self.total(group)[name], before + 1, f"{group}.{name} after {what}")

    def serves(self, connection):
        data = self.t.rng.randbytes(1024)
        va = self.t.rng.randrange(kRegionBytes - 1024)
        answer = connection.write(va, data)
        self.t.true(answer is not None and answer.opcode == kAck and answer.syndrome == 0x1f, "a WRITE is acknowledged")
        self.t.equal(connection.read(va, 1024), data, "what was written is read")
