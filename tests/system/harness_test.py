#!/usr/bin/python3
# SPDX-License-Identifier: BSD-3-Clause
# lagan-test: hugepages=both builds=release timeout=60
"""The harness itself: a test that cannot fail, or that leaves programs behind, proves nothing."""
import os
import pathlib
import subprocess
import sys
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "support"))
from harness import Failure, Suite

suite = Suite(__file__)

kInner = """
import sys
sys.path.insert(0, {support!r})
from harness import Skip, Suite
suite = Suite("inner_test.py")
@suite.case
def good(t): t.true(True, "fine")
@suite.case
def bad(t): t.equal(1, 2, "a number")
@suite.case
def broken(t): raise KeyError("x")
@suite.case
def skipped(t): raise Skip("not here")
@suite.case
def leaves_a_program(t):
    print("pid", t.start(["sleep", "1000"]).pid, flush=True)
@suite.case
def hides_a_report(t):
    t.start(["sh", "-c", "echo '==1==ERROR: AddressSanitizer: heap-use-after-free' >&2"]).wait()
@suite.case
def hangs(t):
    print("hanging", t.start(["sleep", "1000"]).pid, flush=True)
    import time; time.sleep(1000)
suite.main()
"""


def inner(t):
    path = t.dir / "inner.py"
    path.write_text(kInner.format(support=str(pathlib.Path(__file__).resolve().parents[1] / "support")))
    return path


def alive(pid):
    try:
        state = pathlib.Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]
    except FileNotFoundError:
        return False
    return state != "Z"  # a zombie waits for init, it no longer runs


@suite.case
def every_verdict_is_told(t):
    done = t.run(["/usr/bin/python3", inner(t), "--only", "[!h]*"], check=False)
    t.equal(done.status, 1, "exit status with failed cases")
    verdicts = [line.split("(")[0].strip() for line in done.stdout.splitlines() if line[:4] in ("PASS", "FAIL", "SKIP")]
    t.equal(verdicts, ["PASS inner.good", "FAIL inner.bad: a number: got 1, expected 2",
                       "FAIL inner.broken: KeyError: 'x'", "SKIP inner.skipped: not here",
                       "PASS inner.leaves_a_program"], "verdicts")
    pid = int(next(line for line in done.stdout.splitlines() if line.startswith("pid")).split()[1])
    t.true(not alive(pid), "a program that a case started outlived it")


@suite.case
def a_sanitizer_report_fails_the_case(t):
    # Not t.run: it would find the report too, and fail this very case.
    done = subprocess.run(["/usr/bin/python3", inner(t), "--only", "hides*"], text=True, capture_output=True)
    t.equal(done.returncode, 1, "exit status")
    t.true("FAIL inner.hides_a_report" in done.stdout, done.stdout)


@suite.case
def a_killed_test_leaves_nothing(t):
    test = t.start(["/usr/bin/python3", inner(t), "--only", "hangs"])
    pid = int(test.wait_for(r"hanging (\d+)").group(1))
    t.true(alive(pid), "the inner program runs")
    os.kill(test.pid, 9)  # only the test, not its group
    t.wait_until(lambda: not alive(pid), "the program of a killed test is gone")


@suite.case
def waiting_has_an_end(t):
    try:
        t.start(["sleep", "1000"]).wait_for("never", timeout=0.2)
    except Failure as failure:
        t.true("did not say" in str(failure), str(failure))
    else:
        raise Failure("wait_for returned without a match")


@suite.case
def memory_is_where_the_mode_says(t):
    kind = subprocess.run(["stat", "-f", "-c", "%T", t.memory_dir()], text=True, capture_output=True).stdout.strip()
    t.equal(kind, "hugetlbfs" if t.hugepages else "tmpfs", "file system of the memory directory")


if __name__ == "__main__":
    suite.main()
