# SPDX-License-Identifier: BSD-3-Clause
"""Cases of a system test: scratch directories, seeds, and one result line per case.

A test is an executable file NAME_test.py that ends in `suite.main()`; docs/testing.md shows one. Each case
gets a Context: a scratch directory of its own, a seeded random generator, and start/run for the real
programs. Whatever a case started is gone when the case ends, however it ends.
"""
import argparse
import fnmatch
import os
import pathlib
import random
import shutil
import signal
import sys
import tempfile
import time
import traceback

from errors import Failure, Skip
from processes import Process, run_program

kRoot = pathlib.Path(__file__).resolve().parents[2]
# What a sanitizer says before its report; a process that printed one of these fails its case.
kSanitizerMarks = ("ERROR: AddressSanitizer", "ERROR: LeakSanitizer", "WARNING: ThreadSanitizer",
                   ": runtime error: ")


class Context:
    """What one case works with."""

    def __init__(self, suite, name, seed):
        self.suite = suite
        self.name = name
        self.seed = seed
        self.rng = random.Random(seed)
        self.hugepages = os.environ.get("LAGAN_TEST_HUGEPAGES", "0") == "1"
        self.long = os.environ.get("LAGAN_TEST_LONG", "0") == "1"
        self.sanitizer = os.environ.get("LAGAN_TEST_SANITIZER", "")  # "", "address" or "thread"
        self.build_dir = pathlib.Path(os.environ.get("LAGAN_BUILD_DIR", kRoot / "build"))
        base = os.environ.get("LAGAN_TEST_DIR")
        self.dir = pathlib.Path(tempfile.mkdtemp(prefix="lagan-", dir=base))
        self._huge_dir = None
        self.parts_failed = 0
        self.shared = None  # what the suite's shared() function returned
        self._processes = []
        self._finalizers = []

    # Slower builds and loaded machines wait longer; a limit is only ever reached by a failure. Without a sanitizer no more than a
    # minute comes of that: a wait that fails has to end before the script's own time does, or nobody says what was waited for.
    def scaled(self, seconds):
        return seconds * 4 if self.sanitizer else max(seconds, min(seconds * 3, 60))

    def binary(self, relative):
        """The path of a built program, such as "appliance/lagand"."""
        path = self.build_dir / relative
        if not path.exists():
            raise Failure(f"{path} is not built; build it with ./tools/test or ninja -C {self.build_dir}")
        return str(path)

    def open_build(self):
        """From here on binary() gives paths that other users may walk, wherever the build is (in /root, for instance)."""
        public = pathlib.Path(tempfile.mkdtemp(prefix="lagan-open-", dir="/tmp"))
        self.defer(public.rmdir)
        public.chmod(0o755)
        self.run(["mount", "--bind", self.build_dir, public])
        self.defer(lambda: self.run(["umount", "--lazy", public]))
        self.build_dir = public

    def memory_dir(self):
        """A directory for memory files: on hugetlbfs in the huge-page run, else on tmpfs."""
        if not self.hugepages:
            base = os.environ.get("LAGAN_TEST_DIR", "/dev/shm")
            path = pathlib.Path(tempfile.mkdtemp(prefix="lagan-memory-", dir=base))
        else:
            base = os.environ.get("LAGAN_TEST_HUGETLBFS")
            if not base:
                raise Skip("no hugetlbfs here (LAGAN_TEST_HUGETLBFS is not set)")
            path = pathlib.Path(tempfile.mkdtemp(prefix="lagan-", dir=base))
        self.defer(lambda: shutil.rmtree(path, ignore_errors=True))
        return path

    def defer(self, action):
        """Runs action when the case ends, last one first, after its processes are gone."""
        self._finalizers.append(action)

    def start(self, argv, name=None, env=None, cwd=None, stdin=None):
        """Starts a program in a process group of its own; its output goes to a log that is searched."""
        name = name or pathlib.Path(argv[0]).name
        log = self.dir / f"{len(self._processes)}-{name}.log"
        process = Process([str(word) for word in argv], name, log, self.scaled, env, cwd, stdin)
        self._processes.append(process)
        return process

    def run(self, argv, timeout=30, check=True, env=None, cwd=None, input=None):
        """Runs a program to its end and returns its status, stdout and stderr (text)."""
        done = run_program([str(word) for word in argv], self.scaled(timeout), env, cwd, input)
        self.no_sanitizer_report(pathlib.Path(argv[0]).name, done.stderr)
        if check and done.status != 0:
            raise Failure(f"{' '.join(map(str, argv))}: exit status {done.status}: "
                          f"{(done.stderr or done.stdout).strip()[-600:]}")
        return done

    def wait_until(self, predicate, what, timeout=10, interval=0.02):
        """Polls predicate until it is true and returns its value."""
        deadline = time.monotonic() + self.scaled(timeout)
        while True:
            value = predicate()
            if value:
                return value
            if time.monotonic() > deadline:
                raise Failure(f"not within {self.scaled(timeout):g} s: {what}")
            time.sleep(interval)

    def true(self, condition, what):
        if not condition:
            raise Failure(what)

    def equal(self, actual, expected, what):
        if actual != expected:
            raise Failure(f"{what}: got {actual!r}, expected {expected!r}")

    def no_sanitizer_report(self, name, text):
        for mark in kSanitizerMarks:
            if mark in text:
                line = next(line for line in text.splitlines() if mark in line)
                raise Failure(f"{name}: {line.strip()}")

    def check_logs(self):
        for process in self._processes:
            self.no_sanitizer_report(process.name, process.text())

    def stop_processes(self):
        for process in reversed(self._processes):
            process.stop()

    def remove(self, keep):
        """Ends what is left of the case; keep leaves its scratch directory for a look."""
        self.stop_processes()
        for action in reversed(self._finalizers):
            action()
        if keep:
            print(f"kept {self.dir}", file=sys.stderr)
        else:
            shutil.rmtree(self.dir, ignore_errors=True)

    def part(self, name, why=""):
        """One result of many that a program under test tells of; with a reason it has failed."""
        self.parts_failed += bool(why)
        label = f"{self.suite.name}.{self.name}.{name}"
        print(f"FAIL {label}: {' '.join(why.split())}" if why else f"PASS {label}", flush=True)

    def show_logs(self):
        for process in self._processes:
            tail = process.text().splitlines()[-30:]
            print(f"--- last lines of {process.name} ({process.describe()})", file=sys.stderr)
            print("\n".join("    " + line for line in tail), file=sys.stderr)


