#!/usr/bin/python3
# SPDX-License-Identifier: BSD-3-Clause
# lagan-test: hugepages=no builds=release,asan timeout=300
"""Regions that a manager looks after: served while heartbeats renew their leases, silent without, gone for good when fenced; over
kill -9 and restart."""
import pathlib
import sys
import threading
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "support"))
from harness import Suite
from page_node import PageNode

suite = Suite(__file__)
kTtl = 1500  # ms


class Manager:
    """Says what a manager says, ten times a second while it beats."""

    def __init__(self, node, regions):
        self.node, self.names = node, regions
        self.last = None  # the newest reply
        self.stop = None
        self.thread = None

    def regions(self):
        known = {region["name"]: region for region in self.node.regions()}
        return [{key: known[name][key] for key in ("name", "uid", "epoch")} for name in self.names]

    def beat(self, **changes):
        body = {"regions": self.regions(), "ttl_ms": kTtl, **changes}
        if self.last is not None:
            body = {"instance": self.last["instance"], "base_ms": self.last["now_ms"], **body}
        reply = self.node.call("POST", "/v1/heartbeat", body)
        self.node.t.equal(reply.status, 200, f"heartbeat: {reply.body}")
        self.last = reply.body
        return reply.body

    def __enter__(self):
        self.beat()
        self.stop = threading.Event()

        def run():
            while not self.stop.is_set():
                self.beat()
                self.stop.wait(0.1)
        self.thread = threading.Thread(target=run)
        self.thread.start()
        self.node.t.wait_until(lambda: all(lease(self.node, name) == "valid" for name in self.names), "leases")
        return self

    def __exit__(self, *_):
        self.stop.set()
        self.thread.join()
        self.last = None


def lease(node, name):
    return node.region(name)["lease"]


def frozen(node):
    return node.stats()["total"]["drops"]["frozen"]


def node_with(t, *names):
    node = PageNode(t)
    node.start()
    for name in names:
        node.create(name, managed=True)
    return node


def silent(t, node, name="r"):
    """Nobody is answered, and nothing changes."""
    before, dropped = node.region(name), frozen(node)
    t.equal(node.client("read:0:1", region=name), [{"page": 0, "status": "no answer"}], "a READ without a lease")
    t.true(frozen(node) > dropped, "nothing was dropped for want of a lease")
    path = t.dir / "unwanted"
    path.write_bytes(node.random_pages(1)[0])
    t.equal(node.client(f"store:3:{path}", region=name)[0]["status"], "no answer", "a store without a lease")
    done = node.try_client("free:0:1", region=name)
    t.true(done.status == 1 and "no answer" in done.stderr, f"FREE without a lease: {done}")
    after = node.region(name)
    for key in ("present_pages", "dirty_pages"):
        t.equal(after[key], before[key], key)


@suite.case
def served_while_heartbeats_come(t):
    node = node_with(t, "r")
    node.create("alone")
    t.equal(lease(node, "r"), "expired", "before the first heartbeat")
    t.equal(lease(node, "alone"), "unmanaged", "of a region that no manager has asked for")
    silent(t, node)
    manager = Manager(node, ["r"])
    with manager:
        node.client(node.stores("r", 0, node.random_pages(20)), node.frees("r", 5, 2), region="r")
        t.equal(manager.last["refused"], [], "refused renewals")
        t.equal(manager.last["mode"], "serve", "mode")
        t.true(manager.last["heartbeat"] > 2, "heartbeats are counted")

        def told():
            regions = {region["name"]: region for region in manager.last["regions"]}
            return (regions["r"]["dirty_pages"], regions["alone"]["lease"])
        t.wait_until(lambda: told() == (20, "unmanaged"), "regions in the reply")
    t.wait_until(lambda: lease(node, "r") == "expired", "the end of the lease")
    silent(t, node)
    node.client(node.stores("alone", 0, node.random_pages(1)), "read:0:1", region="alone")
    # Who recovers may read.
    t.equal(node.client("pull", region="r", role="recover")[0]["crcs"], node.crcs("r"), "pages by recovery")
    with manager:
        t.equal(node.client("read:0:20", region="r")[0]["crcs"], {**node.crcs("r"), **{"5": 0xc71c0011, "6": 0xc71c0011}},
                "pages after the lease came back")
    t.equal(node.lagand.terminate(), 0, "exit status")


