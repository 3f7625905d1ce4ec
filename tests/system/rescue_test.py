#!/usr/bin/python3
# SPDX-License-Identifier: BSD-3-Clause
# lagan-test: hugepages=both builds=release,asan timeout=240 beside=yes
"""lagand --rescue: the regions and dirty lists of one that was killed, for recovery and for nothing else; nothing in its arena
changes."""
import pathlib
import struct
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "support"))
from harness import Suite
from page_node import PageNode

suite = Suite(__file__)


def expanded(ranges):
    return {page for first, count in ranges for page in range(first, first + count)}


def forbidden(t, reply, what):
    t.equal(reply.status, 403, f"{what}: {reply.body}")
    t.true("without --rescue" in reply.body["detail"], f"{what}: {reply.body}")


@suite.case
def what_was_stored_is_recovered(t):
    node = PageNode(t)
    node.start()
    node.create("r")
    node.create("brief", temporary=True)
    before = node.client(node.stores("r", 10, node.random_pages(60)), node.frees("r", 30, 5),
                         node.stores("r", 900, node.random_pages(20)), region="r")
    t.equal(before[1], {"freed": 5}, "freed")
    node.lagand.kill()
    node.start()  # what is stored from here on is in the lists beside what was there before
    node.client(node.stores("r", 15, node.random_pages(3)), node.stores("r", 500, node.random_pages(2)),
                node.frees("r", 905, 1), region="r")
    changed = set(range(10, 70)) | set(range(900, 920)) | {500, 501}
    old = {role: node.grant("r", role).body["grant"] for role in ("read", "write", "recover")}
    beside = ("--set", f"node.api_socket={t.dir}/other.sock", "--set", f"port.p.path={t.dir}/other.vhost")
    refused = t.run(node.argv("--rescue", node.arena, *beside), check=False, timeout=60)
    t.true(refused.status == 1 and "is in use by another lagand" in refused.stderr, f"of one that lives: {refused}")
    node.lagand.kill()
    files = node.files()

    node.rescue()
    t.equal((node.node()["mode"], node.node()["left_out"]), ("rescue", []), "the node's state")
    seen = node.client("info", "query", "lists", "pull", "read:0:200", region="r", role="recover")
    t.equal(seen[0]["present_pages"], len(node.pages["r"]), "present pages by REGION_INFO")
    t.equal({key: seen[2][key] for key in ("active", "drain")}, seen[1], "lists by READs and by DIRTY_QUERY")
    t.equal(expanded(seen[2]["active"]) | expanded(seen[2]["drain"]), changed, "listed pages")
    t.equal(expanded(seen[2]["present"]), set(node.pages["r"]), "present pages")
    t.equal(seen[3]["crcs"], node.crcs("r"), "content of the listed pages")
    t.equal(expanded(seen[3]["freed"]), changed - set(node.pages["r"]), "pages that are listed and were freed")
    t.equal(node.client("read:10:5", grant=old["recover"])[0]["crcs"], node.crcs("r", range(10, 15)), "with an older grant")

    t.equal(node.client("free:10:1", region="r", role="recover"), [{"capsule_status": 5}], "FREE")
    t.equal(node.client("fence:7", region="r", role="recover"), [{"asked": 1}], "FENCE: nobody stores here")
    t.true("NAK 0x62" in node.client("part:10", region="r", role="recover")[0]["status"], "WRITE")
    for role in ("read", "write"):
        forbidden(t, node.grant("r", role), f"a grant to {role}")
        done = node.try_client("read:10:1", grant=old[role])
        t.true(done.status == 1 and "grants to recover only" in done.stderr, f"an older grant to {role}: {done}")
    t.equal(node.stats()["connections"]["grants_refused"]["not_recovery"], 2, "counted")
    forbidden(t, node.call("POST", "/v1/regions", {"name": "new", "size": "1MiB"}), "creation")
    forbidden(t, node.call("DELETE", "/v1/regions/r"), "deletion")
    refused = t.run(node.argv(*beside), check=False, timeout=60)
    t.true(refused.status == 1 and "is in use by another lagand" in refused.stderr, f"a start beside it: {refused}")
    t.equal(node.lagand.terminate(), 0, "exit status")
    t.equal(node.files(), files, "the arena's files")

    node.start()
    t.equal(sorted(region["name"] for region in node.call("GET", "/v1/regions").body["regions"]), ["brief", "r"], "regions")
    t.equal(node.node()["mode"], "serve", "the node's state")
    node.client(node.stores("r", 11, node.random_pages(1)), grant=old["write"])
    t.equal(node.client("pull", region="r", role="recover")[0]["crcs"], node.crcs("r"), "pages of the next start")
    t.equal(node.lagand.terminate(), 0, "exit status")


