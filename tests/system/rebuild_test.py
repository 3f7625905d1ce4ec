#!/usr/bin/python3
# SPDX-License-Identifier: BSD-3-Clause
# lagan-test: hugepages=no builds=release timeout=300
"""A region is rebuilt by another lagand, over a network between the two: from an old home that lives, from a rescue of one that
was killed, from its baseline alone. A client at the new home sees every byte, while it is rebuilt and afterwards."""
import os
import pathlib
import sys
import zlib

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "support"))
from harness import Skip, Suite
from lagand_node import LagandNode
from links import interface_index
from page_node import PageNode, kPage

suite = Suite(__file__)
kPatience = 100  # seconds that nothing here takes, however slow the machine
kPages = 1024
kZeros = zlib.crc32(bytes(kPage))


class Home(PageNode):
    """A lagand with a vhost port for a client, and one on the network between the two."""

    def __init__(self, t, name, address, interface):
        network = f'[[port]]\nname = "net"\nkind = "af_packet"\ninterface = "{interface}"\naddresses = ["{address}/24"]'
        LagandNode.__init__(self, t, name, size="64MiB", more=f'{network}\n[baseline]\nstore = "{t.dir}/store"')
        self.settings, self.pages, self.address = [], {}, address

    def source(self, region="r"):
        """As POST /v1/rebuilds wants it."""
        return {"address": self.address, "port": 7471, "grant": self.grant(region, "recover").body["grant"]}

    def checkpoint(self):
        self.t.equal(self.call("POST", "/v1/regions/r/checkpoint").status, 202, "a checkpoint is asked for")
        self.t.wait_until(lambda: self.get("/v1/regions/r/checkpoint")["state"] == "done", "a checkpoint", kPatience)

    def try_rebuild(self, of, **more):
        return self.call("POST", "/v1/rebuilds", {"region": "r", "uid": of["uid"], "epoch": 2, "size_bytes": of["size_bytes"], **more})

    def rebuild(self, of, baseline=True, **more):
        """The state that the order is answered with."""
        asked = self.try_rebuild(of, baseline=baseline, **more)
        self.t.equal(asked.status, 202, f"a rebuild: {asked.body}")
        return asked.body["state"]

    def state(self):
        return self.get("/v1/rebuilds/r")

    def wait_for(self, state):
        def there():
            now = self.state()
            self.t.true(now["state"] == state or now["state"] != "failed", f"the rebuild failed: {now}")
            return now["state"] == state
        self.t.wait_until(there, f"a rebuild that is {state}", kPatience)
        return self.state()

    def check(self, expected):
        """All pages, by a client."""
        seen = self.client(f"read:0:{kPages}", region="r")[0]["crcs"]
        wanted = {str(page): kZeros if page not in expected else zlib.crc32(expected[page]) for page in range(kPages)}
        self.t.equal({page: crc for page, crc in seen.items() if wanted[page] != crc}, {}, "pages that are not what was stored")
        self.t.equal(len(seen), kPages, "pages read")


def two_homes(t):
    """The first runs and has a region with a checkpoint and changes since then."""
    if os.geteuid() != 0:
        raise Skip("a veth pair needs root")
    ends = [f"lga{os.getpid() % 1000000}", f"lgb{os.getpid() % 1000000}"]
    made = t.run(["ip", "link", "add", ends[0], "index", interface_index(), "mtu", 4200,
                  "type", "veth", "peer", "name", ends[1], "mtu", 4200], check=False)
    if made.status != 0:
        raise Skip(f"no veth pair can be made: {made.stderr.strip()}")
    t.defer(lambda: os.system(f"ip link del {ends[0]} 2>/dev/null"))
    for end in ends:
        t.run(["ip", "link", "set", end, "addrgenmode", "none"])
        t.run(["ip", "link", "set", end, "up"])
    old, new = Home(t, "old", "10.78.0.1", ends[0]), Home(t, "new", "10.78.0.2", ends[1])
    old.start()
    new.start()
    old.create("r")
    old.client(old.stores("r", 0, old.random_pages(300)), region="r")
    old.checkpoint()
    old.at_cut = dict(old.pages["r"])
    old.client(old.stores("r", 100, old.random_pages(50)), old.stores("r", 700, old.random_pages(200)), old.frees("r", 20, 30),
               region="r")
    old.changed = 50 + 200 + 30
    return old, new


