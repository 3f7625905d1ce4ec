#!/usr/bin/python3
# SPDX-License-Identifier: BSD-3-Clause
# lagan-test: hugepages=no builds=release timeout=300
"""perftest in a guest against our engine, which offers flat memory, or pages as lagand does."""
import pathlib
import re
import sys

sys.path[:0] = [str(pathlib.Path(__file__).resolve().parents[1] / "support"), str(pathlib.Path(__file__).resolve().parent)]
import guest
from harness import Suite
from peer import Peer, guest_for_peers

suite = Suite(__file__)
kMemory = 4 << 20  # perftest uses twice the size of a message
# Program and bytes of a message: its default, one of many packets, and odd ones.
kReads = (("ib_read_bw", 65536), ("ib_read_bw", 4097), ("ib_read_bw", 1 << 20), ("ib_read_lat", 2), ("ib_read_lat", 4095))
kWrites = (("ib_write_bw", 65536), ("ib_write_bw", 1), ("ib_write_bw", 4097), ("ib_write_bw", 1 << 20))


@suite.shared
def rig(t):
    return guest_for_peers(t)


def iterations(size):
    return 20 if size > 65536 else 200


def run_all(t, runs, *options, said=""):
    """Runs them one after the other against one peer, which must say so in the end; returns its counters."""
    peer = Peer(t, t.shared, "perftest-server", "--clients", len(runs), *options, memory=kMemory)
    for program, size in runs:
        count = iterations(size)
        size_option = "" if "atomic" in program else f"-s {size}"  # eight bytes, always
        done = t.shared.guest.run(f"{program} -R {size_option} -n {count} {guest.kServer4}")
        t.true(re.search(rf"^ {size} +{count} +\d", done.stdout, re.MULTILINE),
               f"{program} -s {size} ends with its table: {done.stdout}")
    return peer.ended(t, said=f"{len(runs)} clients served\n{said}")


def reads_and_writes(t, *options):
    counters = run_all(t, kReads + kWrites, *options)
    t.equal(counters["reads"], sum(iterations(size) for _, size in kReads), "READs")
    t.equal(counters["write_messages"], sum(iterations(size) for _, size in kWrites), "WRITEs")
    t.equal(counters["write_bytes"], sum(iterations(size) * size for _, size in kWrites), "bytes written")
    return counters


@suite.case
def flat_memory_is_read_and_written(t):
    t.equal(reads_and_writes(t)["pages_stored"], 0, "pages stored")


@suite.case
def pages_are_read_and_written(t):
    counters = reads_and_writes(t, "--paged", t.memory_dir())
    t.true(counters["pages_stored"] + counters["pages_zero"] > 0, f"pages were stored: {counters}")


@suite.case
def atomics_on_flat_memory_are_applied_once(t):
    count = iterations(8)
    counters = run_all(t, [("ib_atomic_bw", 8)], said=f"words of memory add up to {count}\n")
    t.equal(counters["atomics"], count, "atomics")


@suite.case
def atomics_on_pages(t):
    programs = ("ib_atomic_bw", "ib_atomic_bw -A CMP_AND_SWAP", "ib_atomic_bw -o 1")
    counters = run_all(t, [(program, 8) for program in programs], "--paged", t.memory_dir())
    t.equal(counters["atomics"], len(programs) * iterations(8), "atomics")
    t.equal(counters["pages_stored"], (len(programs) - 1) * iterations(8), "fetch-and-adds that made a page")


@suite.case
def nothing_was_counted_as_an_error(t):
    t.shared.guest.no_protocol_error(t)


if __name__ == "__main__":
    suite.main()
