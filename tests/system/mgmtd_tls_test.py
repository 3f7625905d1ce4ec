#!/usr/bin/python3
# SPDX-License-Identifier: BSD-3-Clause
# lagan-test: hugepages=no timeout=240
"""A manager of which nothing goes over the network in the clear: it is asked by HTTPS, reaches its appliances by TLS with
certificates on both sides, and so does its etcd."""
import http.client
import json
import pathlib
import ssl
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "support"))
from certificates import Authority
from etcd import Etcd
from harness import Suite
from mgmtd import Appliances, Mgmtd

suite = Suite(__file__)
kSlow = 60


def keys(identity):
    return f'certificate = "{identity[0]}"\nkey = "{identity[1]}"'


class Encrypted:
    """A manager with its etcd, and appliances whose unix sockets it does not use."""

    def __init__(self, t, names="ab"):
        self.t, self.ours = t, Authority(t, "ours")
        self.etcd = Etcd(t, t.dir / "etcd", authority=self.ours)
        self.identity = self.ours.issue("manager", "IP:127.0.0.1")
        self.port = Mgmtd.free_port()
        self.nodes, self.ports = Appliances(t, names), {}
        for name in names:
            self.ports[name] = Mgmtd.free_port()
            node = self.nodes[name]
            node.config.write_text(node.config.read_text() + f'[api]\nlisten = "127.0.0.1:{self.ports[name]}"\n'
                                   f'{keys(self.ours.issue(name, "IP:127.0.0.1"))}\nclient_ca = "{self.ours.ca}"\n')
        self.nodes.start()

    def manager(self, name, identity):
        trust = f'ca = "{self.ours.ca}"\n{keys(identity)}'
        return Mgmtd(self.t, name, directory=f'endpoints = ["{self.etcd.endpoints}"]\n{trust}',
                     more=f'[[listen]]\naddress = "127.0.0.1:{self.port}"\n{keys(self.identity)}\n[nodes]\n{trust}')

    def node(self, name, port=None):
        return {"name": name, "api": f"https://127.0.0.1:{port or self.ports[name]}", "address": self.nodes[name].address}

    def ask(self, context, method, target, body=None, token=""):
        connection = http.client.HTTPSConnection("127.0.0.1", self.port, timeout=self.t.scaled(20), context=context)
        try:
            connection.request(method, target, json.dumps(body) if body else None, {"Authorization": f"Bearer {token}"})
            reply = connection.getresponse()
            return reply.status, json.loads(reply.read() or "null")
        finally:
            connection.close()


@suite.case
def a_region_fails_over_with_everything_encrypted(t):
    all_of_it = Encrypted(t)
    manager = all_of_it.manager("m1", all_of_it.identity).start()
    context, token = all_of_it.ours.context(), manager.token("admin")
    for name in "ab":
        status, answer = all_of_it.ask(context, "POST", "/v1/nodes", all_of_it.node(name), token)
        t.equal(status, 201, f"node {name}: {answer}")
        t.wait_until(lambda: manager.good("GET", f"/v1/nodes/{name}")["health"] == "up", f"{name} is up", kSlow)  # pylint: disable=cell-var-from-loop
    status, answer = all_of_it.ask(context, "POST", "/v1/regions", {"name": "r", "size": "8MiB", "node": "a"}, token)
    t.equal(status, 201, f"a region: {answer}")
    t.wait_until(lambda: all_of_it.nodes["a"].lease("r") == "valid", "its lease", kSlow)
    status, answer = all_of_it.ask(context, "POST", "/v1/moves", {"region": "r", "target": "b"}, token)
    t.equal(status, 202, f"a move: {answer}")
    t.wait_until(lambda: manager.region("r")["node"] == "b", "it has moved", kSlow)
    manager.wait_ready("r", kSlow)
    the_command_line(t, all_of_it, token)


def the_command_line(t, all_of_it, token):
    file = t.dir / "admin.token"
    file.write_text(token + "\n")
    manager = ["--manager", f"https://127.0.0.1:{all_of_it.port}", "--token-file", file]

    def lagan(*words):
        return t.run([t.binary("client/lagan"), *words, *manager], check=False, timeout=120)
    stranger = lagan("region", "list")
    t.true(stranger.status == 3 and "certificate" in stranger.stderr, f"without our CA: {stranger}")
    manager += ["--ca", all_of_it.ours.ca]
    listed = lagan("region", "list", "--json")
    t.equal([(region["name"], region["node"]) for region in json.loads(listed.stdout)["regions"]], [("r", "b")], f"regions: {listed}")
    own = all_of_it.nodes.interface(f"ltls{all_of_it.nodes.number}")
    drill = lagan("failover", "test", "--json", "--size", "1MiB", "--interface", own, "--local-address", "10.79.0.9/24")
    t.equal((drill.status, json.loads(drill.stdout)["result"]), (0, "passed"), f"a drill, whose client asks by HTTPS too: {drill}")


@suite.case
def strangers_and_impostors_are_told_apart(t):
    all_of_it = Encrypted(t, "a")
    theirs = Authority(t, "theirs")
    manager = all_of_it.manager("m1", all_of_it.identity).start()
    try:
        all_of_it.ask(theirs.context(), "GET", "/v1/cluster")
        t.true(False, "a manager of another CA was believed")
    except ssl.SSLCertVerificationError:
        pass
    t.equal(all_of_it.ask(all_of_it.ours.context(), "GET", "/v1/cluster", token="lagan_wrong")[0], 401, "with a wrong token")
    # Who answers at the node's address must be it; b's certificate would be as good as a's only with b's name in it.
    wrong = {**all_of_it.node("a"), "api": f"https://localhost:{all_of_it.ports['a']}"}
    refused = manager.call("POST", "/v1/nodes", wrong)
    t.true(refused.status >= 400 and "certificate" in json.dumps(refused.body), f"a certificate for another name: {refused}")
    t.equal(manager.call("POST", "/v1/nodes", all_of_it.node("a")).status, 201, "the right one")


@suite.case
def a_manager_that_is_not_trusted_says_so(t):
    all_of_it = Encrypted(t, "a")
    stranger = all_of_it.manager("m1", Authority(t, "theirs").issue("manager", "IP:127.0.0.1"))
    process = t.start(stranger.program(), name="m1")
    process.wait_for("does etcd trust the certificate", 30)


if __name__ == "__main__":
    suite.main()
