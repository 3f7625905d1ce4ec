# SPDX-License-Identifier: BSD-3-Clause
"""Hosts in network namespaces of their own, each pair with a link of its own that can be cut.

A host's links are ports of a bridge in its namespace, and isolated from one another there: nothing goes around a link that is cut.
"""
import itertools
import os

from harness import Skip

kKernels = "10.80.0"   # TCP: managers, etcd, node APIs
kMachines = "10.81.0"  # RDMA
kHere = "here"         # the test's own namespace, as a host


class Network:
    """`hosts` in the order of their numbers. Here is linked to all, for looking at them."""

    def __init__(self, t, hosts, unlinked=lambda x, y: False):
        if os.geteuid() != 0:
            raise Skip("network namespaces need root")
        self.t, self.hosts = t, [kHere, *hosts]
        self.number = {host: index + 1 for index, host in enumerate(self.hosts)}
        self.cuts, self.with_interface = set(), set()
        tag = os.getpid() % 100000
        self.lan = f"lnw{tag}"
        self.spaces = {host: f"lagan-{tag}-{host}" for host in hosts}
        t.defer(self.remove)
        for space in self.spaces.values():
            self.command(["ip", "netns", "add", space])
        for host in self.hosts:
            self.batch("ip", host, [f"link add name {self.lan} type bridge mcast_snooping 0", f"link set {self.lan} mtu 4200 up",
                                    f"addr add {self.address(host)}/24 dev {self.lan}", "link set lo up"])
        self.pairs = [(x, y) for x, y in itertools.combinations(self.hosts, 2) if not unlinked(x, y)]
        for x, y in self.pairs:
            self.link(x, y)

    def address(self, host):
        return f"{kKernels}.{self.number[host]}"

    def machine_address(self, host):
        """For its RDMA port; the kernel does not have it."""
        return f"{kMachines}.{self.number[host]}"

    def command(self, argv, text=None):
        made = self.t.run(argv, check=False, input=text)
        if made.status != 0:
            raise Skip(f"{' '.join(argv)}: {made.stderr.strip()}")

    def batch(self, tool, host, lines):
        where = ["-n", self.spaces[host]] if host in self.spaces else []
        self.command([tool, *where, "-batch", "-"], "\n".join(lines) + "\n")

    def port(self, x, y):
        """The end at x of the link to y."""
        return f"{self.lan}{self.number[x]}-{self.number[y]}"

    def link(self, x, y):
        ends = ((x, y), (y, x))
        places = [f"name {self.port(*end)}" + (f" netns {self.spaces[end[0]]}" if end[0] in self.spaces else "") for end in ends]
        self.command(["ip", "-batch", "-"], f"link add {places[0]} mtu 4200 type veth peer {places[1]} mtu 4200\n")
        for end in ends:
            port = self.port(*end)
            self.batch("ip", end[0], [f"link set {port} addrgenmode none", f"link set {port} master {self.lan}", f"link set {port} up"])
            self.batch("bridge", end[0], [f"link set dev {port} isolated on"])

    def interface(self, host):
        """For an RDMA port: on the host's bridge, and the kernel does not use it."""
        name, other = "rdma", "rdma-lan"
        if host in self.with_interface:
            return name
        self.with_interface.add(host)
        self.batch("ip", host, [f"link add name {name} mtu 4200 type veth peer name {other} mtu 4200",
                                *[f"link set {end} addrgenmode none" for end in (name, other)],
                                f"link set {other} master {self.lan}", *[f"link set {end} up" for end in (name, other)]])
        return name

    def argv(self, host, argv):
        """To be run there. The process is the program itself: it gets the signals."""
        return ["nsenter", f"--net=/run/netns/{self.spaces[host]}", "--", *argv]

    def cut(self, x, y):
        self.cuts.add((x, y))
        self.batch("bridge", x, [f"link set dev {self.port(x, y)} state 0"])

    def heal(self, x, y):
        self.cuts.discard((x, y))
        self.cuts.discard((y, x))
        for end in ((x, y), (y, x)):
            self.batch("bridge", end[0], [f"link set dev {self.port(*end)} state 3"])

    def heal_all(self):
        for x, y in list(self.cuts):
            self.heal(x, y)

    def remove(self):
        os.system(f"ip link del {self.lan} 2>/dev/null")
        for space in self.spaces.values():
            os.system(f"ip netns del {space} 2>/dev/null")
