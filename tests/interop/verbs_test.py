#!/usr/bin/python3
# SPDX-License-Identifier: BSD-3-Clause
# lagan-test: hugepages=no builds=release timeout=300
"""The verbs fabric in a Linux guest with rxe: it does what every fabric must, `lagan run` and lagan-bench work over it, and what
is wrong is said in words."""
import json
import pathlib
import sys

sys.path[:0] = [str(pathlib.Path(__file__).resolve().parents[1] / "support"), str(pathlib.Path(__file__).resolve().parent)]
import guest
from harness import Suite

suite = Suite(__file__)
kJemalloc = "/usr/lib/x86_64-linux-gnu/libjemalloc.so.2"
kVerbs = f"--fabric verbs --address {guest.kServer4} --grant /tmp/grant"


@suite.shared
def rig(t):
    return guest.on_lagand(t, programs=[
        (t.binary("client/lagan"), "/usr/bin/lagan"),
        (t.binary("client/bench/lagan-bench"), "/usr/bin/lagan-bench"),
        (t.binary("client/preload/liblagan_preload.so"), "/usr/lib/lagan/liblagan_preload.so"),
        (t.binary("tests/interop/fabric_conformance"), "/usr/bin/fabric_conformance"),
        ("/usr/bin/sort", "/usr/local/bin/sort"), ("/usr/bin/setpriv", "/usr/local/bin/setpriv"), (kJemalloc, kJemalloc)])


def with_region(t, name, size="32MiB", **grant):
    """Makes a region for the case, and puts a grant for it into the guest."""
    t.shared.appliance.region(name, size)
    t.defer(lambda: t.shared.appliance.process.status is None and
            t.shared.appliance.call("DELETE", f"/v1/regions/{name}", status=204))
    t.shared.guest.put("/tmp/grant", t.shared.appliance.grant(name, **grant))
    return t.shared.guest


@suite.case
def verbs_does_what_every_fabric_must(t):
    there = with_region(t, "conformance")
    done = there.run(f"fabric_conformance {kVerbs} --seed {t.seed}", timeout=150, check=False)
    lines = done.stdout.splitlines()
    t.equal([line for line in lines if not line.startswith("PASS ")], [], f"cases that failed; {done.stderr[-300:]}")
    t.true(len(lines) >= 9 and done.status == 0, f"{lines}, status {done.status}")



@suite.case
def lagan_run_sorts_as_without_lagan(t):
    there = with_region(t, "sort")
    there.run("seq 1 20000 | awk '{ print ($1 * 7919) % 20011, \"some more text to make the line longer\" }' >/tmp/text\n"
              "LC_ALL=C /usr/local/bin/sort /tmp/text >/tmp/expected")
    done = there.run(f"LC_ALL=C lagan run {kVerbs} --local-memory 1M --stats-file /tmp/stats -- /usr/local/bin/sort -S 8M /tmp/text -o /tmp/sorted",
                     timeout=120)
    there.run("cmp /tmp/sorted /tmp/expected")
    figures = json.loads(there.run("cat /tmp/stats").stdout)
    t.true(figures["pages_stored"] > 200 and figures["pages_read"] > 200, f"{figures}, {done.stderr}")
    t.equal(t.shared.appliance.call("GET", "/v1/regions/sort")["present_pages"], 0, "pages that the run left behind")


@suite.case
def lagan_bench_verifies_what_it_reads(t):
    there = with_region(t, "bench", "4MiB")
    done = there.run(f"lagan-bench {kVerbs} --qps 2 --depth 8 --mix read=60,write=35,free=5 --size 6K --align 512 --fill --verify "
                     f"--seed {t.seed} --ops 2000 --json", timeout=120)
    t.true("verified: " in done.stdout and " 0 mismatches" in done.stdout, done.stdout)


@suite.case
def nothing_was_counted_as_an_error(t):
    t.shared.guest.no_protocol_error(t)


@suite.case
def what_is_wrong_is_said_in_words(t):
    there = with_region(t, "wrong", role="read")

    def refused(options, words, status=125, before=""):
        done = there.run(f"{before} lagan run --fabric verbs {options} -- /usr/local/bin/sort /dev/null", check=False, timeout=60)
        lines = done.stderr.splitlines()
        t.true(done.status == status and len(lines) <= 2 and words in lines[0], f"'{words}' in {done}")

    refused(f"--address {guest.kServer4} --grant /tmp/grant", "needs one of role write")
    digits = t.shared.appliance.grant("wrong")
    there.put("/tmp/forged", digits[:-2] + f"{int(digits[-2:], 16) ^ 1:02x}")
    refused(f"--address {guest.kServer4} --grant /tmp/forged", "signature")
    there.put("/tmp/good", digits)
    refused(f"--address {guest.kServer4}:7472 --grant /tmp/good", "nobody listens on that port")
    refused("--address 10.77.0.99 --grant /tmp/good", "does not answer")
    refused("--address 192.0.2.1 --grant /tmp/good", "no route to 192.0.2.1")
    refused("--address 127.0.0.1 --grant /tmp/good", "127.0.0.1")
    refused(f"--address {guest.kServer4} --grant /etc/passwd", "is not a grant")
    refused(f"--address {guest.kServer4} --grant /nowhere", "cannot read")
    without = "ulimit -l 64; /usr/local/bin/setpriv --bounding-set=-ipc_lock"
    refused(f"--address {guest.kServer4} --grant /tmp/good", "64 KiB of memory (RLIMIT_MEMLOCK)", before=without)
    there.run("rdma link delete rxe0")
    refused(f"--address {guest.kServer4} --grant /tmp/good", "no RDMA device")
    there.run("rdma link add rxe0 type rxe netdev eth0")


@suite.case
def a_dead_appliance_is_given_up(t):
    there = with_region(t, "dead")
    job = there.start(f"fabric_conformance {kVerbs} --killed", timeout=120)
    t.wait_until(lambda: t.shared.appliance.queue_pairs() == 1, "the connection", timeout=60)
    t.shared.appliance.process.kill()
    done = job.wait(check=False)
    t.true(done.status == 0 and "PASS a_dead_appliance_is_given_up" in done.stdout, f"{done}")


if __name__ == "__main__":
    suite.main()
