#!/usr/bin/python3
# SPDX-License-Identifier: BSD-3-Clause
# lagan-test: hugepages=no builds=release,asan timeout=240 beside=yes
"""The pager and the preload library with real programs, over far memory inside the pager's process (no appliance): no wrong
byte, local memory under its limit as the kernel counts it, the program's own exit status, and a clear end when something is wrong."""
import json
import os
import pathlib
import signal
import sys
import threading
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "support"))
from harness import Skip, Suite

suite = Suite(__file__)
kMiB = 1 << 20


def command(t, *program, local_mib=8, region_mib=256, options=()):
    return [t.binary("tests/system/memory_run"), "--preload", t.binary("client/preload/liblagan_preload.so"),
            "--local-memory", f"{local_mib}M", "--region-size", f"{region_mib}M", *options, "--", *program]


def workload(t, *arguments, timeout=60, options=(), **sizes):
    return t.run(command(t, t.binary("tests/system/paging_workload"), *arguments, options=options, **sizes),
                 timeout=timeout, check=False, cwd=t.dir)


def all_right(t, done):
    t.equal((done.status, done.stdout.splitlines()[-1:]), (0, ["all right"]), done.stderr.strip()[-400:])


def far_bytes(pid):
    """What the mapping takes of memory, by the kernel's own count of the memfd's blocks."""
    fds = f"/proc/{pid}/fd"
    try:
        for fd in os.listdir(fds):
            if os.readlink(f"{fds}/{fd}").startswith("/memfd:lagan"):
                return os.stat(f"{fds}/{fd}").st_blocks * 512
    except OSError:
        pass
    return 0


class Sampler(threading.Thread):
    def __init__(self, pid):
        super().__init__(daemon=True)
        self.pid, self.peak, self.stop = pid, 0, False
        self.start()

    def run(self):
        while not self.stop:
            self.peak = max(self.peak, far_bytes(self.pid))
            time.sleep(0.001)


