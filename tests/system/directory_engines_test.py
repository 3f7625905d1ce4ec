#!/usr/bin/python3
# SPDX-License-Identifier: BSD-3-Clause
# lagan-test: hugepages=no builds=release,asan timeout=300
"""The engines of lagan-mgmtd's directory for real: SQLite files, and etcd of one and three members that are killed, stopped and started
again. One conformance test passes on both; no change that was acknowledged is lost, and there are never two leaders."""
import pathlib
import signal
import sys
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "support"))
from etcd import Etcd
from harness import Suite

suite = Suite(__file__)


class Places:
    """Where each engine's directories are."""

    def __init__(self, t):
        self.etcd = Etcd(t, t.dir / "etcd")


@suite.shared
def places(t):
    return Places(t)


def ride(t, where, *arguments, name=None):
    return t.start([t.binary("tests/system/directory_ride"), where, *arguments], name=name)


@suite.case
def all_engines_do_the_same(t):
    program = t.binary("tests/unit/directory_test")
    listing = t.run([program, "--list_content"])
    names = [line.strip(" *") for line in (listing.stdout + listing.stderr).splitlines() if line.strip()]
    t.true(len(names) >= 9, f"cases of {program}: {names}")
    for engine, env in (("sqlite", {}), ("etcd", {"LAGAN_TEST_DIRECTORY": t.shared.etcd.endpoints})):
        for name in names:
            done = t.run([program, f"--run_test={name}", "--log_level=message", "--color_output=no"], check=False, timeout=120,
                         env={**env, "LAGAN_TEST_SEED": str(t.seed)})
            said = done.stdout + done.stderr
            t.part(f"{engine}.{name}", "" if done.status == 0 else f"exit status {done.status}: {said[-600:]}")


def counts_come_to(t, where, processes, each, disturb=lambda: None):
    riders = [ride(t, where, "count", each, name=f"rider{index}") for index in range(processes)]
    for rider in riders:
        rider.wait_for("^added 3$", 60)
    disturb()
    for rider in riders:
        rider.expect_exit(0, 120)
    last = max(int(rider.wait_for(r"^count (\d+)$").group(1)) for rider in riders)
    t.equal(last, processes * each, "the counter that all have added to")


@suite.case
def processes_race_for_the_same_key_in_sqlite(t):
    counts_come_to(t, t.dir / "directory.db", 4, 60)


@suite.case
def processes_that_open_a_new_sqlite_file_at_once_all_do(t):
    for round_number in range(20):
        where = t.dir / f"new{round_number}.db"
        for rider in [ride(t, where, "count", 1, name=f"rider{round_number}.{index}") for index in range(3)]:
            rider.expect_exit(0, 120)


@suite.case
def a_killed_process_leaves_sqlite_whole(t):
    where = t.dir / "directory.db"

    def kill_some():
        for _ in range(8):
            victim = ride(t, where, "count", 10_000)
            victim.wait_for(f"^added {t.rng.randrange(1, 30)}$", 60)
            victim.kill()
    riders = [ride(t, where, "count", 100) for _ in range(2)]
    kill_some()
    for rider in riders:
        rider.expect_exit(0, 120)


@suite.case
def processes_race_for_the_same_key_in_etcd(t):
    counts_come_to(t, Etcd(t, t.dir / "etcd").endpoints, 3, 60)


@suite.case
def counting_rides_through_etcd_that_is_killed(t):
    etcd = Etcd(t, t.dir / "etcd")

    def disturb():
        for _ in range(3):
            etcd.members["n0"].kill()
            time.sleep(t.rng.uniform(0, 0.3))
            etcd.start("n0")
            time.sleep(t.rng.uniform(0.2, 0.6))
    counts_come_to(t, etcd.endpoints, 3, 400, disturb)


@suite.case
def counting_rides_through_leaders_that_are_killed(t):
    etcd = Etcd(t, t.dir / "etcd", members=3)

    def disturb():
        for _ in range(3):
            name = etcd.leader()
            etcd.members[name].kill()
            t.true(etcd.leader() != name, "another leads")
            etcd.start(name)
            t.wait_until(lambda: etcd.status(name), "it is back", 60)  # pylint: disable=cell-var-from-loop
    counts_come_to(t, etcd.endpoints, 3, 400, disturb)


