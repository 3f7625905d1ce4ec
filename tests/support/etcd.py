# SPDX-License-Identifier: BSD-3-Clause
"""A real etcd of one or three members on loopback, up in half a second, all of its state under one directory."""
import json
import pathlib
import shutil
import urllib.error
import urllib.request

from ceph import free_ports
from errors import Failure


class Etcd:
    """Started by the constructor; its members end with the case that `t` is of. On a network (network.py), each is on a host of its
    own: e1, e2, ... With an `authority`, clients come by TLS with a certificate of it."""

    def __init__(self, t, directory, members=1, network=None, authority=None):
        if shutil.which("etcd") is None:
            raise Failure("etcd not installed: run ./tools/setup --group test")
        self.t, self.dir, self.network = t, pathlib.Path(directory), network
        self.context, self.tls, scheme = None, [], "http"
        if authority:
            scheme, served, own = "https", authority.issue("etcd", "IP:127.0.0.1"), authority.issue("etcd-test")
            self.context = authority.context(own)
            self.tls = ["--cert-file", served[0], "--key-file", served[1], "--client-cert-auth", "--trusted-ca-file", authority.ca]
        if network:
            self.names = [f"e{index + 1}" for index in range(members)]
            self.urls, self.peers = ({name: f"http://{network.address(name)}:{port}" for name in self.names} for port in (2379, 2380))
        else:
            first = free_ports(t, 2 * members)
            self.names = [f"n{index}" for index in range(members)]
            self.urls = {name: f"{scheme}://127.0.0.1:{first + index}" for index, name in enumerate(self.names)}
            self.peers = {name: f"http://127.0.0.1:{first + members + index}" for index, name in enumerate(self.names)}
        self.members = {}
        for name in self.names:
            self.start(name)
        t.wait_until(lambda: all(self.status(name) for name in self.names), "etcd answers", 60)

    def start(self, name):
        argv = ["etcd", "--name", name, "--data-dir", self.dir / name, "--listen-client-urls", self.urls[name],
                "--advertise-client-urls", self.urls[name], "--listen-peer-urls", self.peers[name],
                "--initial-advertise-peer-urls", self.peers[name], "--initial-cluster",
                ",".join(f"{each}={self.peers[each]}" for each in self.names), "--heartbeat-interval", "20",
                "--election-timeout", "200", "--unsafe-no-fsync", *self.tls]
        self.members[name] = self.t.start(self.network.argv(name, argv) if self.network else argv, name=f"etcd-{name}")

    @property
    def endpoints(self):
        return ",".join(self.urls.values())

    def status(self, name):
        """What the member says of itself; None while it knows no leader."""
        try:
            query = urllib.request.Request(self.urls[name] + "/v3/maintenance/status", data=b"{}")
            with urllib.request.urlopen(query, timeout=2, context=self.context) as reply:
                status = json.load(reply)
                return status if status.get("leader", "0") != "0" else None
        except (OSError, urllib.error.URLError, json.JSONDecodeError):
            return None

    def leader_now(self):
        """The name of the member that leads, or None."""
        for name, member in self.members.items():
            status = self.status(name) if member.status is None else None
            if status and status["leader"] == status["header"]["member_id"]:
                return name
        return None

    def leader(self):
        return self.t.wait_until(self.leader_now, "etcd has a leader", 60)