@suite.case
def one_regions_trouble_is_not_the_others(t):
    """That a region is managed cannot be written down: it is refused, and the next one in the heartbeat has its lease."""
    node = node_with(t, "r")
    node.create("alone")
    record = max(node.arena.glob("*record"), key=lambda path: path.stat().st_mtime_ns)
    in_the_way = record.with_name(record.name + ".new")
    in_the_way.mkdir()
    manager = Manager(node, ["alone", "r"])
    manager.beat()
    reply = manager.beat(ttl_ms=60000)  # nothing here waits for an end
    t.equal([refused["name"] for refused in reply["refused"]], ["alone"], "refused renewals")
    t.true("written down" in reply["refused"][0]["reason"], reply["refused"])
    t.equal((lease(node, "alone"), lease(node, "r")), ("unmanaged", "valid"), "leases")
    in_the_way.rmdir()
    t.equal(manager.beat(ttl_ms=60000)["refused"], [], "refused renewals when that is mended")
    t.equal(lease(node, "alone"), "valid", "lease of the other")


@suite.case
def a_client_waits_for_the_lease(t):
    node = node_with(t, "r")
    argument = node.stores("r", 0, node.random_pages(10))
    grant = node.grant("r", "write").body["grant"]
    client = t.start([t.binary("tests/system/page_client"), "--appliance", node.socket, "--grant", grant, argument], name="client")
    t.wait_until(lambda: frozen(node) > 0, "its first packets")
    with Manager(node, ["r"]):
        client.expect_exit(0, 60)
        t.equal(node.client("read:0:10", region="r")[0]["crcs"], node.crcs("r"), "pages")
    t.equal(node.lagand.terminate(), 0, "exit status")


@suite.case
def a_late_heartbeat_renews_nothing(t):
    node = node_with(t, "r")
    manager = Manager(node, ["r"])
    manager.beat()
    old = dict(manager.last)
    time.sleep(kTtl / 1000)
    reply = node.call("POST", "/v1/heartbeat", {"instance": old["instance"], "base_ms": old["now_ms"], "ttl_ms": kTtl,
                                                "regions": manager.regions()}).body
    t.true("over already" in reply["refused"][0]["reason"], f"a heartbeat that was on its way for long: {reply['refused']}")
    t.equal(lease(node, "r"), "expired", "lease")
    for change, reason in (({"epoch": 2}, "epoch 1 here, not 2"), ({"uid": "0123456789abcdef"}, "another uid"),
                           ({"name": "q"}, "no such region")):
        manager.beat(regions=[])
        refused = manager.beat(regions=[{**manager.regions()[0], **change}])["refused"]
        t.true(len(refused) == 1 and reason in refused[0]["reason"], f"{change}: {refused}")
        t.equal(lease(node, "r"), "expired", f"lease after {change}")
    t.equal(manager.beat(instance="0" * 16)["refused"][0]["name"], "r", "a heartbeat with another process's time")
    t.equal(lease(node, "r"), "expired", "lease")
    t.equal(manager.beat(ttl_ms=60000)["refused"], [], "a good one")
    t.equal(lease(node, "r"), "valid", "lease")
    t.equal(node.lagand.terminate(), 0, "exit status")


@suite.case
def it_stays_frozen_over_a_restart(t):
    node = node_with(t, "r")
    node.create("later")
    manager = Manager(node, ["r", "later"])
    with manager:
        node.client(node.stores("r", 0, node.random_pages(5)), region="r")
        old = dict(manager.last)
        t.equal(node.region("later")["managed"], True, "the first lease makes it managed")
    node.lagand.kill()
    node.start()
    for name in ("r", "later"):
        t.equal(lease(node, name), "expired", f"lease of {name} after kill -9")
    silent(t, node)
    reply = node.call("POST", "/v1/heartbeat", {"instance": old["instance"], "base_ms": 0, "ttl_ms": 60000,
                                                "regions": manager.regions()}).body
    t.equal(len(reply["refused"]), 2, f"a time of the process before: {reply['refused']}")
    t.true(reply["instance"] != old["instance"], "the clock's name")
    with manager:
        t.equal(node.client("read:0:5", region="r")[0]["crcs"], node.crcs("r"), "pages")
    t.equal(node.lagand.terminate(), 0, "exit status")
    node.start()
    t.equal(lease(node, "r"), "expired", "lease after an orderly stop")
    t.equal(node.lagand.terminate(), 0, "exit status")