@suite.case
def counting_rides_through_a_leader_that_stands_still(t):
    etcd = Etcd(t, t.dir / "etcd", members=3)

    def disturb():
        member = etcd.members[etcd.leader()]
        member.signal(signal.SIGSTOP)
        time.sleep(2.5)  # longer than one request may take
        member.signal(signal.SIGCONT)
    counts_come_to(t, etcd.endpoints, 2, 300, disturb)


def spans(rider):
    """When it took itself for the leader."""
    lines = [line.split() for line in rider.text().splitlines(keepends=True) if line.endswith("\n")]
    return [(int(words[1]), int(words[2]), rider.name) for words in lines if words[0] == "leads" and int(words[1]) < int(words[2])]


def one_leads_at_a_time(t, where, ttl_ms, disturb=lambda: None):
    riders = [ride(t, where, "lead", f"rider{index}", ttl_ms, name=f"rider{index}") for index in range(3)]

    def leader():
        now = time.monotonic_ns()
        return next((rider for rider in riders if rider.status is None and any(begin <= now < end for begin, end, _ in spans(rider)[-3:])), None)
    first = t.wait_until(leader, "one leads", 60)
    first.kill()
    second = t.wait_until(leader, "another leads after it was killed", 60)
    t.true(second is not first, "another one")
    second.signal(signal.SIGSTOP)
    third = t.wait_until(lambda: leader() if leader() not in (None, second) else None, "another leads when it stands still", 60)
    t.true(third not in (first, second), "the third one")
    second.signal(signal.SIGCONT)
    disturb()
    t.wait_until(leader, "one leads at the end", 60)
    for rider in riders:
        rider.kill()
    times = sorted(span for rider in riders for span in spans(rider))
    # A process that stood still between the answer and its line says that it leads later than it did, never earlier.
    latest, holder = 0, ""
    for begin, end, name in times:
        t.true(name == holder or begin >= latest, f"{name} leads from {begin} on, {holder} until {latest}")
        if end > latest:
            latest, holder = end, name
    t.true(len({name for _, _, name in times}) == 3, "all three have led")


@suite.case
def one_process_leads_at_a_time_with_sqlite(t):
    one_leads_at_a_time(t, t.dir / "directory.db", 500)


@suite.case
def one_process_leads_at_a_time_with_etcd(t):
    etcd = Etcd(t, t.dir / "etcd", members=3)

    def disturb():
        name = etcd.leader()
        etcd.members[name].kill()
        etcd.leader()
        etcd.start(name)
        t.wait_until(lambda: etcd.status(name), "it is back", 60)
    one_leads_at_a_time(t, etcd.endpoints, 1000, disturb)


@suite.case
def without_a_quorum_nothing_changes(t):
    etcd = Etcd(t, t.dir / "etcd", members=3)
    rider = ride(t, etcd.endpoints, "count", 100_000)
    rider.wait_for("^added 20$", 60)
    etcd.members["n1"].kill()
    etcd.members["n2"].kill()
    rider.wait_for("^waiting: ", 60)
    stuck = rider.text().count("\nadded")
    etcd.start("n1")
    rider.wait_for(f"^added {stuck + 20}$", 60)


@suite.case
def a_full_disk_is_said_and_loses_nothing(t):
    small = t.dir / "small"
    small.mkdir()
    t.run(["mount", "-t", "tmpfs", "-o", "size=2m,mode=700", "tmpfs", small])
    t.defer(lambda: t.run(["umount", "-l", small]))
    where = small / "directory.db"
    t.run([t.binary("tests/system/directory_ride"), where, "count", 5])
    full = t.run([t.binary("tests/system/directory_ride"), where, "fill"], check=False)
    t.equal(full.status, 1, "exit status on a full disk")
    t.true("no_space: " in full.stdout and str(where) in full.stdout and "make room" in full.stdout, full.stdout)
    t.run(["mount", "-o", "remount,size=32m", small])
    again = t.run([t.binary("tests/system/directory_ride"), where, "count", 5])
    t.true("count 10" in again.stdout, f"the counter when there is room again: {again.stdout}")


@suite.case
def an_address_where_nobody_answers_is_named(t):
    rider = ride(t, "http://127.0.0.1:9", "count", 1)
    rider.wait_for("^waiting: etcd does not answer: http://127.0.0.1:9: ", 30)


if __name__ == "__main__":
    suite.main()
