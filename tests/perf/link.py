# SPDX-License-Identifier: BSD-3-Clause
"""A real lagand on a vhost port, for measurements and checks with lagan-bench."""
import json
import os
import re

kConfig = """
[node]
name = "link"
api_socket = "{dir}/lagand.sock"
state_dir = "{dir}/state"

[memory]
size = "{memory}"
arena = "{arena}"
huge_pages = "{huge_pages}"

[poll]
idle = "{idle}"

[[port]]
name = "local0"
kind = "vhost"
path = "{dir}/local0.vhost"
addresses = ["10.77.0.1/24"]
peer_address = "10.77.0.2"
"""


class Link:
    """lagand, running. t is a harness.Context, which ends it."""

    def __init__(self, t, idle="adaptive", memory="192MiB", baseline=None):
        self.t = t
        config = t.dir / "lagand.toml"
        text = kConfig.format(dir=t.dir, memory=memory, arena=t.memory_dir(), idle=idle,
                              huge_pages="on" if t.hugepages else "off")
        lines = [f'{key} = "{value}"' for key, value in (baseline or {}).items()]
        config.write_text("\n".join([text, "[baseline]", *lines, ""]))
        self.socket = t.dir / "lagand.sock"
        self.lagand = t.start([t.binary("appliance/lagand"), "--config", config])
        self.lagand.wait_for("ready:", 30)

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
