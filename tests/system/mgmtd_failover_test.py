#!/usr/bin/python3
# SPDX-License-Identifier: BSD-3-Clause
# lagan-test: hugepages=no builds=release timeout=600
"""lagan-mgmtd and real appliances: leases, appliances that die in every way, managers and etcd that die, moves and drains. Stores that
were acknowledged are read back at the new home, or the region says that it was rolled back."""
import pathlib
import signal
import sys
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "support"))
from etcd import Etcd
from harness import Suite
from mgmtd import Appliances, Mgmtd

suite = Suite(__file__)
kPages = 512  # of a region
kSlow = 120  # seconds that nothing here takes


class Managed:
    """Three appliances, managers, and region "r" with known pages: some in its baseline, some stored since then."""

    def __init__(self, t, managers=1, names="abc", directory=None, more="", health=""):
        self.t = t
        self.nodes = Appliances(t, names).start()
        self.managers = [Mgmtd(t, f"m{number + 1}", directory=directory, more=more, health=health) for number in range(managers)]
        for manager in self.managers:
            manager.start()
        self.m = self.managers[0]
        self.leader()
        self.nodes.register(self.m)
        self.m.good("POST", "/v1/regions", {"name": "r", "size": kPages * 4096, "node": "a"})
        self.home = self.nodes["a"]
        self.wait_for_lease(self.home)
        self.home.pages["r"] = {}
        self.home.client(self.home.stores("r", 0, self.home.random_pages(100)), region="r")

    def leader(self):
        living = [manager for manager in self.managers if manager.process.status is None]
        return self.t.wait_until(lambda: next((each for each in living if each.leads()), None), "one leads", kSlow)

    def wait_for_lease(self, node):
        self.t.wait_until(lambda: node.lease("r") == "valid", f"{node.name} has a valid lease", kSlow)

    def checkpoint(self):
        self.m.good("POST", "/v1/regions/r/checkpoint")
        self.t.wait_until(lambda: self.m.good("GET", "/v1/regions/r/checkpoint")["state"] == "done", "the checkpoint", kSlow)

    def store_more(self):
        self.home.client(self.home.stores("r", 50, self.home.random_pages(100)), self.home.frees("r", 10, 5), region="r")

    def moved(self, away_from="a"):
        """The region's record when it is whole at another home."""
        record = self.t.wait_until(lambda: self.now_at_other(away_from), f"a new home, not {away_from}", kSlow)
        return record

    def now_at_other(self, away_from):
        record = self.m.region("r")
        return record if record["node"] != away_from and record["state"] == "ready" and not record["failover"] else None

    def check(self, record, pages):
        """Every page is as it was stored, at the new home, which goes on."""
        new = self.nodes[record["node"]]
        self.wait_for_lease(new)
        self.t.equal(new.region("r")["epoch"], record["epoch"], "epoch at the new home")
        seen = new.client(f"read:0:{kPages}", region="r")[0]["crcs"]
        new.pages["r"] = dict(pages)
        wanted = new.crcs("r")
        zeros = next(crc for page, crc in seen.items() if int(page) >= 400)
        wrong = [page for page, crc in seen.items() if wanted.get(page, zeros) != crc]
        self.t.equal(wrong, [], "pages that are not as they were stored")
        self.home = new
        self.store_more()


@suite.case
def a_lease_is_renewed_and_ends(t):
    managed = Managed(t, health="missed = 25\nlease_ms = 5000")  # so that no pause of the machine's looks like an end
    for _ in range(20):
        t.equal(managed.home.lease("r"), "valid", "the lease while all is well")
        time.sleep(0.1)
    managed.m.process.kill()
    t.wait_until(lambda: managed.home.lease("r") == "expired", "without a manager the lease ends", kSlow)
    managed.m.start()
    managed.wait_for_lease(managed.home)
    t.equal(managed.m.failovers("r"), [], "failovers because of that")
    managed.store_more()


@suite.case
def an_appliance_that_is_killed_is_rolled_back_to_its_checkpoint(t):
    managed = Managed(t)
    managed.checkpoint()
    at_cut = dict(managed.home.pages["r"])
    managed.store_more()
    managed.home.lagand.kill()
    record = managed.moved()
    t.equal((record["epoch"], record["rolled_back"]["epoch"], record["rolled_back"]["cut_number"]), (2, 2, 1), f"rolled back: {record}")
    failover = managed.m.failovers("r")[0]
    t.equal((failover["step"], failover["source_kind"], failover["lease_over_by"]), ("rolled_back", "none", "expiry"), f"{failover}")
    managed.check(record, at_cut)
    # The old one comes back: what it has is old, and goes.
    managed.nodes["a"].start()
    t.wait_until(lambda: managed.nodes["a"].regions() == [], "the stale copy is deleted", kSlow)


@suite.case
def a_rescue_loses_nothing(t):
    managed = Managed(t, more="[failover]\nrescue_wait_ms = 60000")
    managed.checkpoint()
    managed.store_more()
    pages = dict(managed.home.pages["r"])
    managed.home.lagand.kill()
    t.wait_until(lambda: managed.m.failovers("r"), "it is noticed", kSlow)
    managed.nodes["a"].rescue()
    record = managed.moved()
    t.equal(record["rolled_back"], None, "rolled back")
    managed.check(record, pages)


