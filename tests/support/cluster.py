# SPDX-License-Identifier: BSD-3-Clause
"""Appliances, managers, etcd and clients as hosts of a network whose links can be cut, with one store for baselines."""
import http.client
import json
import os

from certificates import Authority
from etcd import Etcd
from harness import kRoot
from lagand_node import LagandNode
from mgmtd import Appliance, Mgmtd
from network import Network, kHere

kClientProgram = kRoot / "tests/system/programs/remembering_client.py"
kServerProgram = kRoot / "tests/system/programs/object_server.py"
kPatience = 120  # seconds that nothing here takes, however slow the machine


class Machine(Appliance):
    """A lagand on a host of its own. Its node API is there by TCP for managers, and on a socket for the test."""

    def __init__(self, t, network, name, size, store, certificates):
        self.network, self.host = network, name
        self.address = network.machine_address(name)
        certificate, key = certificates.issue(name, f"IP:{network.address(name)}")
        LagandNode.__init__(
            self, t, name, size=size, port=f'kind = "af_packet"\ninterface = "{network.interface(name)}"\nmtu = 4200', peer=None,
            addresses=[f"{self.address}/24"], more="\n".join([
                "[baseline]", f'store = "{store}"', "[api]", f'listen = "{network.address(name)}:7470"',
                f'certificate = "{certificate}"', f'key = "{key}"', f'client_ca = "{certificates.ca}"']))
        self.settings, self.pages, self.stopped = [], {}, False
        self.keys = {"AWS_ACCESS_KEY_ID": "k", "AWS_SECRET_ACCESS_KEY": "s"}
        self.api = f"https://{network.address(name)}:7470"

    def argv(self, *more):
        return self.network.argv(self.host, super().argv(*more))

    def begin(self, *more):
        """Starts it, and waits for nothing."""
        self.lagand = self.t.start(self.argv(*more), name=self.name, env=self.keys)
        self.stopped = False

    def runs(self):
        return self.lagand.status is None


class Manager(Mgmtd):
    """On a host of its own, where clients find it by HTTPS. The test asks by its socket."""

    def __init__(self, t, network, name, directory, certificates, more):
        self.network, self.host, self.stopped = network, name, False
        self.patience = 5  # seconds for an answer
        server = certificates.issue(name, f"IP:{network.address(name)}")
        node_client = certificates.issue(f"{name}-of-nodes")
        self.url = f"https://{network.address(name)}:7480"
        super().__init__(t, name, directory=directory, more="\n".join([
            "[[listen]]", f'address = "{network.address(name)}:7480"', f'certificate = "{server[0]}"', f'key = "{server[1]}"',
            "[nodes]", f'ca = "{certificates.ca}"', f'certificate = "{node_client[0]}"', f'key = "{node_client[1]}"', more]))

    def program(self):
        return self.network.argv(self.host, super().program())

    def runs(self):
        return self.process.status is None

    def connection(self, timeout=None, tcp=False):
        return super().connection(timeout or self.patience, tcp)


class Store:
    """An S3 service on a host of its own, s3."""

    def __init__(self, t, network):
        self.network, self.address, self.stopped = network, network.address("s3"), False
        self.process = t.start(network.argv("s3", ["/usr/bin/python3", kServerProgram, self.address, "80"]), name="s3")
        self.process.wait_for("ready", timeout=30)
        self.url = f"s3://bucket/prefix?endpoint=http://{self.address}:80&timeout=1"

    def damage(self):
        connection = http.client.HTTPConnection(self.address, 80, timeout=5)
        connection.request("POST", "/damage")
        connection.getresponse().read()
        connection.close()


