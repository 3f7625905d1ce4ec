#!/usr/bin/python3
# SPDX-License-Identifier: BSD-3-Clause
# lagan-test: hugepages=no builds=release timeout=240
"""The benchmark of failovers works, in its shortest form, and prints all its figures. Never how good they are."""
import json
import os
import pathlib
import shutil
import sys

kHere = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(kHere.parent / "support"))
from harness import Skip, Suite

suite = Suite(__file__)
kFigures = ("first_page_ms", "rebuild_ms", "rebuild_ms_by_region_size", "rebuild_ms_by_dirty_pages", "pull_vs_read_rate",
            "baseline_vs_fio", "detect_to_serving_ms")


@suite.case
def it_has_all_its_figures(t):
    if shutil.which("fio") is None:
        raise Skip("fio is not installed: ./tools/setup --group test")
    if os.geteuid() != 0:
        raise Skip("a bridge needs root")
    done = t.run([sys.executable, kHere / "bench_failover.py", "--inside", "--json", "--rounds", 1, "--failovers", 1,
                  "--region-mib", 16, 64, "--dirty-pages", 512, "--pull-mib", 8, "--read-seconds", 0.2, "--baseline-mib", 16,
                  "--directory", t.build_dir], timeout=200)
    figures = json.loads(done.stdout.strip().splitlines()[-1])
    for name in kFigures:
        figure = figures.get(name)
        values = list(figure.values()) if isinstance(figure, dict) else [figure]
        t.true(values and all(isinstance(value, float) and value > 0 for value in values), f"{name} is {figure}")


if __name__ == "__main__":
    suite.main()