class Suite:
    """The cases of one file, in order."""

    def __init__(self, file):
        self.name = pathlib.Path(file).stem.removesuffix("_test")
        self.cases = []
        self._make_shared = None
        self._session = None  # the context of what is shared
        self._shared_error = None

    def case(self, function):
        """Decorator: function(t) is a case; its name is the function's."""
        self.cases.append(function)
        return function

    def shared(self, function):
        """Decorator: function(t) runs once, before the first case; all cases have what it returned as t.shared, and what it
        started runs until the last one has ended. For what takes long to start, such as a guest."""
        self._make_shared = function
        return function

    def main(self):
        parser = argparse.ArgumentParser(description=sys.modules["__main__"].__doc__)
        parser.add_argument("--list", action="store_true", help="print the cases and end")
        parser.add_argument("--only", metavar="PATTERN", default="*", help="cases whose name matches (shell pattern)")
        parser.add_argument("--seed", type=int, default=int(os.environ.get("LAGAN_TEST_SEED", "1")))
        parser.add_argument("--keep", action="store_true", help="keep the scratch directories")
        options = parser.parse_args()
        chosen = [case for case in self.cases if fnmatch.fnmatch(case.__name__, options.only)]
        if options.list:
            print("\n".join(case.__name__ for case in chosen))
            return
        if not chosen:
            sys.exit(f"{self.name}: no case matches {options.only!r}")
        # Ignored by what a shell starts with "&", and then by all programs of the cases.
        signal.signal(signal.SIGINT, signal.default_int_handler)
        try:
            failed = [case for case in chosen if not self._run(case, options)]
        finally:
            if self._session is not None:
                self._session.remove(options.keep)
        sys.exit(1 if failed else 0)

    def _share(self, options):
        """What the shared function returned; if it failed, every case does."""
        if self._make_shared is not None and self._session is None:
            self._session = Context(self, "shared", options.seed)
            try:
                self._session.shared = self._make_shared(self._session)
            except Skip as skip:
                self._shared_error = skip
            except Exception as error:
                traceback.print_exc()
                self._shared_error = Failure(f"what the cases share could not be made: {type(error).__name__}: {error}")
        if self._shared_error is not None:
            raise self._shared_error.with_traceback(None)
        return self._session.shared if self._session else None

    def _contexts(self, context):
        return (self._session, context) if self._session else (context,)

    def _run(self, case, options):
        begin = time.monotonic()
        context = Context(self, case.__name__, options.seed)
        verdict, why = "PASS", ""
        try:
            try:
                context.shared = self._share(options)
                case(context)
                context.equal(context.parts_failed, 0, "parts of it that failed")
            finally:
                context.stop_processes()
            for each in self._contexts(context):
                each.check_logs()
        except Skip as skip:
            verdict, why = "SKIP", str(skip)
        except Failure as failure:
            verdict, why = "FAIL", str(failure)
        except Exception as error:  # a broken case must not hide the ones after it
            traceback.print_exc()
            verdict, why = "FAIL", f"{type(error).__name__}: {error}"
        finally:  # also when interrupted: nothing of a case outlives it
            if verdict == "FAIL":
                for each in self._contexts(context):
                    each.show_logs()
            context.remove(options.keep)
        label = f"{self.name}.{case.__name__}"
        if verdict == "PASS":
            print(f"PASS {label} ({time.monotonic() - begin:.1f} s)", flush=True)
            return True
        print(f"{verdict} {label}: {' '.join(why.split())}", flush=True)
        if verdict == "FAIL":
            print(f"     again: {sys.argv[0]} --only {case.__name__} --seed {options.seed}", flush=True)
        return verdict == "SKIP"
