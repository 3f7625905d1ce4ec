# SPDX-License-Identifier: BSD-3-Clause
"""Real programs under test: started in process groups, watched by their output, always ended."""
import ctypes
import os
import re
import signal
import subprocess
import time
from typing import NamedTuple

from errors import Failure

kPrSetPdeathsig = 1  # prctl(2)
libc = ctypes.CDLL(None, use_errno=True)


def die_with_parent():
    """In the child before exec: a killed test must not leave its programs behind."""
    libc.prctl(kPrSetPdeathsig, signal.SIGKILL, 0, 0, 0)


def merged(env):
    return {**os.environ, **{key: str(value) for key, value in (env or {}).items()}}


class Done(NamedTuple):
    status: int
    stdout: str
    stderr: str


def run_program(argv, timeout, env=None, cwd=None, input=None):
    """Runs argv to its end; ends its whole group and fails when the time is up."""
    child = subprocess.Popen(argv, env=merged(env), cwd=cwd, text=True, errors="replace",
                             stdin=subprocess.PIPE if input is not None else subprocess.DEVNULL,
                             stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True,
                             preexec_fn=die_with_parent)
    try:
        out, err = child.communicate(input, timeout)
    except subprocess.TimeoutExpired:
        end_group(child.pid)
        out, err = child.communicate()
        raise Failure(f"{' '.join(argv)}: no end after {timeout:g} s; it said: {(err or out).strip()[-300:]}") from None
    finally:
        end_group(child.pid)
    return Done(child.returncode, out, err)


def end_group(group):
    try:
        os.killpg(group, signal.SIGKILL)
    except ProcessLookupError:
        pass


class Process:
    """A program that runs beside the test. stdout and stderr go to one log file."""

    def __init__(self, argv, name, log, scaled, env=None, cwd=None, stdin=None):
        self.argv = argv
        self.name = name
        self.log = log
        self._scaled = scaled
        with open(log, "wb") as sink:
            self._child = subprocess.Popen(argv, env=merged(env), cwd=cwd, stdout=sink, stderr=sink,
                                           stdin=stdin or subprocess.DEVNULL, start_new_session=True,
                                           preexec_fn=die_with_parent)
        self.pid = self._child.pid

    @property
    def status(self):
        """Exit status, negative for a signal; None while it runs."""
        return self._child.poll()

    def describe(self):
        return "running" if self.status is None else f"exit status {self.status}"

    def text(self):
        return self.log.read_text(errors="replace") if self.log.exists() else ""

    def wait_for(self, pattern, timeout=15):
        """Waits until the output has the regular expression; returns its match."""
        deadline = time.monotonic() + self._scaled(timeout)
        while True:
            ended = self.status is not None  # looked at first: what it wrote before its end counts
            match = re.search(pattern, self.text(), re.MULTILINE)
            if match:
                return match
            if ended:
                raise Failure(f"{self.name} ended ({self.describe()}) before it said /{pattern}/: {self._last()}")
            if time.monotonic() > deadline:
                raise Failure(f"{self.name} did not say /{pattern}/ in {self._scaled(timeout):g} s: {self._last()}")
            time.sleep(0.01)

    def wait(self, timeout=30):
        """Waits for its end and returns the exit status."""
        try:
            return self._child.wait(self._scaled(timeout))
        except subprocess.TimeoutExpired:
            raise Failure(f"{self.name} still runs after {self._scaled(timeout):g} s: {self._last()}") from None

    def expect_exit(self, status=0, timeout=30):
        actual = self.wait(timeout)
        if actual != status:
            raise Failure(f"{self.name}: exit status {actual}, expected {status}: {self._last()}")

    def signal(self, number):
        if self.status is None:
            os.kill(self.pid, number)

    def terminate(self, timeout=15):
        """SIGTERM, and its exit status; a program that does not end in time has failed."""
        self.signal(signal.SIGTERM)
        return self.wait(timeout)

    def kill(self):
        """SIGKILL to the whole group, as when the machine's power goes."""
        end_group(self.pid)
        self._child.wait()

    def stop(self, timeout=3):
        """SIGTERM, then SIGKILL to the group: ends it whatever it does."""
        if self.status is None:
            self.signal(signal.SIGTERM)
            try:
                self._child.wait(self._scaled(timeout))
            except subprocess.TimeoutExpired:
                pass
        self.kill()

    def resident_kib(self):
        """VmRSS of the process."""
        with open(f"/proc/{self.pid}/status") as status:
            return next(int(line.split()[1]) for line in status if line.startswith("VmRSS:"))

    def _last(self):
        lines = [line for line in self.text().splitlines() if line.strip()]
        return " | ".join(lines[-3:])[-400:] or "(no output)"