class Cluster:
    """Started, with its nodes registered. Without etcd there is one manager, on a file."""

    def __init__(self, t, nodes="abc", managers=1, members=0, clients=(), size="64MiB", more=""):
        self.t = t
        self.client_hosts = [f"k-{name}" for name in clients]
        names = [f"m{index + 1}" for index in range(managers)]
        etcds = [f"e{index + 1}" for index in range(members)]
        self.network = Network(t, [*nodes, *names, *etcds, "s3", *self.client_hosts], self.unlinked)
        self.certificates = Authority(t, "ca")
        self.store = Store(t, self.network)
        self.etcd = Etcd(t, t.dir / "etcd", members, self.network) if members else None
        directory = None
        if self.etcd:
            directory = "endpoints = [" + ", ".join(f'"{url}"' for url in self.etcd.urls.values()) + "]\ntimeout_ms = 500"
        self.nodes = {name: Machine(t, self.network, name, size, self.store.url, self.certificates) for name in nodes}
        for node in self.nodes.values():
            node.begin()
        for node in self.nodes.values():
            node.lagand.wait_for("ready:", timeout=60)
        self.managers = {name: Manager(t, self.network, name, directory, self.certificates, more) for name in names}
        for manager in self.managers.values():
            manager.start()
            manager.token("admin")
        self.register()
        self.token_file = t.dir / "token"
        self.token_file.write_text(next(iter(self.managers.values())).token("admin") + "\n")

    @staticmethod
    def unlinked(x, y):
        """What has nothing to say to each other."""
        client = y.startswith("k-")
        return (client and (x[0] in "eks" or x == kHere)) or (len(x) == 1 and y[0] == "e") or (y == "s3" and x[0] in "em")

    def register(self):
        first = next(iter(self.managers.values()))
        self.leader()
        for name, node in self.nodes.items():
            first.good("POST", "/v1/nodes", {"name": name, "api": node.api, "address": node.address})
        for name in self.nodes:
            self.t.wait_until(lambda: self.leader().good("GET", f"/v1/nodes/{name}")["health"] == "up", f"{name} is up", kPatience)  # pylint: disable=cell-var-from-loop

    def leader_now(self):
        """None: nobody who can be asked leads."""
        for manager in self.managers.values():
            try:
                if manager.runs() and not manager.stopped and manager.leads():
                    return manager
            except (OSError, KeyError, TypeError):  # it does not answer, or with a problem
                pass
        return None

    def asked(self, manager, method, target, what):
        """`what` of the answer's body; an empty list when there is no such answer."""
        try:
            if manager.runs() and not manager.stopped:
                return manager.call(method, target).body[what]
        except (OSError, KeyError, TypeError):
            pass
        return []

    def leader(self):
        return self.t.wait_until(self.leader_now, "a manager leads", kPatience)

    def enable(self, node):
        """Regions may go there again."""
        def enabled():
            try:
                return self.leader().call("PATCH", f"/v1/nodes/{node}", {"enabled": True}).status == 200
            except OSError:
                return False
        self.t.wait_until(enabled, f"{node} is enabled", kPatience, 0.2)

    def create(self, region, size, node):
        self.leader().good("POST", "/v1/regions", {"name": region, "size": size, "node": node})

    def client(self, region, *more):
        """What to start a remembering client of that region with."""
        host = f"k-{region}"
        urls = ",".join(manager.url for manager in self.managers.values())
        argv = ["/usr/bin/python3", kClientProgram, "--library", self.t.binary("client/liblagan.so"), "--manager", urls,
                "--token-file", self.token_file, "--ca", self.certificates.ca, "--region", region,
                "--interface", self.network.interface(host), "--address", f"{self.network.machine_address(host)}/24",
                "--memory", self.t.dir / f"{region}.memory", "--seed", self.t.rng.getrandbits(31), *more]
        return Client(self.t, region, self.network.argv(host, argv))


class Client:
    """remembering_client.py: stores and reads until it is asked something, and answers when all is read and compared."""

    def __init__(self, t, region, argv):
        self.t, self.region, self.seen = t, region, 0
        read_end, self.questions = os.pipe()
        self.process = t.start(argv, name=f"client-{region}", stdin=read_end)
        os.close(read_end)
        t.defer(self.close)

    def said(self, kind):
        """What it has said of that kind, in order."""
        lines = [json.loads(line) for line in self.process.text().splitlines(keepends=True) if line[0] == "{" and line[-1] == "\n"]
        return [line for line in lines if line["said"] == kind]

    def ask(self, question, patience=kPatience):
        """`quiet`: its figures when everything has been read; it waits then. `load`: it goes on."""
        before = len(self.said(question))
        os.write(self.questions, question.encode() + b"\n")
        self.t.wait_until(lambda: len(self.said(question)) > before or self.process.status is not None, f"{question} of {self.region}",
                          patience)
        self.t.equal(self.process.status, None, f"the client of {self.region} at {question}: {self.process.text()[-1500:]}")
        return self.said(question)[-1]

    def alive(self):
        self.t.equal(self.process.status, None, f"the client of {self.region}: {self.process.text()[-1500:]}")

    def close(self):
        if self.questions is not None:
            os.close(self.questions)
            self.questions = None

    def end(self):
        self.close()
        self.process.expect_exit(0, kPatience)
