# SPDX-License-Identifier: BSD-3-Clause
"""lagan-mgmtd on a directory of its own or in etcd, and appliances on one bridge that it manages."""
import http.client
import json
import os
import random
import socket

from harness import Skip
from lagand_node import LagandNode
from links import interface_index
from node_http import Reply, UnixConnection
from page_node import PageNode

kNetwork = "10.79.0"


class Mgmtd:
    """Not started yet. `directory`: keys of [directory] in place of a SQLite file; `more`: the configuration's end. `health`: keys of
    [health]; "" is what mgmtd has by default, which takes 600 ms of silence for death: for cases that wait for a failover. All others
    would see one that they did not ask for, whenever the machine stands still for that long."""

    def __init__(self, t, name="m1", directory=None, more="", health="missed = 25"):
        self.t, self.name = t, name
        self.socket, self.config = t.dir / f"{name}.sock", t.dir / f"{name}.toml"
        self.port = self.free_port()
        self.process = None
        self.tokens = {}
        self.config.write_text("\n".join([
            "[manager]", f'name = "{name}"', "[health]", health, "[directory]", directory or f'file = "{t.dir}/directory.db"',
            "[[listen]]", f'unix = "{self.socket}"', "[[listen]]", f'address = "127.0.0.1:{self.port}"', more, ""]))

    @staticmethod
    def free_port():
        """Below the range that the kernel gives to outgoing connections: it is bound later, and again at each restart."""
        while True:
            with socket.socket() as probe:
                try:
                    probe.bind(("127.0.0.1", random.SystemRandom().randrange(10000, 32000)))
                except OSError:
                    continue
                return probe.getsockname()[1]

    def program(self):
        return [self.t.binary("mgmt/cluster/lagan-mgmtd"), "--config", self.config]

    def token(self, role, tenant=""):
        """Made on the command line at the first use."""
        if (role, tenant) not in self.tokens:
            more = ["--tenant", tenant] if tenant else []
            done = self.t.run([*self.program(), "token", "create", "--role", role, "--name", f"{role}{tenant}", *more])
            self.tokens[role, tenant] = done.stdout.strip()
        return self.tokens[role, tenant]

    def start(self):
        self.process = self.t.start(self.program(), name=self.name)
        self.process.wait_for("ready:", timeout=30)
        return self

    def leads(self):
        return self.call("GET", "/v1/cluster").body.get("leads")  # it does not say while its directory is silent: 503

    def connection(self, timeout=30, tcp=False):
        return http.client.HTTPConnection("127.0.0.1", self.port, timeout=timeout) if tcp else UnixConnection(self.socket, timeout)

    def send(self, method, target, body=None, token=None, headers=None, tcp=False):
        """The answer and its headers. token: text; "": none; by default an admin's."""
        connection = self.connection(tcp=tcp)
        token = self.token("admin") if token is None else token
        try:
            raw = body if body is None or isinstance(body, (bytes, str)) else json.dumps(body)
            sent = {**({"Authorization": f"Bearer {token}"} if token else {}), **(headers or {})}
            connection.request(method, target, raw, sent)
            reply = connection.getresponse()
            text = reply.read().decode(errors="replace")
            return reply, text
        finally:
            connection.close()

    def call(self, method, target, body=None, **more):
        reply, text = self.send(method, target, body, **more)
        try:
            return Reply(reply.status, json.loads(text))
        except json.JSONDecodeError:
            return Reply(reply.status, text)

    def good(self, method, target, body=None, **more):
        """The body of an answer that says yes."""
        reply = self.call(method, target, body, **more)
        self.t.true(200 <= reply.status < 300, f"{method} {target}: {reply}")
        return reply.body

    def region(self, name):
        return self.good("GET", f"/v1/regions/{name}")

    def failovers(self, region):
        every = self.good("GET", "/v1/failovers?limit=1000")["failovers"]
        return [failover for failover in every if failover["region"] == region]

    def wait_ready(self, region, timeout=60):
        """The region's record, when it is served whole and nothing is under way."""
        def ready():
            record = self.region(region)
            return record if record["state"] == "ready" and record["failover"] is None else None
        return self.t.wait_until(ready, f"region {region} is ready: {self.region(region)}, {self.failovers(region)}", timeout)


class Appliance(PageNode):
    """A lagand with a vhost port for a local client, and one on the network."""

    def __init__(self, t, name, address, interface, size):
        network = f'[[port]]\nname = "net"\nkind = "af_packet"\ninterface = "{interface}"\nmtu = 4200\naddresses = ["{address}/24"]'
        LagandNode.__init__(self, t, name, size=size, more=f'{network}\n[baseline]\nstore = "{t.dir}/store"')
        self.settings, self.pages, self.address, self.interface = [], {}, address, interface

    def lease(self, region):
        """Of its copy: "valid", "expired", "fenced"; None: it has none."""
        return next((each["lease"] for each in self.regions() if each["name"] == region), None)


class Appliances:
    """lagands on one bridge, with one store for baselines."""

    def __init__(self, t, names="abc", size="64MiB"):
        if os.geteuid() != 0:
            raise Skip("a bridge needs root")
        self.t = t
        self.number = os.getpid() % 100000
        self.bridge = f"lmbr{self.number}"
        self.make(["ip", "link", "add", self.bridge, "type", "bridge"], self.bridge)
        t.run(["ip", "link", "set", self.bridge, "up"])
        self.nodes = {name: Appliance(t, name, f"{kNetwork}.{i + 1}", self.interface(f"lm{name}{self.number}"), size)
                      for i, name in enumerate(names)}

    def make(self, argv, name):
        made = self.t.run(argv, check=False)
        if made.status != 0:
            raise Skip(f"{' '.join(argv)}: {made.stderr.strip()}")
        self.t.defer(lambda: os.system(f"ip link del {name} 2>/dev/null"))

    def interface(self, name):
        """On the bridge; the kernel does not use it."""
        self.make(["ip", "link", "add", name, "index", interface_index(), "mtu", "4200",
                   "type", "veth", "peer", "name", name + "b", "mtu", "4200"], name)
        for end in (name, name + "b"):
            self.t.run(["ip", "link", "set", end, "addrgenmode", "none", "up"])
        self.t.run(["ip", "link", "set", name + "b", "master", self.bridge])
        return name

    def start(self):
        for node in self.nodes.values():
            node.start()
        return self

    def register(self, mgmtd):
        for name, node in self.nodes.items():
            mgmtd.good("POST", "/v1/nodes", {"name": name, "api": str(node.socket), "address": node.address})
        for name in self.nodes:
            self.t.wait_until(lambda: mgmtd.good("GET", f"/v1/nodes/{name}")["health"] == "up", f"{name} is up")  # pylint: disable=cell-var-from-loop

    def __getitem__(self, name):
        return self.nodes[name]
