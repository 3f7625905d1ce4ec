#!/usr/bin/python3
# SPDX-License-Identifier: BSD-3-Clause
# lagan-test: hugepages=no timeout=200
"""The node API by TCP: a client with the right certificate is served, everybody else is not, and nothing of it stands in
the unix socket's way."""
import http.client
import json
import pathlib
import socket
import ssl
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "support"))
from certificates import Authority
from harness import Suite
from lagand_node import LagandNode

suite = Suite(__file__)


class Node(LagandNode):
    def __init__(self, t, **changes):
        self.ours = Authority(t, "ours")
        certificate, key = self.ours.issue("node", "IP:127.0.0.1")
        with socket.create_server(("127.0.0.1", 0)) as free:  # nobody else is in this network namespace
            self.port = free.getsockname()[1]
        api = {"listen": f"127.0.0.1:{self.port}", "certificate": str(certificate), "key": str(key),
               "client_ca": str(self.ours.ca), **changes}
        keys = "\n".join(f"{name} = {json.dumps(value)}" for name, value in api.items() if value is not None)
        super().__init__(t, more=f"[api]\n{keys}")

    def call_by_tls(self, identity, method, target, body=None, version=None):
        """Status and body of a call by TLS with this certificate and key, or without."""
        context = self.ours.context(identity)
        if version:
            context.minimum_version = context.maximum_version = version
        connection = http.client.HTTPSConnection("127.0.0.1", self.port, timeout=self.t.scaled(20), context=context)
        try:
            connection.request(method, target, json.dumps(body) if body is not None else None)
            reply = connection.getresponse()
            return reply.status, json.loads(reply.read() or "null")
        finally:
            connection.close()


@suite.case
def who_has_the_right_certificate_is_served(t):
    node = Node(t)
    lagand = node.start()
    t.true(f"and https://127.0.0.1:{node.port}" in lagand.text(), "the log says where")
    manager = node.ours.issue("manager")
    for version in (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3):
        status, about = node.call_by_tls(manager, "GET", "/v1/node", version=version)
        t.equal((status, about["name"]), (200, "node"), "the node")
    t.equal(node.call_by_tls(manager, "POST", "/v1/regions", {"name": "a", "size": "8MiB"})[0], 201, "a region")
    t.equal(node.call("GET", "/v1/regions/a").status, 200, "the same on the unix socket")
    t.equal(node.call_by_tls(manager, "DELETE", "/v1/regions/a")[0], 204, "its end")
    done = t.run(["curl", "-sS", "--cacert", node.ours.ca, "--cert", manager[0], "--key", manager[1],
                  f"https://127.0.0.1:{node.port}/v1/node"])
    t.equal(json.loads(done.stdout)["name"], "node", "what curl sees")
    t.equal(lagand.terminate(), 0, "exit status")


@suite.case
def nobody_else_is(t):
    node = Node(t)
    lagand = node.start()
    strangers = {"no certificate": None, "another CA's": Authority(t, "theirs").issue("manager"),
                 "an expired one": node.ours.issue("expired", days=-1)}
    for what, identity in strangers.items():
        try:
            reply = node.call_by_tls(identity, "GET", "/v1/node")
        except (ssl.SSLError, ConnectionError) as refused:
            print(f"{what}: {refused}")
            continue
        raise AssertionError(f"{what}: was served: {reply}")
    with socket.create_connection(("127.0.0.1", node.port), t.scaled(20)) as plain:
        plain.sendall(b"GET /v1/node HTTP/1.1\r\nHost: x\r\n\r\n")
        t.true(b"HTTP" not in plain.recv(4096), "plain HTTP")
    t.equal(node.call_by_tls(node.ours.issue("manager"), "GET", "/v1/node")[0], 200, "the right one, still")
    t.equal(lagand.terminate(), 0, "exit status")


@suite.case
def connections_that_say_nothing_leave_the_socket_free(t):
    node = Node(t)
    lagand = node.start()
    silent = [socket.create_connection(("127.0.0.1", node.port), t.scaled(20)) for _ in range(100)]
    t.equal(node.call("GET", "/v1/node").status, 200, "the unix socket meanwhile")
    t.equal(lagand.terminate(), 0, "exit status")
    for each in silent:
        each.close()


@suite.case
def what_is_missing_is_named(t):
    def refused(node, status, pattern):
        done = t.run(node.argv(), check=False, timeout=60)
        t.equal(done.status, status, f"exit status: {done.stderr[-300:]}")
        t.true(pattern in done.stderr.splitlines()[-1], f"{pattern} in: {done.stderr[-300:]}")

    node = Node(t, client_ca=None)
    refused(node, 2, "api.client_ca: is missing")
    good = node.config.read_text() + f'client_ca = "{node.ours.ca}"\n'
    node.config.write_text(good.replace(str(node.ours.ca), "/nonexistent.pem"))
    refused(node, 1, "/nonexistent.pem: cannot read CA certificates")
    (node.ours.folder / "node.key").chmod(0o644)
    node.config.write_text(good)
    refused(node, 1, "chmod o-rwx")


if __name__ == "__main__":
    suite.main()
