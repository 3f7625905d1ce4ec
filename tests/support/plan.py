#!/usr/bin/python3
# SPDX-License-Identifier: BSD-3-Clause
"""Which tests there are, in which builds and modes they run, and what has to be built for them.

plan.py check|list|builds [--suite NAME]... [--builds LIST] [--only PATTERN]
"""
import argparse
import fnmatch
import json
import os
import pathlib
import subprocess
import sys
from typing import NamedTuple

kRoot = pathlib.Path(__file__).resolve().parents[2]
kBuildRoot = pathlib.Path(os.environ.get("LAGAN_BUILD_ROOT", kRoot / "build"))
kBuilds = ("release", "asan", "tsan")
# Suite → builds that its meson tests run in; tests labelled kThreads run under TSan besides.
kMesonSuites = {"unit": ("release", "asan"), "protocol": ("release", "asan"), "fuzz": ("asan",), "perf-smoke": ("release",)}
kScriptFolders = {"system": "tests/system", "interop": "tests/interop", "perf-smoke": "tests/perf"}
kSuites = ("lint", "unit", "protocol", "fuzz", "system", "interop", "perf-smoke")  # in the order they run
kThreads = "threads"


class MesonJob(NamedTuple):
    suite: str
    build: str
    tests: tuple  # names


class ScriptJob(NamedTuple):
    suite: str
    build: str
    path: pathlib.Path
    hugepages: bool
    timeout_s: int
    beside: bool = False  # may run while another does

    def name(self):
        return self.path.stem.removesuffix("_test")


class PlanError(Exception):
    pass


def build_dir(build):
    return kBuildRoot if build == "release" else kBuildRoot / build


def introspect(build, what):
    done = subprocess.run(["meson", "introspect", what, str(build_dir(build))], text=True, capture_output=True)
    if done.returncode != 0:
        raise PlanError(f"meson introspect {what} failed in {build_dir(build)}: {(done.stderr or done.stdout).strip()}")
    return json.loads(done.stdout)


def labels(test):
    """"lagan:unit" → unit"""
    return {label.split(":")[-1] for label in test["suite"]}


def parse_directive(path):
    """The test's "# lagan-test: key=value ..." line, with the defaults."""
    settings = {"hugepages": "both", "builds": "release,asan", "timeout": "120", "beside": "no"}
    with open(path, errors="replace") as text:
        for _, line in zip(range(10), text):
            if line.startswith("# lagan-test:"):
                for word in line.split(":", 1)[1].split():
                    key, equals, value = word.partition("=")
                    if key not in settings or not equals:
                        raise PlanError(f"{path}: '{word}': expected {', '.join(k + '=' for k in settings)}")
                    settings[key] = value
    builds = settings["builds"].split(",")
    if settings["hugepages"] not in ("both", "no", "yes") or not set(builds) <= set(kBuilds):
        raise PlanError(f"{path}: hugepages= is both, no or yes; builds= are of {','.join(kBuilds)}")
    if settings["beside"] not in ("no", "yes"):
        raise PlanError(f"{path}: beside= is no or yes")
    return settings["hugepages"], builds, int(settings["timeout"]), settings["beside"] == "yes"


def script_jobs(suite, options):
    for path in sorted((kRoot / kScriptFolders[suite]).glob("*_test.py")):
        hugepages, builds, timeout_s, beside = parse_directive(path)
        job = ScriptJob(suite, "", path, False, timeout_s, beside)
        if not options.matches(job.name()):
            continue
        for build in builds:
            if build not in options.builds or (suite == "perf-smoke" and build != "release"):
                continue
            of_build = job._replace(build=build, beside=beside and build == "release")  # tried in no other
            if hugepages != "yes":
                yield of_build
            if hugepages != "no" and (build == "release" or hugepages == "yes"):
                yield of_build._replace(hugepages=True)


def meson_jobs(suite, tests, options):
    chosen = [test for test in tests if suite in labels(test) and options.matches(test["name"])]
    for build in kMesonSuites[suite]:
        if chosen and build in options.builds:
            yield MesonJob(suite, build, tuple(test["name"] for test in chosen))
    threaded = tuple(test["name"] for test in chosen if kThreads in labels(test))
    if threaded and "tsan" in options.builds:
        yield MesonJob(suite, "tsan", threaded)


class Options:
    def __init__(self, argv):
        parser = argparse.ArgumentParser()
        parser.add_argument("--suite", action="append", choices=kSuites)
        parser.add_argument("--builds", default=",".join(kBuilds))
        parser.add_argument("--only", default="*")
        parsed = parser.parse_args(argv)
        self.suites = [suite for suite in kSuites if suite in (parsed.suite or kSuites)]
        self.builds = parsed.builds.split(",")
        if not set(self.builds) <= set(kBuilds):
            parser.error(f"--builds {parsed.builds}: there are {', '.join(kBuilds)}")
        self.only = parsed.only

    def matches(self, name):
        return fnmatch.fnmatch(name, self.only)


def make_plan(options):
    """Every job, in order. Lint is a job of its own and not in here."""
    tests = introspect("release", "--tests")
    jobs = []
    for suite in options.suites:
        if suite in kMesonSuites:
            jobs += meson_jobs(suite, tests, options)
        if suite in kScriptFolders:
            jobs += script_jobs(suite, options)
    return jobs


def wants_lint(options):
    return "lint" in options.suites and options.only == "*"


def targets(jobs):
    """What to build: for meson tests what they depend on; scripts start anything, so they need everything (none named)."""
    if any(isinstance(job, ScriptJob) for job in jobs):
        return []
    names = {name for job in jobs for name in job.tests}
    files = {target["id"]: target["filename"] for target in introspect("release", "--targets")}
    needed = {identity for test in introspect("release", "--tests") if test["name"] in names for identity in test["depends"]}
    return sorted(str(pathlib.Path(file).relative_to(kBuildRoot)) for identity in needed for file in files[identity])


def main():
    command, options = sys.argv[1], Options(sys.argv[2:])
    if command == "check":
        return
    jobs = make_plan(options)
    if command == "list":
        if wants_lint(options):
            print("lint")
        for job in jobs:
            for name in job.tests if isinstance(job, MesonJob) else (job.name(),):
                print(f"{job.suite}/{name} ({job.build}{', huge pages' if getattr(job, 'hugepages', False) else ''})")
    if command == "builds":
        for build in kBuilds:
            of_build = [job for job in jobs if job.build == build]
            if of_build:
                print(build, *targets(of_build))


if __name__ == "__main__":
    try:
        main()
    except PlanError as error:
        sys.exit(f"test: error: {error}")
