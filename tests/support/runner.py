#!/usr/bin/python3
# SPDX-License-Identifier: BSD-3-Clause
"""Runs the plan, shows what each test says, and counts. ./tools/test starts it, inside its namespaces."""
import collections
import concurrent.futures
import itertools
import json
import os
import re
import signal
import subprocess
import sys
import threading
import time

import namespaces
from plan import MesonJob, Options, build_dir, kBuildRoot, kRoot, make_plan, wants_lint

kSlowdown = {"release": 1, "asan": 4, "tsan": 6}
kSanitizer = {"release": "", "asan": "address", "tsan": "thread"}
kLintTimeoutS = 900
kAtOnce = 2  # scripts that may run beside others: they wait more than they compute
kLongTakes = 6  # times as long as the short form, at most
kLastLines = 25  # of a failed program, once more at the end: the rest may be far up, or cut off
# Boost.Test's short report, one line per outcome.
kBoostCases = re.compile(r"^\s+(\d+) test cases? out of \d+ (passed|failed|aborted|skipped)", re.MULTILINE)
kFindings = re.compile(r"error: in |^(==\d+==)?ERROR: |WARNING: ThreadSanitizer|runtime error: |^SUMMARY: ")
kMesonTotals = re.compile(r"^(Ok|Expected Fail|Fail|Unexpected Pass|Skipped|Timeout):\s+\d+|^Full log written to|^\s*$")


class Tally:
    def __init__(self):
        self.passed = self.failed = self.skipped = 0
        self.failures = []
        self.again = []  # commands that repeat them
        self.last_words = []  # of what failed: its name, lines

    def add(self, verdict, line):
        if verdict == "PASS":
            self.passed += 1
        elif verdict == "SKIP":
            self.skipped += 1
        else:
            self.failed += 1
            self.failures.append(line)

    def add_all(self, other):
        self.passed += other.passed
        self.failed += other.failed
        self.skipped += other.skipped
        self.failures += other.failures
        self.again += other.again
        self.last_words += other.last_words

    def repeat_by(self, suite, name, build):
        long = " --long" if long_form() else ""
        self.again.append(f"./tools/test --suite {suite} --only {name} --builds {build} --seed {seed()}{long}")


def seed():
    return os.environ.get("LAGAN_TEST_SEED", "1")


def long_form():
    return os.environ.get("LAGAN_TEST_LONG", "0") == "1"


def environment(build, hugepages):
    return {
        **os.environ,
        "LAGAN_BUILD_DIR": str(build_dir(build)),
        "LAGAN_TEST_HUGEPAGES": "1" if hugepages else "0",
        "LAGAN_TEST_SANITIZER": kSanitizer[build],
        "BOOST_TEST_REPORT_LEVEL": "short",
        "PYTHONDONTWRITEBYTECODE": "1",
        "ASAN_OPTIONS": "detect_stack_use_after_return=1:strict_string_checks=1",
        "LSAN_OPTIONS": f"suppressions={kRoot}/tests/support/leaks.supp:print_suppressions=0",
        "UBSAN_OPTIONS": "halt_on_error=1:print_stacktrace=1",
        "TSAN_OPTIONS": "halt_on_error=1:second_deadlock_stack=1",
    }


def show(line):
    print(line, flush=True)


def stream(argv, env, timeout_s, each_line):
    """Runs argv, hands over each line; returns the status, or None when its time was up and it was killed, and the CPU seconds that
    it and what it waited for took."""
    child = subprocess.Popen(argv, env=env, cwd=kRoot, text=True, errors="replace", stdin=subprocess.DEVNULL,
                             stdout=subprocess.PIPE, stderr=subprocess.STDOUT, start_new_session=True)
    late = threading.Event()

    def end():
        late.set()
        os.killpg(child.pid, signal.SIGKILL)

    timer = threading.Timer(timeout_s, end)
    timer.start()
    try:
        for line in child.stdout:
            each_line(line.rstrip("\n"))
        _, status, usage = os.wait4(child.pid, 0)
        child.returncode = os.waitstatus_to_exitcode(status)
    finally:
        timer.cancel()
    return None if late.is_set() else child.returncode, usage.ru_utime + usage.ru_stime


def run_script(job, tally, wrap=list, say=show):
    where = f"{job.build}, {'huge' if job.hugepages else 'small'} pages"
    argv = wrap(["/usr/bin/python3", str(job.path)])
    before = tally.failed
    run_cases(f"{job.suite}/{job.name()}", where, argv, job.timeout_s * kSlowdown[job.build],
              environment(job.build, job.hugepages), tally, say)
    if tally.failed != before:
        tally.repeat_by(job.suite, job.name(), job.build)


def run_scripts(jobs, tally):
    """Scripts of one suite; those that run beside others are in namespaces of their own, and tell all when they end."""
    beside = [job for job in jobs if job.beside]
    if len(beside) < kAtOnce or not namespaces.are_possible():
        beside = []
    for job in jobs:
        if job not in beside:
            run_script(job, tally)
    if not beside:
        return

    def run_beside(job):
        own, lines = Tally(), []
        run_script(job, own, namespaces.inside, lines.append)
        return own, lines

    show(f"== {jobs[0].suite}: {len(beside)} scripts, {kAtOnce} at once")
    with concurrent.futures.ThreadPoolExecutor(kAtOnce) as pool:
        longest_first = sorted(beside, key=lambda job: -job.timeout_s)
        for done in concurrent.futures.as_completed([pool.submit(run_beside, job) for job in longest_first]):
            own, lines = done.result()
            show("\n".join(lines))
            tally.add_all(own)