def serves(t, home, pages):
    """It is whole, and its own: dirty pages are those that its baseline has not, and a checkpoint goes on from there."""
    home.pages["r"] = dict(pages)
    home.check(pages)
    home.client(home.stores("r", 5, home.random_pages(3)), home.frees("r", 710, 2), region="r")
    home.checkpoint()
    t.equal(home.region("r")["dirty_pages"], 0, "dirty pages after a checkpoint")
    home.check(home.pages["r"])
    home.lagand.kill()
    home.start()
    home.check(home.pages["r"])


@suite.case
def from_an_old_home_that_lives(t):
    old, new = two_homes(t)
    region = old.region("r")
    new.rebuild(region, source=old.source())
    new.check(old.pages["r"])  # while it comes
    done = new.wait_for("done")
    t.equal((done["pages_pending"], done["pages_listed"], done["rolled_back"], done["fenced"]), (0, old.changed, False, True), done)
    t.true(done["pages_pulled"] >= old.changed and done["pages_from_baseline"] > 0, f"from both: {done}")
    # What clients asked for before it was clear that the baseline fits is dirty as well.
    dirty = new.region("r")["dirty_pages"]
    t.true(old.changed <= dirty <= done["pages_pulled"], f"dirty at the new home, {dirty}: what the baseline has not")
    t.equal((new.region("r")["epoch"], new.region("r")["uid"]), (2, region["uid"]), "who it is")
    t.equal(new.rebuild(region, source=old.source()), "done", "asked for once more")
    refused = old.try_client("read:0:1", region="r")
    t.true(refused.status == 1, f"the old home serves it still: {refused}")
    serves(t, new, old.pages["r"])
    t.equal(new.rebuild(region, source=old.source()), "done", "and after a restart")