@suite.case
def a_fence_over_rdma(t):
    node = node_with(t, "r")
    with Manager(node, ["r"]) as manager:
        node.client(node.stores("r", 7, node.random_pages(3)), region="r")
        t.equal(node.client("fence:2", region="r", role="write"), [{"capsule_status": 5}], "by a writer")
        t.equal(node.client("fence:1", region="r", role="recover"), [{"capsule_status": 6}], "of the region's epoch")
        t.equal(lease(node, "r"), "valid", "lease")
        seen = node.client("fence:2", "pull", "fence:3", region="r", role="recover")
        t.true(seen[0]["asked"] > 1 and seen[2]["asked"] == 1, f"FENCE: {seen}")
        t.equal(seen[1]["crcs"], node.crcs("r"), "pages after it")
        t.equal(node.region("r")["fence_epoch"], 3, "epoch")
        t.wait_until(lambda: "fenced" in str(manager.last["refused"]), "the heartbeat's refusal")
    t.wait_until(lambda: "region_fenced" in str(node.get("/v1/events?after=0")), "the event")
    node.lagand.kill()
    node.start()
    t.equal((lease(node, "r"), node.region("r")["fence_epoch"]), ("fenced", 3), "after kill -9")
    t.equal(node.lagand.terminate(), 0, "exit status")


@suite.case
def a_fence_is_for_good(t):
    node = node_with(t, "r")
    manager = Manager(node, ["r"])
    with manager:
        node.client(node.stores("r", 0, node.random_pages(50)), region="r")
        grant = node.grant("r", "write").body["grant"]
        client = t.start([t.binary("tests/system/page_client"), "--appliance", node.socket, "--grant", grant,
                          *["read:0:50"] * 100000], name="client")
        reads = node.counter("reads")
        t.wait_until(lambda: node.counter("reads") > reads + 100, "the client's READs")
        for epoch in (0, 1):
            refused = node.call("POST", "/v1/regions/r/fence", {"epoch": epoch})
            t.true(refused.status in (409, 422), f"a fence of epoch {epoch}: {refused.body}")
        done = node.call("POST", "/v1/regions/r/fence", {"epoch": 4})
        t.equal((done.status, done.body["lease"], done.body["fence_epoch"]), (200, "fenced", 4), "fence")
        client.wait(timeout=60)
        t.true("had ended" in client.text(), "a client of a fenced region went on")
        t.wait_until(lambda: "fenced" in str(manager.last["refused"]), "the heartbeat's refusal")
    t.equal(node.region("r")["connections"], 0, "connections")
    for _ in range(2):
        done = node.try_client("read:0:1", grant=grant)
        t.true(done.status == 1 and "moved" in done.stderr, f"a new connection: {done}")
        t.equal(node.client("pull", region="r", role="recover")[0]["crcs"], node.crcs("r"), "pages by recovery")
        manager.beat()
        t.equal(manager.beat()["refused"][0]["name"], "r", "renewal")
        manager.last = None
        node.lagand.kill()
        node.start()
        t.equal((lease(node, "r"), node.region("r")["fence_epoch"]), ("fenced", 4), "after kill -9")
    t.equal(node.stats()["connections"]["grants_refused"]["moved"], 0, "counted anew")
    for which in ("?epoch=2", ""):
        refused = node.call("DELETE", "/v1/regions/r" + which)
        t.equal(refused.status, 409, f"deletion of another epoch, and of a manager's region: {refused.body}")
    t.equal(node.call("DELETE", "/v1/regions/r?epoch=1").status, 204, "deletion")
    t.equal(node.regions(), [], "regions")
    t.equal(node.lagand.terminate(), 0, "exit status")


if __name__ == "__main__":
    suite.main()
