#!/usr/bin/python3
# SPDX-License-Identifier: BSD-3-Clause
# lagan-test: hugepages=both builds=release,asan timeout=240 beside=yes
"""Memory that has gone bad: a bit of the arena's file is flipped under a running lagand, which finds it, says so, and never gives
wrong bytes away."""
import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "support"))
from harness import Suite
from page_node import PageNode

suite = Suite(__file__)


def filled(t, *settings):
    node = PageNode(t, *settings)
    node.start()
    node.create("r")
    node.client(node.stores("r", 0, node.random_pages(64)), region="r")
    return node


def all_but(node, bad):
    return node.crcs("r", set(range(64)) - {bad})


def is_refused_until_stored(t, node, bad):
    """The page is known to be bad."""
    seen = node.client(f"read:0:{bad}", f"read:{bad + 1}:{63 - bad}", f"read:{bad}:1", region="r", role="read")
    t.equal(seen[0]["crcs"] | seen[1]["crcs"], all_but(node, bad), "the other pages")
    t.true("NAK 0x63" in seen[2]["status"], f"the damaged page: {seen[2]}")
    t.true("NAK 0x63" in node.client(f"part:{bad}", region="r")[0]["status"], "a store of a part of it")
    t.equal(node.region("r")["damaged_pages"], 1, "damaged pages of the region")
    node.client(node.stores("r", bad, node.random_pages(1)), region="r")
    t.equal(node.region("r")["damaged_pages"], 0, "damaged pages after it was stored again")
    t.equal(node.client("read:0:64", region="r")[0]["crcs"], node.crcs("r"), "all pages")


@suite.case
def the_scrubber_finds_it(t):
    node = filled(t, "memory.scrub_pages_per_second=50000")
    rounds = node.counter("scrub_rounds")
    t.wait_until(lambda: node.counter("scrub_rounds") > rounds + 2 * len(node.stats()["lcores"]), "pages are gone over",
                 timeout=60)
    t.equal(node.counter("pages_poisoned"), 0, "good pages that were found damaged")
    t.true(node.counter("pages_scrubbed") >= 64 and node.counter("sleeps") > 0, "scrubbed, and slept between")
    bad = t.rng.randrange(64)
    node.spoil_frame(node.pages["r"][bad], byte=t.rng.randrange(4096))
    t.wait_until(lambda: node.counter("pages_poisoned") == 1, "it is found", timeout=60)
    node.lagand.wait_for(f"region r: page {bad} is damaged")
    node.lagand.kill()
    node.start()  # it is still known
    t.true("region r: 1 pages are damaged" in node.lagand.text(), "said at the start")
    is_refused_until_stored(t, node, bad)
    t.equal(node.lagand.terminate(), 0, "exit status")


@suite.case
def a_reader_finds_it(t):
    node = filled(t, "memory.scrub_pages_per_second=0")
    bad = t.rng.randrange(64)
    node.spoil_frame(node.pages["r"][bad], byte=t.rng.randrange(4096))
    seen = node.client(f"read:{bad}:1", region="r", role="read")
    t.true("NAK 0x63" in seen[0]["status"], f"the first reader is given {seen}")
    t.equal((node.counter("pages_poisoned"), node.counter("pages_scrubbed")), (1, 0), "poisoned, scrubbed")
    node.lagand.wait_for(f"region r: page {bad} is damaged")
    is_refused_until_stored(t, node, bad)
    t.equal(node.lagand.terminate(), 0, "exit status")


@suite.case
def a_part_is_not_stored_over_it(t):
    node = filled(t, "memory.scrub_pages_per_second=0")
    bad = t.rng.randrange(64)
    node.spoil_frame(node.pages["r"][bad], byte=100)
    t.true("NAK 0x63" in node.client(f"part:{bad}", region="r")[0]["status"], "a store of a part of it")
    is_refused_until_stored(t, node, bad)
    t.equal(node.lagand.terminate(), 0, "exit status")


if __name__ == "__main__":
    suite.main()