def run_cases(name, where, argv, timeout_s, env, tally, say=show):
    """A program that says PASS, FAIL or SKIP for each of its cases."""
    say(f"== {name} ({where})")
    before = (tally.passed, tally.failed, tally.skipped)
    recent = collections.deque(maxlen=kLastLines)

    def each_line(line):
        say("   " + line)
        if line[:5] in ("PASS ", "FAIL ", "SKIP "):
            tally.add(line[:4], f"{line[5:]} ({where})")
            if line.startswith("FAIL "):
                tally.last_words.append((f"{name} ({where})", list(recent)))
            recent.clear()
        else:
            recent.append(line)

    begin = time.monotonic()
    status, cpu_s = stream(argv, env, timeout_s, each_line)
    say(f"   {time.monotonic() - begin:.0f} s, {cpu_s:.0f} s of CPU time")
    unfinished = tally.failed
    if status is None:
        tally.add("FAIL", f"{name}: no end after {timeout_s} s ({where})")
    elif (tally.passed, tally.failed, tally.skipped) == before:
        tally.add("FAIL", f"{name}: it told of no case, exit status {status} ({where})")
    elif status != 0 and tally.failed == before[1]:
        tally.add("FAIL", f"{name}: exit status {status} without a failed case ({where})")
    if tally.failed != unfinished:
        tally.last_words.append((f"{name} ({where})", list(recent)))


def run_meson(job, index, tally):
    show(f"== {job.suite} ({job.build}): {len(job.tests)} programs")
    directory = build_dir(job.build)
    base = f"lagan-{index}-{job.suite}"
    log = directory / "meson-logs" / f"{base}.json"
    log.unlink(missing_ok=True)
    longer = kLongTakes if long_form() else 1
    argv = ["meson", "test", "-C", str(directory), "--no-rebuild", "--print-errorlogs", "--logbase", base,
            "--timeout-multiplier", str(longer * kSlowdown[job.build]), "--suite", job.suite, *job.tests]
    stream(argv, environment(job.build, False), longer * 3600, lambda line: kMesonTotals.match(line) or show("   " + line))
    told = [json.loads(line) for line in log.read_text().splitlines()] if log.exists() else []
    for entry in told:
        count_meson(entry, job, tally)
    for missing in len(told) < len(job.tests) and set(job.tests) - {entry["name"] for entry in told} or ():
        tally.add("FAIL", f"{job.suite}/{missing}: meson told no result ({job.build})")


def important_lines(entry):
    """Of what a program said: where it found what is wrong, and how it ended."""
    lines = (entry.get("stdout", "") + entry.get("stderr", "")).splitlines()
    return [line for line in lines[:-kLastLines] if kFindings.search(line)][:kLastLines] + lines[-kLastLines:]


def count_meson(entry, job, tally):
    """One program: its Boost.Test cases one by one where it reports them."""
    name = entry["name"].split(" / ")[-1]
    result = entry["result"]
    cases = {kind: int(count) for count, kind in kBoostCases.findall(entry.get("stdout", "") + entry.get("stderr", ""))}
    if result in ("OK", "EXPECTEDFAIL"):
        for _ in range(max(1, cases.get("passed", 1))):
            tally.add("PASS", name)
    elif result == "SKIP":
        tally.add("SKIP", name)
    else:
        for _ in range(cases.get("passed", 0)):
            tally.add("PASS", name)
        tally.repeat_by(job.suite, name, job.build)
        tally.last_words.append((f"{job.suite}/{name} ({job.build})", important_lines(entry)))
        for _ in range(max(1, cases.get("failed", 0) + cases.get("aborted", 0))):
            tally.add("FAIL", f"{job.suite}/{name}: {result.lower()}, exit status {entry.get('returncode')} ({job.build})")
    for _ in range(cases.get("skipped", 0)):
        tally.add("SKIP", name)


def main():
    options = Options(sys.argv[1:])
    tally, begin = Tally(), time.monotonic()
    if wants_lint(options):
        env = environment("release", False)
        run_cases("lint", "sources", [str(kRoot / "tools/lint")], kLintTimeoutS, env, tally)
    index = 0
    for (kind, suite), jobs in itertools.groupby(make_plan(options), lambda job: (type(job), job.suite)):
        started = time.monotonic()
        if kind is MesonJob:
            for index, job in enumerate(jobs, index + 1):
                run_meson(job, index, tally)
        else:
            run_scripts(list(jobs), tally)
        show(f"== {suite}: {time.monotonic() - started:.0f} s")
    for name, lines in tally.last_words:
        show(f"== {name} said")
        for line in lines:
            show("   " + line)
    if tally.failures:
        show(f"== failed (seed {seed()}; logs in {kBuildRoot}/*/meson-logs)")
        for failure in tally.failures:
            show("   " + failure)
    for command in dict.fromkeys(tally.again):
        show(f"== again: {command}")
    show(f"== {time.monotonic() - begin:.0f} s")
    skipped = f", {tally.skipped} skipped" if tally.skipped else ""
    show(f"{tally.passed} passed, {tally.failed} failed{skipped}")
    sys.exit(0 if tally.passed and not tally.failed else 1)


if __name__ == "__main__":
    main()
