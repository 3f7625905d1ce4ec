# SPDX-License-Identifier: BSD-3-Clause
"""Faults in a cluster (cluster.py), and their ends. Whom they are done to is found out when they are done."""
import collections
import signal
import time

kQuick = 1.0  # seconds for finding a target


class Faults:
    """Each method does one fault and returns what ends it, or nothing if there was nobody to do it to."""

    kinds = ("kill_home", "kill_home_and_rescue", "kill_target", "kill_manager", "kill_etcd", "stop_home", "stop_target", "stop_manager",
             "stop_etcd", "cut_client", "cut_nodes", "cut_manager", "cut_directory", "stop_store", "cut_store", "damage_store", "move", "drain", "checkpoint")

    def __init__(self, cluster, watcher):
        self.cluster, self.watcher, self.network = cluster, watcher, cluster.network
        self.done = collections.Counter()
        self.drained = set()  # nodes to be enabled again

    def inject(self, kind, region, choice):
        """`choice`: a number below 1 that decides what is left to decide."""
        end = getattr(self, kind)(region, choice)
        if end is not None:
            self.done[kind] += 1
        return end

    # ---- Whom ----

    def home(self, region):
        name = self.watcher.home(region)
        return self.cluster.nodes[name] if name else None

    def others(self, region):
        home = self.home(region)
        return [node for node in self.cluster.nodes.values() if node is not home]

    def leader(self):
        leader = self.cluster.leader_now()
        if leader:
            return leader
        return next((manager for manager in self.cluster.managers.values() if manager.runs() and not manager.stopped), None)

    def target(self, region):
        """Of the failover of that region that is under way, waited for a moment."""
        begin = time.monotonic()
        while time.monotonic() < begin + kQuick:
            for manager in self.cluster.managers.values():
                for failover in self.cluster.asked(manager, "GET", "/v1/failovers?limit=1000", "failovers"):
                    if failover["region"] == region and not failover["ended"] and failover["target"]:
                        return self.cluster.nodes[failover["target"]]
            time.sleep(0.005)
        return None

    # ---- Death ----

    def kill_node(self, node):
        if node is None or not node.runs() or node.stopped:
            return None
        node.lagand.kill()
        return lambda: self.start_node(node)

    @staticmethod
    def start_node(node):
        if not node.runs():
            node.begin()

    def kill_home(self, region, _):
        return self.kill_node(self.home(region))

    def kill_home_and_rescue(self, region, _):
        node = self.home(region)
        if self.kill_node(node) is None:
            return None
        node.begin("--rescue", node.arena)

        def end():
            if node.runs():
                node.lagand.kill()
            node.begin()
        return end

    def kill_target(self, region, choice):
        """Of a failover that was ordered for it."""
        self.move(region, choice)
        node = self.target(region)
        time.sleep(0.05 * choice)
        return self.kill_node(node)

    def kill_manager(self, _region, _choice):
        manager = self.leader()
        if manager is None:
            return None
        manager.process.kill()
        return lambda: manager.runs() or manager.start()

    def kill_etcd(self, _region, _choice):
        name = self.etcd_leader()
        if name is None:
            return None
        etcd = self.cluster.etcd
        etcd.members[name].kill()
        return lambda: etcd.members[name].status is None or etcd.start(name)

    def etcd_leader(self):
        return self.cluster.etcd.leader_now() if self.cluster.etcd else None

    # ---- Sleep ----

    @staticmethod
    def stop(whose, process):
        if whose.stopped or process.status is not None:
            return None
        whose.stopped = True
        process.signal(signal.SIGSTOP)

        def end():
            whose.stopped = False
            process.signal(signal.SIGCONT)
        return end

    def stop_home(self, region, _):
        node = self.home(region)
        return self.stop(node, node.lagand) if node else None

    def stop_target(self, region, choice):
        self.move(region, choice)
        node = self.target(region)
        return self.stop(node, node.lagand) if node else None

    def stop_manager(self, _region, _choice):
        manager = self.leader()
        return self.stop(manager, manager.process) if manager else None

    def stop_etcd(self, _region, _choice):
        name = self.etcd_leader()
        if name is None:
            return None
        process = self.cluster.etcd.members[name]
        process.signal(signal.SIGSTOP)
        return lambda: process.signal(signal.SIGCONT)

    # ---- Partitions ----

    def cut(self, *pairs):
        for x, y in pairs:
            self.network.cut(x, y)

        def end():
            for x, y in pairs:
                self.network.heal(x, y)
        return end

    def cut_client(self, region, _):
        node = self.home(region)
        return self.cut((f"k-{region}", node.host)) if node else None

    def cut_nodes(self, region, choice):
        node = self.home(region)
        return self.cut((node.host, self.others(region)[int(choice * 2)].host)) if node else None

    def cut_manager(self, region, choice):
        """Of the home, or of all appliances."""
        node, manager = self.home(region), self.leader()
        if node is None or manager is None:
            return None
        return self.cut(*((manager.host, each.host) for each in self.cluster.nodes.values() if choice < 0.3 or each is node))

    def cut_directory(self, _region, choice):
        manager, etcd = self.leader(), self.cluster.etcd
        if manager is None or etcd is None:
            return None
        names = etcd.names if choice < 0.5 else [etcd.names[int(choice * len(etcd.names))]]
        return self.cut(*((manager.host, name) for name in names))

    # ---- The store ----

    def stop_store(self, _region, _choice):
        return self.stop(self.cluster.store, self.cluster.store.process)

    def cut_store(self, region, choice):
        """Of the home, or of all appliances."""
        node = self.home(region)
        return self.cut(*((each.host, "s3") for each in self.cluster.nodes.values() if choice < 0.5 or each is node))

    def damage_store(self, _region, _choice):
        if self.cluster.store.stopped:
            return None
        self.cluster.store.damage()
        return lambda: None

    # ---- Orders ----

    def order(self, method, target, body=None):
        manager = self.leader()
        try:
            return manager is not None and manager.call(method, target, body).status < 300
        except OSError:
            return False

    def move(self, region, choice):
        return (lambda: None) if self.order("POST", "/v1/moves" if choice < 0.5 else "/v1/failovers", {"region": region}) else None

    def drain(self, region, _):
        node = self.home(region)
        if node is None or not self.order("POST", f"/v1/nodes/{node.name}/drain"):
            return None
        return lambda: self.drained.add(node.name)

    def finish(self):
        """What takes a leading manager, when there is one again."""
        while self.drained:
            self.cluster.enable(self.drained.pop())

    def checkpoint(self, region, _):
        return (lambda: None) if self.order("POST", f"/v1/regions/{region}/checkpoint") else None
