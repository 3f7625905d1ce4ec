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
kForward = "10.0.2.100:80"
kSort = "/usr/local/bin/sort"
kVerbs = f"--fabric verbs --address {guest.kServer4} --grant /tmp/grant"


@suite.shared
def rig(t):
    # The node API's socket comes into the guest over a second network, as `ssh -L` would bring it to a host.
    forward = f"guestfwd=tcp:{kForward}-cmd:socat - UNIX-CONNECT:{t.dir}/interop.sock"
    made = guest.on_lagand(t, reconnect=True, second=["-netdev", f"user,id=net1,restrict=on,{forward}"], rdma__keepalive_seconds=1, programs=[
        (t.binary("client/lagan"), "/usr/bin/lagan"),
        (t.binary("client/bench/lagan-bench"), "/usr/bin/lagan-bench"),
        (t.binary("client/preload/liblagan_preload.so"), "/usr/lib/lagan/liblagan_preload.so"),
        (t.binary("tests/interop/fabric_conformance"), "/usr/bin/fabric_conformance"),
        ("/usr/bin/sort", "/usr/local/bin/sort"), ("/usr/bin/setpriv", "/usr/local/bin/setpriv"), (kJemalloc, kJemalloc),
        "/usr/bin/socat", (t.binary("tests/interop/far_words"), "/usr/bin/far_words"),
        (t.binary("client/liblagan.so.0.1.0"), "/usr/lib/x86_64-linux-gnu/liblagan.so.0")])
    made.guest.run("ip address add 10.0.2.15/24 dev eth1; ip link set eth1 up")
    made.guest.run(f"socat UNIX-LISTEN:/tmp/far.sock,fork TCP:{kForward} >/tmp/socat.log 2>&1 &")
    return made


def with_region(t, name, size="32MiB", **grant):
    """Makes a region for the case, and puts a grant for it into the guest."""
    t.shared.appliance.region(name, size)
    t.defer(lambda: t.shared.appliance.lagand.status is None and
            t.shared.appliance.ask("DELETE", f"/v1/regions/{name}", status=204))
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
    done = there.run(f"LC_ALL=C lagan run {kVerbs} --local-memory 1M --stats-file /tmp/stats -- {kSort} -S 8M /tmp/text -o /tmp/sorted",
                     timeout=120)
    there.run("cmp /tmp/sorted /tmp/expected")
    figures = json.loads(there.run("cat /tmp/stats").stdout)
    t.true(figures["pages_stored"] > 200 and figures["pages_read"] > 200, f"{figures}, {done.stderr}")
    t.equal(t.shared.appliance.ask("GET", "/v1/regions/sort")["present_pages"], 0, "pages that the run left behind")


@suite.case
def lagan_run_with_the_node_api_makes_its_region(t):
    there = t.shared.guest
    there.run(f"seq 1 3000 >/tmp/numbers; LC_ALL=C lagan run --fabric verbs --appliance /tmp/far.sock --local-memory 1M "
              f"--region-size 16M -- {kSort} -R /tmp/numbers >/tmp/shuffled; {kSort} -n /tmp/shuffled | cmp - /tmp/numbers")
    regions = t.shared.appliance.ask("GET", "/v1/regions")["regions"]
    t.equal([region["name"] for region in regions], [], "regions left behind")
    log = t.shared.appliance.lagand.text()
    t.true("region run-" in log and f"from {guest.kGuest4}" in log, "lagand's log tells of the run")


@suite.case
def addresses_in_every_form(t):
    there = with_region(t, "forms")
    for address in (f"{guest.kServer4}:7471", guest.kServer6, f"[{guest.kServer6}]", f"[{guest.kServer6}]:7471", guest.kServerVlan4):
        there.run(f"lagan run --fabric verbs --address '{address}' --grant /tmp/grant -- {kSort} /etc/hosts")


@suite.case
def an_idle_connection_gives_signs_of_life(t):
    def probes():
        return sum(lcore["counters"]["probes"] for lcore in t.shared.appliance.stats()["lcores"])

    there = with_region(t, "idle")
    before = probes()
    job = there.start(f"(until [ -e /tmp/enough ]; do sleep 0.2; done; echo late) | lagan run {kVerbs} -- {kSort}")
    t.wait_until(lambda: probes() >= before + 3, "three probes", timeout=60)
    there.run("touch /tmp/enough")
    t.equal(job.wait().stdout, "late\n", "what came through")


@suite.case
def a_program_on_liblagan(t):
    there = with_region(t, "words")
    done = there.run(f"far_words {guest.kServer4} $(cat /tmp/grant)")
    t.equal(done.stdout.splitlines()[-1:], ["all right"], f"{done}")


@suite.case
def a_region_in_use_is_not_taken(t):
    there = with_region(t, "taken", "4MiB")
    there.run(f"lagan-bench {kVerbs} --fill --ops 1")
    done = there.run(f"lagan run {kVerbs} -- {kSort} /etc/hosts", check=False)
    t.true(done.status == 125 and "is in use: it holds 1024 pages" in done.stderr, f"{done}")


