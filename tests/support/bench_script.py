# SPDX-License-Identifier: BSD-3-Clause
"""What benchmarks that are scripts have in common: namespaces of their own, an end by signals, a context, a last line of JSON."""
import json
import signal
import sys

from errors import Failure
from harness import Context
from namespaces import run_inside


def end(number, frame):
    raise SystemExit(128 + number)


def bench_main(script, name, options, measure, report, prepare=None):
    """measure(t, options) gives the figures, report(figures, options) prints them for people and gives what --json prints.
    `prepare` is done outside of the namespaces, which have no network. `options` have .inside and .json."""
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, end)
    if not options.inside:
        if prepare:
            prepare()
        run_inside(script)
    t = Context(None, f"bench_{name}", seed=1)
    try:
        figures = measure(t, options)
    except Failure as failure:
        t.show_logs()
        sys.exit(f"bench {name}: {failure}")
    finally:
        t.remove(keep=False)
    said = report(figures, options)
    if options.json:
        print(json.dumps(said))