@suite.case
def a_checkpoint_was_under_way(t):
    node = PageNode(t, f"baseline.store={t.dir}/store", "baseline.bandwidth=64KiB")
    node.start()
    node.create("r")
    node.client(node.stores("r", 0, node.random_pages(400)), region="r")
    t.equal(node.call("POST", "/v1/regions/r/checkpoint").status // 100, 2, "a checkpoint is asked for")
    t.wait_until(lambda: node.call("GET", "/v1/regions/r/checkpoint").body["pages"] == 400, "its cut is made", timeout=60)
    node.client(node.stores("r", 5, node.random_pages(10)), node.frees("r", 300, 4), node.stores("r", 900, node.random_pages(1)),
                region="r")
    node.lagand.kill()
    files = node.files()
    node.rescue()
    seen = node.client("lists", "query", "pull", region="r", role="recover")
    t.equal(expanded(seen[0]["drain"]), set(range(400)), "pages of the cut, none of which is durable")
    t.equal(expanded(seen[0]["active"]), {*range(5, 15), *range(300, 304), 900}, "pages changed since")
    t.equal({key: seen[0][key] for key in ("active", "drain")}, seen[1], "lists by READs and by DIRTY_QUERY")
    t.equal(seen[2]["crcs"], node.crcs("r"), "content of the listed pages")
    t.equal(expanded(seen[2]["freed"]), set(range(300, 304)), "freed pages")
    refused = node.call("POST", "/v1/regions/r/checkpoint")
    t.true(refused.status == 409 and "a rescue makes none" in refused.body["detail"], f"a checkpoint: {refused}")
    t.equal(node.lagand.terminate(), 0, "exit status")
    t.equal(node.files(), files, "the arena's files")


@suite.case
def damaged_files(t):
    node = PageNode(t)
    node.start()
    ids = {name: node.create(name)["id"] for name in ("good", "record", "magic", "active", "short", "name")}
    for name in ids:
        node.client(node.stores(name, 0, node.random_pages(20)), region=name)
    node.lagand.kill()

    def file(name, kind):
        return f"region-{ids[name]}.{kind}"

    node.change(file("record", "record"), t.rng.randrange(32))
    for byte, by in enumerate((0x31, 0x4c, 0x44, 0x4e, 0x41, 0x47, 0x41, 0x4c)):
        node.change(file("magic", "dirty"), byte, by)  # the magic number becomes 0
    node.change(file("active", "dirty"), 56, 2)
    (node.arena / file("short", "pages")).unlink()
    node.change(file("name", "record"), 64 + 1)
    # Single pages of the good one: its entry, its frame's owner, its frame's CRC, its bytes.
    entries = struct.unpack("<20Q", (node.arena / file("good", "pages")).read_bytes()[:160])
    node.change(file("good", "pages"), 3 * 8, 0x7)
    node.change("frame_meta", (entries[5] - 1) * 64 + 44)
    node.change("frame_meta", (entries[8] - 1) * 64 + 40)
    node.spoil_frame(node.pages["good"][11])
    bad = {3, 5, 8, 11}
    files = node.files()

    node.rescue()
    left_out = {region["id"]: region["reason"] for region in node.node()["left_out"]}
    t.equal(set(left_out), {ids[name] for name in ids if name != "good"}, "regions left out")
    for name, why in (("record", "record"), ("magic", "dirty lists"), ("active", "dirty lists"), ("short", "pages")):
        t.true(why in left_out[ids[name]], f"{name}: {left_out[ids[name]]}")
    t.equal([region["name"] for region in node.call("GET", "/v1/regions").body["regions"]], ["good"], "regions")
    for page in bad:
        seen = node.client(f"read:{page}:1", region="good", role="recover")
        t.true("NAK 0x63" in seen[0]["status"], f"page {page}: {seen}")
    good = [f"read:{page}:1" for page in range(20) if page not in bad]
    seen = node.client(*good, region="good", role="recover")
    t.equal({page: crc for one in seen for page, crc in one["crcs"].items()}, node.crcs("good", set(range(20)) - bad), "the others")
    t.equal(node.region("good")["damaged_pages"], len(bad), "damaged pages")
    t.equal(node.lagand.terminate(), 0, "exit status")
    t.equal(node.files(), files, "the arena's files")

    node.change("superblock", 16)
    files = node.files()
    refused = t.run(node.argv("--rescue", node.arena), check=False, timeout=60)
    t.true(refused.status == 1 and "the superblock is damaged" in refused.stderr, f"{refused}")
    t.equal(node.files(), files, "the arena's files")
    empty = t.dir / "empty"
    empty.mkdir()
    refused = t.run(node.argv("--rescue", empty), check=False, timeout=60)
    t.true(refused.status == 1 and f"there is none in {empty}" in refused.stderr, f"{refused}")


if __name__ == "__main__":
    suite.main()