@suite.case
def without_a_baseline(t):
    old, new = two_homes(t)
    new.rebuild(old.region("r"), baseline=False, source=old.source())
    done = new.wait_for("done")
    t.equal(new.region("r")["dirty_pages"], new.region("r")["size_bytes"] // kPage, f"all dirty: {done}")
    serves(t, new, old.pages["r"])


@suite.case
def from_a_rescue(t):
    old, new = two_homes(t)
    region = old.region("r")
    old.lagand.kill()
    old.rescue()
    files = old.files()
    new.rebuild(region, source=old.source())
    new.check(old.pages["r"])
    new.wait_for("done")
    t.equal(old.files(), files, "the arena's files")
    serves(t, new, old.pages["r"])


@suite.case
def the_source_goes_and_comes_back_as_a_rescue(t):
    old, new = two_homes(t)
    region, source = old.region("r"), old.source()
    old.lagand.signal(19)  # SIGSTOP
    new.rebuild(region, source=source)
    t.true("no connection" in new.wait_for("source_lost")["problem"], "what it waits for")
    old.lagand.kill()
    old.rescue()
    new.rebuild(region, source=old.source())
    new.wait_for("done")
    serves(t, new, old.pages["r"])


@suite.case
def from_the_baseline_alone(t):
    old, new = two_homes(t)
    region = old.region("r")
    old.lagand.kill()
    new.rebuild(region, source=None)
    new.check(old.at_cut)
    done = new.wait_for("done")
    t.equal((done["rolled_back"], done["cut_number"], done["fenced"]), (True, 1, False), done)
    t.true(done["cut_time_us"] > 0, "the cut's time")
    t.equal(new.region("r")["dirty_pages"], 0, "dirty pages")
    serves(t, new, old.at_cut)


@suite.case
def a_baseline_that_has_lost_its_pages(t):
    """The old home has them still; the next checkpoint stores them again."""
    old, new = two_homes(t)
    for segment in (t.dir / "store").rglob("*.seg"):
        segment.unlink()
    new.rebuild(old.region("r"), source=old.source())
    new.check(old.pages["r"])
    done = new.wait_for("done")
    t.equal((done["damaged_pages"], done["pages_from_baseline"]), (0, 0), done)
    t.true("baseline_damaged" in {event["kind"] for event in new.get("/v1/events")["events"]}, "operators are told")
    serves(t, new, old.pages["r"])


@suite.case
def the_new_home_is_killed_meanwhile(t):
    old, new = two_homes(t)
    region, source = old.region("r"), old.source()
    old.lagand.signal(19)
    new.rebuild(region, source=source)
    new.wait_for("source_lost")
    new.lagand.kill()
    new.start()
    there = new.region("r")
    t.equal((there["state"], there["epoch"]), ("rebuilding", 2), f"after a restart: {there}")
    t.equal(new.call("GET", "/v1/rebuilds/r").status, 404, "nobody rebuilds it")
    old.lagand.signal(18)  # SIGCONT
    new.rebuild(region, source=source)
    new.check(old.pages["r"])
    new.wait_for("done")
    serves(t, new, old.pages["r"])


@suite.case
def dropped_and_rolled_back(t):
    old, new = two_homes(t)
    region, source = old.region("r"), old.source()
    old.lagand.kill()
    new.rebuild(region, source=source)
    new.wait_for("source_lost")
    t.equal(new.call("DELETE", "/v1/regions/r").status, 409, "deletion meanwhile")
    t.equal(new.call("DELETE", "/v1/rebuilds/r?epoch=7").status, 204, "another attempt is dropped")
    t.equal((new.region("r")["epoch"], new.state()["state"]), (2, "source_lost"), "this one goes on")
    t.equal(new.call("DELETE", "/v1/rebuilds/r").status, 204, "dropped")
    t.equal((new.regions(), new.get("/v1/rebuilds")["rebuilds"]), ([], []), "what is left")
    new.rebuild(region, epoch=3, source=None)
    new.wait_for("done")
    serves(t, new, old.at_cut)


@suite.case
def what_is_refused(t):
    old, new = two_homes(t)
    region, source = old.region("r"), old.source()
    for what, status, more in (("nothing to rebuild from", 422, {}), ("no uid", 422, {"uid": "xyz", "baseline": True}),
                               ("a grant that is none", 422, {"source": {**source, "grant": "00"}}),
                               ("an unknown field", 422, {"source": {**source, "x": 1}}),
                               ("an epoch of 1", 422, {"epoch": 1, "baseline": True}),
                               ("half a page", 422, {"size_bytes": 2048, "baseline": True}),
                               ("no room", 507, {"size_bytes": 1 << 40, "baseline": True})):
        t.equal(new.try_rebuild(region, **more).status, status, what)
    t.equal(new.regions(), [], "regions")
    new.rebuild(region, uid="1234", baseline=False, source=source)  # another region's
    t.wait_until(lambda: new.state()["state"] == "failed", "its failure", kPatience)
    t.true("another region's" in new.state()["problem"], new.state())
    t.equal(new.call("DELETE", "/v1/rebuilds/r").status, 204, "dropped")


@suite.case
def probes(t):
    old, new = two_homes(t)
    source = old.source()
    first = new.call("POST", "/v1/probes", source)
    t.equal((first.status, first.body["reachable"]), (200, True), f"a probe: {first.body}")
    t.wait_until(lambda: new.call("POST", "/v1/probes", source).body["heartbeat"] > first.body["heartbeat"],
                 "a heartbeat that moves", kPatience)
    refused = new.call("POST", "/v1/probes", {**source, "grant": "00" * 56}).body
    t.equal((refused["reachable"], refused["refused"]), (False, True), refused)
    elsewhere = new.call("POST", "/v1/probes", {**source, "address": "203.0.113.1"})
    t.equal(elsewhere.status, 503, f"an address in no network of its ports: {elsewhere.body}")
    old.lagand.kill()
    dead = new.call("POST", "/v1/probes", {**source, "timeout_ms": 300}).body
    t.equal((dead["reachable"], dead["refused"]), (False, False), dead)


if __name__ == "__main__":
    suite.main()
