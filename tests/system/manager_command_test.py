#!/usr/bin/python3
# SPDX-License-Identifier: BSD-3-Clause
# lagan-test: hugepages=no builds=release timeout=300
"""The `lagan` command against a real lagan-mgmtd and real appliances: what people and scripts get to see, exit statuses, roles, waits,
events as they happen, shell completion, and the drill."""
import json
import os
import pathlib
import signal
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "support"))
from harness import Suite
from mgmtd import Appliances, Mgmtd

suite = Suite(__file__)


class Cluster:
    """Two appliances of a manager's, and the command line of somebody who has set it up."""

    def __init__(self, t, names="ab", register=True):
        self.t = t
        self.nodes = Appliances(t, names).start()
        self.m = Mgmtd(t).start()
        t.wait_until(self.m.leads, "it leads")
        if register:
            self.nodes.register(self.m)
        self.environment = {"LAGAN_CONFIG": self.config("admin")}

    def config(self, role, tenant=""):
        """A configuration file with a token of that role, which it names."""
        token = self.t.dir / f"{role}{tenant}.token"
        token.write_text(self.m.token(role, tenant) + "\n")
        path = self.t.dir / f"{role}{tenant}.toml"
        path.write_text(f'manager = "unix:{self.m.socket}"\ntoken_file = "{token.name}"\n')
        return str(path)

    def argv(self, *words):
        return [self.t.binary("client/lagan"), *words]

    def run(self, *words, status=0, env=None, timeout=60):
        done = self.t.run(self.argv(*words), check=False, env={**os.environ, **(env or self.environment)}, timeout=timeout)
        self.t.equal(done.status, status, f"exit status of lagan {' '.join(map(str, words))}: {done}")
        return done

    def text(self, *words, **more):
        return self.run(*words, **more).stdout

    def error(self, status, *words, **more):
        return self.run(*words, status=status, **more).stderr

    def json(self, *words, **more):
        return json.loads(self.text(*words, "--json", **more))


@suite.case
def nodes_are_looked_after(t):
    c = Cluster(t, register=False)
    for name in "ab":
        shown = c.text("node", "add", name, "--api", c.nodes[name].socket, "--address", c.nodes[name].address)
        t.true(name in shown, shown)
    t.true("already" in c.error(1, "node", "add", "a", "--api", c.nodes["a"].socket), "twice the same")
    t.wait_until(lambda: all(each["health"] == "up" for each in c.json("node", "list")["nodes"]), "both are up")
    head, *rows = c.text("node", "list").splitlines()
    t.equal([head.split()[:3], [row.split()[:3] for row in rows]],
            [["NODE", "HEALTH", "MODE"], [["a", "up", "serve"], ["b", "up", "serve"]]], "the table")
    t.true("64.0 MiB" in c.text("node", "show", "b"), "the fields of one node")
    t.equal(c.json("node", "show", "b")["address"], c.nodes["b"].address, "its address")
    c.run("node", "remove", "b")
    t.true('no node "b"' in c.error(1, "node", "show", "b"), "it is gone")


if __name__ == "__main__":
    suite.main()
