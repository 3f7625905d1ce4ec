#!/usr/bin/python3
# SPDX-License-Identifier: BSD-3-Clause
# lagan-test: hugepages=no builds=release timeout=180
"""The benchmark of durability works, in its shortest form, and prints all its figures. Never how good they are."""
import json
import os
import pathlib
import shutil
import sys

kHere = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(kHere.parent / "support"))
from harness import Skip, Suite

suite = Suite(__file__)
kFigures = ("dirty_marking_cost", "checkpoint_vs_fio", "read_p50_during_checkpoint_ratio", "restart_gib_per_s")


def scratch(t):
    """tmpfs, where no other writer's disk is waited for; older kernels have no O_DIRECT there, which fio is to use."""
    try:
        os.close(os.open(t.dir / "direct", os.O_CREAT | os.O_WRONLY | os.O_DIRECT))
        return t.dir
    except OSError:
        return t.build_dir


@suite.case
def it_has_all_its_figures(t):
    if shutil.which("fio") is None:
        raise Skip("fio is not installed: ./tools/setup --group test")
    # Two seconds for a checkpoint, so that it is still under way when lagan-bench has started.
    done = t.run([sys.executable, kHere / "bench_durability.py", "--inside", "--json", "--rounds", 1, "--batches", 10,
                  "--region-mib", 8, "--bandwidth", "4MiB", "--arena-mib", 64, 128, "--directory", scratch(t)], timeout=150)
    figures = json.loads(done.stdout.strip().splitlines()[-1])
    t.equal([name for name in kFigures if not isinstance(figures.get(name), float)], [], f"figures that are missing of {figures}")
    for name in kFigures[1:]:
        t.true(figures[name] > 0, f"{name} is {figures[name]}")


if __name__ == "__main__":
    suite.main()
