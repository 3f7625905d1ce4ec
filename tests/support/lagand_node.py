# SPDX-License-Identifier: BSD-3-Clause
"""One lagand with one port, everything of it under a case's scratch directories."""
from node_http import request


class LagandNode:
    """Not started yet. `port`: keys in place of a vhost port's kind and path; `memory_keys`: more of [memory]; `more`: the
    configuration's end."""

    def __init__(self, t, name="node", size="256MiB", port=None, addresses=("10.77.0.1/24",), peer="10.77.0.2", memory_keys="",
                 more=""):
        self.t, self.name = t, name
        self.socket, self.vhost, self.config = (t.dir / f"{name}.{kind}" for kind in ("sock", "vhost", "toml"))
        self.arena = t.memory_dir() / "arena"
        self.lagand = None
        self.config.write_text("\n".join([
            "[node]",
            f'name = "{name}"',
            f'api_socket = "{self.socket}"',
            f'state_dir = "{t.dir}/state-{name}"',
            "[memory]",
            f'size = "{size}"',
            f'arena = "{self.arena}"',
            memory_keys,
            "[[port]]",
            'name = "p"',
            port or f'kind = "vhost"\npath = "{self.vhost}"',
            "addresses = [" + ", ".join(f'"{address}"' for address in addresses) + "]",
            f'peer_address = "{peer}"' if peer else "",
            more, ""]))

    def argv(self, *more):
        return [self.t.binary("appliance/lagand"), "--config", self.config, *more]

    def start(self, *more, env=None):
        self.lagand = self.t.start(self.argv(*more), name=self.name, env=env)
        self.lagand.wait_for(r"ready:", timeout=60)
        return self.lagand

    def change_config(self, old, new):
        """For the next start."""
        text = self.config.read_text()
        self.t.true(old in text, f"{old} is not in the configuration")
        self.config.write_text(text.replace(old, new))

    def call(self, method, target, body=None, timeout=20):
        return request(self.socket, method, target, body, timeout=self.t.scaled(timeout))

    def get(self, target):
        return self.call("GET", target).body

    def stats(self):
        return self.get("/v1/stats")

    def counters(self):
        return self.stats()["total"]["counters"]

    def regions(self):
        return self.get("/v1/regions")["regions"]