@suite.case
def two_runs_do_not_share_a_region(t):
    there = with_region(t, "claimed", "4MiB")

    def present():
        return t.shared.appliance.ask("GET", "/v1/regions/claimed")["present_pages"]

    there.run("rm -f /tmp/gate; mkfifo /tmp/gate")
    first = there.start(f"lagan run {kVerbs} -- dash -c 'read line </tmp/gate; exit 7'", timeout=120)
    t.wait_until(lambda: present() == 1, "the claim of a run that has stored nothing", timeout=60)
    done = there.run(f"lagan run {kVerbs} -- {kSort} /etc/hosts", check=False, timeout=60)
    t.true(done.status == 125 and "is in use: it holds 1 pages" in done.stderr, f"{done}")
    t.equal(present(), 1, "the claim, after another run was refused")
    there.run("echo >/tmp/gate")
    t.equal(first.wait(check=False).status, 7, "exit status of the first run")
    t.equal(present(), 0, "pages left behind")
    there.run(f"lagan run {kVerbs} -- {kSort} /etc/hosts >/dev/null", timeout=60)


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
        done = there.run(f"{before} lagan run --fabric verbs {options} -- {kSort} /dev/null", check=False, timeout=60)
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
    refused(f"--address {guest.kServer4} --grant /etc/passwd", "is no grant")
    refused(f"--address {guest.kServer4} --grant /nowhere", "cannot be read")
    without = "ulimit -l 64; /usr/local/bin/setpriv --bounding-set=-ipc_lock"
    refused(f"--address {guest.kServer4} --grant /tmp/good", "64 KiB of memory (RLIMIT_MEMLOCK)", before=without)
    there.run("rdma link delete rxe0")
    refused(f"--address {guest.kServer4} --grant /tmp/good", "no RDMA device")
    there.run("rdma link add rxe0 type rxe netdev eth0")


# The claim, the pages and the grant outlive the appliance's process.
@suite.case
def a_sort_rides_through_kills_of_the_appliance(t):
    there = with_region(t, "ridden")
    there.run("seq 1 25000 | awk '{ print ($1 * 7919) % 25013, \"some more text to make the line longer\" }' >/tmp/text\n"
              "LC_ALL=C /usr/local/bin/sort /tmp/text >/tmp/expected")
    job = there.start(f"LC_ALL=C lagan run {kVerbs} --local-memory 1M --stats-file /tmp/stats -- {kSort} -S 8M /tmp/text -o /tmp/sorted",
                      timeout=150)
    for _ in range(2):
        pages = 120 + t.shared.appliance.stats()["total"]["counters"]["pages_stored"]
        t.wait_until(lambda: t.shared.appliance.stats()["total"]["counters"]["pages_stored"] > pages, "pages stored", timeout=60)
        t.shared.appliance.restart()
    done = job.wait(check=False)
    t.true(done.status == 0 and "reconnections" in done.stderr, f"{done}")
    there.run("cmp /tmp/sorted /tmp/expected")
    reconnections = json.loads(there.run("cat /tmp/stats").stdout)["reconnections"]
    t.true(reconnections >= 2, f"reconnections: {reconnections}")
    t.equal(t.shared.appliance.ask("GET", "/v1/regions/ridden")["present_pages"], 0, "pages that the run left behind")


@suite.case
def what_was_acknowledged_is_there_after_kills(t):
    there = with_region(t, "verified", size="8MiB")
    job = there.start(f"lagan-bench {kVerbs} --verify --fill --mix read=40,write=40,free=20 --size 8K --align 512 --depth 16 --qps 2 "
                      "--json --seconds 1000 --reconnect-seconds 60", timeout=150)

    def reads():
        return t.shared.appliance.stats()["total"]["counters"]["reads"]

    def goes_on():
        wanted = reads() + 1000
        t.wait_until(lambda: reads() > wanted or job.ended(), "reads", timeout=60)
    for _ in range(3):
        goes_on()
        t.shared.appliance.restart()
    goes_on()
    there.run("killall -INT lagan-bench")  # to its end, with the figures so far: how long a kill takes is for the guest to say
    done = job.wait(check=False)
    t.equal(done.status, 0, f"{done}")
    figures = json.loads(done.stdout.strip().splitlines()[-1])
    t.true(figures["mismatches"] == 0 and figures["reconnections"] >= 6, f"{figures}")


@suite.case
def a_device_that_is_removed_ends_who_uses_it(t):
    there = with_region(t, "removed")
    job = there.start(f"fabric_conformance {kVerbs} --killed", timeout=60)
    t.wait_until(lambda: t.shared.appliance.queue_pairs() == 1, "the connection", timeout=60)
    there.run("rdma link delete rxe0", timeout=60)
    done = job.wait(check=False)
    there.run("rdma link add rxe0 type rxe netdev eth0")
    t.true(done.status == 0 and "the last READ: the connection had ended before" in done.stdout, f"{done}")


@suite.case
def a_dead_appliance_is_given_up(t):
    there = with_region(t, "dead")
    job = there.start(f"fabric_conformance {kVerbs} --killed", timeout=120)
    t.wait_until(lambda: t.shared.appliance.queue_pairs() == 1, "the connection", timeout=60)
    t.shared.appliance.lagand.kill()
    done = job.wait(check=False)
    t.true(done.status == 0 and "PASS a_dead_appliance_is_given_up" in done.stdout, f"{done}")


if __name__ == "__main__":
    suite.main()
