# SPDX-License-Identifier: BSD-3-Clause
"""A real lagand on a vhost port, for measurements and checks with lagan-bench."""
import json
import os
import re

from lagand_node import LagandNode

class Link(LagandNode):
    """Running. t is a harness.Context, which ends it."""

    def __init__(self, t, idle="adaptive", memory="192MiB", baseline=None):
        lines = [f'{key} = "{value}"' for key, value in (baseline or {}).items()]
        super().__init__(t, "link", size=memory, memory_keys=f'huge_pages = "{"on" if t.hugepages else "off"}"',
                         more="\n".join(["[poll]", f'idle = "{idle}"', "[baseline]", *lines]))
        self.start()

    def other_cpus(self):
        """The CPUs that lagand does not poll on; empty if there are none."""
        polling = {int(cpu) for cpu in re.findall(r"polls on CPU (\d+)", self.lagand.text())}
        return sorted(os.sched_getaffinity(0) - polling)

    def command(self, *arguments):
        """lagan-bench's command line, beside the poll loop if there is a CPU for it."""
        cpus = ",".join(map(str, self.other_cpus()))
        return [*(["taskset", "-c", cpus] if cpus else []), self.t.binary("client/bench/lagan-bench"),
                "--appliance", self.socket, *arguments]

    def bench(self, *arguments, timeout=60, check=True):
        """Runs lagan-bench; its exit status and its JSON object (None if it printed none)."""
        done = self.t.run(self.command("--json", *arguments), timeout=timeout, check=check)
        last = done.stdout.strip().splitlines()[-1:] or [""]
        return done.status, json.loads(last[0]) if last[0].startswith("{") else None