@suite.case
def management_that_is_cut_off_is_fenced_by_rdma(t):
    managed = Managed(t)
    managed.checkpoint()
    managed.store_more()
    pages = dict(managed.home.pages["r"])
    # The manager cannot reach it, other appliances can.
    hidden = managed.home.socket.with_suffix(".hidden")
    managed.home.socket.rename(hidden)
    record = managed.moved()
    t.equal(record["rolled_back"], None, "rolled back")
    failover = managed.m.failovers("r")[0]
    t.equal((failover["step"], failover["source_kind"], failover["lease_over_by"]), ("done", "live", "fence"), f"{failover}")
    hidden.rename(managed.home.socket)
    managed.check(record, pages)
    t.wait_until(lambda: managed.nodes["a"].regions() == [], "the stale copy is deleted", kSlow)


@suite.case
def a_hung_appliance_is_given_up_and_never_serves_again(t):
    managed = Managed(t)
    managed.checkpoint()
    at_cut = dict(managed.home.pages["r"])
    managed.home.lagand.signal(signal.SIGSTOP)
    record = managed.moved()
    managed.home.lagand.signal(signal.SIGCONT)
    old = managed.home
    managed.check(record, at_cut)
    t.wait_until(lambda: old.regions() == [], "the stale copy is deleted", kSlow)


@suite.case
def an_appliance_that_is_restarted_in_time_loses_nothing(t):
    managed = Managed(t, more="[failover]\nrescue_wait_ms = 60000")
    managed.store_more()
    pages = dict(managed.home.pages["r"])
    managed.home.lagand.kill()
    t.wait_until(lambda: managed.m.failovers("r"), "it is noticed", kSlow)
    managed.home.start()
    # It goes on, or another appliance has read its memory before it could.
    record = managed.m.wait_ready("r", kSlow)
    t.equal(record["rolled_back"], None, f"rolled back: {record}")
    managed.check(record, pages)


@suite.case
def a_region_moves_and_a_node_is_drained(t):
    managed = Managed(t)
    managed.store_more()
    pages = dict(managed.home.pages["r"])
    managed.m.good("POST", "/v1/moves", {"region": "r", "target": "c"})
    record = managed.moved()
    t.equal((record["node"], record["rolled_back"]), ("c", None), "after a move")
    managed.check(record, pages)
    pages = dict(managed.home.pages["r"])
    drained = managed.m.good("POST", "/v1/nodes/c/drain")
    t.equal([move["region"] for move in drained["moves"]], ["r"], "what a drain moves")
    record = managed.moved("c")
    t.equal(record["rolled_back"], None, "after a drain")
    managed.check(record, pages)
    t.wait_until(lambda: managed.nodes["c"].regions() == [], "the drained node is empty", kSlow)
    managed.m.good("DELETE", "/v1/nodes/c")


@suite.case
def no_room_anywhere_is_waited_out(t):
    managed = Managed(t, names="ab")
    managed.store_more()
    pages = dict(managed.home.pages["r"])
    unclaimed = managed.nodes["b"].get("/v1/node")["memory"]["unclaimed_bytes"]
    managed.m.good("POST", "/v1/regions", {"name": "big", "size": unclaimed // 4096 * 4096, "node": "b"})
    hidden = managed.home.socket.with_suffix(".hidden")
    managed.home.socket.rename(hidden)
    t.wait_until(lambda: any("no node has room" in (each["problem"] or "") for each in managed.m.failovers("r")), "it says why", kSlow)
    managed.m.good("DELETE", "/v1/regions/big")
    record = managed.moved()
    t.equal((record["node"], record["rolled_back"]), ("b", None), "its home when there was room")
    hidden.rename(managed.home.socket)
    managed.check(record, pages)


@suite.case
def a_manager_killed_at_any_moment_is_followed_by_itself(t):
    managed = Managed(t)
    managed.checkpoint()
    for _ in range(6 if t.long else 3):
        home = managed.home
        pages = dict(home.pages["r"])
        hidden = home.socket.with_suffix(".hidden")
        before = {failover["id"] for failover in managed.m.failovers("r")}
        home.socket.rename(hidden)
        t.wait_until(lambda: {failover["id"] for failover in managed.m.failovers("r")} - before, "a failover", kSlow)  # pylint: disable=cell-var-from-loop
        time.sleep(t.rng.uniform(0, 0.3))
        managed.m.process.kill()
        managed.m.start()
        record = managed.moved(home.name)
        t.equal(record["rolled_back"], None, "rolled back")
        hidden.rename(home.socket)
        managed.check(record, pages)
        t.wait_until(lambda: home.regions() == [], "the stale copy is deleted", kSlow)  # pylint: disable=cell-var-from-loop


@suite.case
def managers_and_etcd_lose_their_leaders(t):
    etcd = Etcd(t, t.dir / "etcd", members=3)
    endpoints = ", ".join(f'"{url}"' for url in etcd.urls.values())
    managed = Managed(t, managers=3, directory=f"endpoints = [{endpoints}]")
    managed.checkpoint()
    managed.store_more()
    pages = dict(managed.home.pages["r"])
    member = etcd.leader()
    etcd.members[member].kill()
    managed.wait_for_lease(managed.home)
    hidden = managed.home.socket.with_suffix(".hidden")
    managed.home.socket.rename(hidden)
    leader = managed.leader()
    leader.process.kill()
    managed.m = managed.leader()
    t.true(managed.m is not leader, "another manager leads")
    record = managed.moved()
    t.equal(record["rolled_back"], None, "rolled back")
    hidden.rename(managed.home.socket)
    managed.check(record, pages)
    etcd.start(member)


if __name__ == "__main__":
    suite.main()