def mode_case(mode, mib, delay_us=0, program="paging_workload", lasts=False):
    def case(t):
        process = t.start(command(t, t.binary(f"tests/system/{program}"), mode, mib, options=["--delay-us", delay_us, "--stats-file", t.dir / "stats"]), cwd=t.dir)
        sampler = Sampler(process.pid)
        process.expect_exit(0, timeout=60)
        sampler.stop = True
        t.true("all right" in process.text(), process.text())
        limit = 8 * kMiB + max(8 * kMiB, 8 * kMiB * 5 // 100)
        t.true(sampler.peak <= limit, f"{sampler.peak} bytes resident, {limit} allowed")
        # One that is over soon is done before the sampler has seen it with much.
        peak = json.loads((t.dir / "stats").read_text())["peak_local_bytes"]
        t.true(peak > 4 * kMiB and (sampler.peak > 4 * kMiB or not lasts),
               f"at most {peak} bytes resident by lagan's own count, the sampler saw {sampler.peak}")
    case.__name__ = f"bytes_are_right_{mode}"
    return suite.case(case)


mode_case("random", 24)
mode_case("threads", 48, delay_us=20, lasts=True)
mode_case("heap", 40, lasts=True)
mode_case("discard", 24)
mode_case("grow", 24)
mode_case("file", 40)
mode_case("exec", 24, delay_us=5)
for split_mode in ("mprotect", "mlock", "munmap", "mremap"):
    mode_case(split_mode, 24, program="split_workload")


@suite.case
def who_waits_for_an_unmapped_page_is_told(t):
    done = t.run(command(t, t.binary("tests/system/split_workload"), "munmap_waited_for", 16, options=["--delay-us", 3000]),
                 timeout=60, check=False)
    all_right(t, done)


@suite.case
def fork_without_exec_is_loud(t):
    done = workload(t, "fork", 24)
    all_right(t, done)  # of the parent
    t.true("child: exit 0" not in done.stdout and "child: exit 1\n" not in done.stdout, done.stdout)
    t.true("fork() made without exec" in done.stderr, done.stderr)


@suite.case
def forked_children_keep_their_handler_of_sigsegv(t):
    done = t.run(command(t, t.binary("tests/system/fork_workload")))
    t.equal(done.stdout.splitlines(),
            ["own fault: exit 0", "own fault, then heap: exit 125", "sent: exit 0", "grandchild: exit 125",
             "handler for once: signal 11", "default: signal 11", "default, then sent: signal 11",
             "ignored: signal 11", "ignored, then sent: exit 1"], "how the children ended")
    t.equal(done.stderr.count("fork() made without exec"), 2, done.stderr)


@suite.case
def memory_that_ends_is_a_null_pointer(t):
    done = workload(t, "exhaust", region_mib=64)
    all_right(t, done)
    got = int(done.stdout.split("got ")[1].split()[0])
    t.true(40 <= got <= 64, done.stdout)


@suite.case
def sort_gives_the_same_bytes(t):
    text = t.dir / "text"
    with open(text, "w") as file:
        for _ in range(150000):
            file.write(" ".join(f"{t.rng.getrandbits(40):x}" for _ in range(t.rng.randint(1, 12))) + "\n")
    env = {"LC_ALL": "C"}
    t.run(["sort", text, "-o", t.dir / "expected"], env=env)
    done = t.run(command(t, "sort", text, "-o", t.dir / "sorted", local_mib=7, options=["--stats-file", t.dir / "stats"]),
                 timeout=120, env=env)
    t.equal((t.dir / "sorted").read_bytes() == (t.dir / "expected").read_bytes(), True, "same bytes")
    figures = json.loads((t.dir / "stats").read_text())
    t.true(figures["pages_stored"] > 1000 and figures["pages_read"] > 1000, str(figures))
    t.true(figures["peak_local_bytes"] <= 7 * kMiB, str(figures))
    line = done.stderr.strip().splitlines()[-1]
    t.true(all(word in line for word in ("faults", "pages read", "stored", "freed", "peak local memory")), line)


@suite.case
def the_exit_status_is_the_programs(t):
    t.equal(t.run(command(t, "sh", "-c", "exit 42"), check=False).status, 42, "exit 42")
    t.equal(t.run(command(t, "sh", "-c", "kill -SEGV $$"), check=False).status, 128 + signal.SIGSEGV, "a signal")


@suite.case
def signals_are_forwarded(t):
    process = t.start(command(t, t.binary("tests/system/paging_workload"), "wait", 4))
    process.wait_for("waiting")
    os.kill(process.pid, signal.SIGTERM)
    process.expect_exit(7)


def refused(t, status, words, *argv, **arguments):
    done = t.run(argv, check=False, **arguments)
    t.equal(done.status, status, f"exit status of {argv[-1]}: {done.stderr.strip()[-300:]}")
    lines = done.stderr.strip().splitlines()
    t.equal(len(lines), 1, f"one line, not {lines}")
    t.true(words in lines[0], f"'{words}' in '{lines[0]}'")


@suite.case
def programs_that_cannot_be_started(t):
    plain = t.dir / "plain"
    plain.write_text("not a program")
    refused(t, 127, "no such program in PATH", *command(t, "no-such-program"))
    refused(t, 127, "no such program", *command(t, "/nowhere/program"))
    refused(t, 126, "not executable", *command(t, plain))
    plain.chmod(0o755)
    refused(t, 126, "Exec format error", *command(t, plain))
    refused(t, 126, "statically linked", *command(t, t.binary("tests/system/static_program")))
    other = t.dir / "setuid"
    other.write_bytes(pathlib.Path("/bin/true").read_bytes())
    os.chown(other, 65534, 65534)
    other.chmod(0o4755)
    refused(t, 126, "set-user-ID", *command(t, other))
    foreign = t.dir / "foreign"
    image = bytearray(pathlib.Path("/bin/true").read_bytes())
    image[18:20] = (int.from_bytes(image[18:20], "little") ^ 0x155).to_bytes(2, "little")  # e_machine
    foreign.write_bytes(image)
    foreign.chmod(0o755)
    refused(t, 126, "another processor architecture", *command(t, foreign))


@suite.case
def file_capabilities_are_refused(t):
    t.open_build()
    t.dir.chmod(0o755)
    capable = t.dir / "capable"
    capable.write_bytes(pathlib.Path("/bin/true").read_bytes())
    capable.chmod(0o755)
    # Version 2 of struct vfs_cap_data, effective; CAP_NET_RAW permitted.
    words = (0x02000001, 1 << 13, 0, 0, 0)
    os.setxattr(capable, "security.capability", b"".join(word.to_bytes(4, "little") for word in words))
    t.equal(t.run(command(t, capable), check=False).status, 0, "root gains nothing by them")
    user = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"]
    argv = [*user, *command(t, capable)]
    refused(t, 126, "file capabilities", *argv, cwd="/")


@suite.case
def sizes_that_make_no_sense(t):
    refused(t, 125, "at least 1 MiB", *command(t, "true", local_mib=0))
    refused(t, 125, "--region-size", *command(t, "true", region_mib=0))


@suite.case
def userfaultfd_not_permitted(t):
    # As a user without any capability.
    t.open_build()
    user = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"]
    argv = [*user, *command(t, "true")]
    if pathlib.Path("/proc/sys/vm/unprivileged_userfaultfd").read_text().strip() == "1":
        raise Skip("userfaultfd is permitted to everybody here")
    refused(t, 125, "vm.unprivileged_userfaultfd", *argv, cwd="/")


@suite.case
def userfaultfd_by_its_device(t):
    if not pathlib.Path("/dev/userfaultfd").exists():
        raise Skip("no /dev/userfaultfd")
    if pathlib.Path("/proc/sys/vm/unprivileged_userfaultfd").read_text().strip() == "1":
        raise Skip("userfaultfd is permitted to everybody here")
    # Root without CAP_SYS_PTRACE: the system call is refused, the device is root's own.
    argv = command(t, t.binary("tests/system/paging_workload"), "random", 12)
    done = t.run(["setpriv", "--bounding-set=-sys_ptrace", *argv], check=False, timeout=60)
    all_right(t, done)


@suite.case
def lost_far_memory_ends_the_program(t):
    for option in ("--fail-after", "--disconnect-after"):
        # The workload must not come to its end, nor see a wrong byte.
        done = workload(t, "random", 48, options=[option, "2000"])
        t.equal(done.status, 75, f"exit status: {done.stderr}")
        t.equal(done.stdout, "", "what the program said")
        lines = done.stderr.strip().splitlines()
        t.true(len(lines) == 1 and "was killed" in lines[0], done.stderr)


@suite.case
def a_killed_pager_takes_the_program_with_it(t):
    process = t.start(command(t, t.binary("tests/system/paging_workload"), "threads", 100, options=["--delay-us", "200"]),
                      env={"XDG_RUNTIME_DIR": str(t.dir)})  # where its socket is left behind
    children = pathlib.Path(f"/proc/{process.pid}/task/{process.pid}/children")
    child = t.wait_until(lambda: children.read_text().split(), "a child")[0]
    t.wait_until(lambda: far_bytes(process.pid) > 4 * kMiB, "paging")
    time.sleep(0.2)
    os.kill(process.pid, signal.SIGKILL)

    def gone():
        try:
            return not pathlib.Path(f"/proc/{child}/maps").read_text()
        except OSError:  # reaped, maybe while it is read
            return True
    t.wait_until(gone, "the program's end")
    t.true("wrong" not in process.text() and "all right" not in process.text(), process.text())


@suite.case
def nothing_is_outstanding_when_the_buffers_go(t):
    # Stores take long: some are under way when the program is killed. memory_run looks, and ends with 98.
    process = t.start(command(t, t.binary("tests/system/paging_workload"), "random", 100, options=["--delay-us", "20000"]))
    children = pathlib.Path(f"/proc/{process.pid}/task/{process.pid}/children")
    child = t.wait_until(lambda: children.read_text().split(), "a child")[0]
    t.wait_until(lambda: far_bytes(process.pid) > 7 * kMiB, "local memory full")
    time.sleep(0.1)
    os.kill(int(child), signal.SIGKILL)
    process.expect_exit(128 + signal.SIGKILL)


@suite.case
def nothing_stays_behind(t):
    env = {"XDG_RUNTIME_DIR": str(t.dir)}
    t.run(command(t, "sort", "/etc/passwd"), env=env)
    t.run(command(t, "false"), env=env, check=False)
    t.equal([path.name for path in t.dir.iterdir() if path.name.startswith("lagan-")], [], "sockets left over")


if __name__ == "__main__":
    suite.main()
