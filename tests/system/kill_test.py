#!/usr/bin/python3
# SPDX-License-Identifier: BSD-3-Clause
# lagan-test: hugepages=no builds=release timeout=300
"""lagand dies by SIGKILL at random instants of its life, with a client that knows every byte and with checkpoints: nothing
acknowledged is lost, and the baseline has what the cut had."""
import collections
import json
import os
import pathlib
import sys
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "support"))
from harness import Suite
from lagand_node import LagandNode

suite = Suite(__file__)
kEnds = ("starting", "reconnecting", "serving", "checkpoint", "commit")
kPatience = 120  # seconds that nothing here takes, however slow the machine


class Client:
    """verifying_client: asked one thing at a time."""

    def __init__(self, t, node):
        self.t = t
        self.answers = 0
        read_end, self.questions = os.pipe()
        self.process = t.start([t.binary("tests/system/verifying_client"), "--appliance", node.socket, "--region", "r",
                                "--seed", t.rng.getrandbits(31)], stdin=read_end)
        os.close(read_end)
        t.defer(self.close)
        self.answer("ready")

    def answer(self, question):
        self.answers += 1
        said = lambda: [line for line in self.process.text().splitlines(keepends=True) if line[0] == "{" and line[-1] == "\n"]
        self.t.wait_until(lambda: len(said()) >= self.answers or self.process.status is not None, question, kPatience)
        self.t.true(len(said()) >= self.answers, f"the client ended at {question}: {self.process.text()[-1000:]}")
        answer = json.loads(said()[-1])
        self.t.equal((answer.get("mismatches", 0), answer.get("reports", [])), (0, []), f"wrong data by {question}")
        return answer

    def ask(self, question):
        os.write(self.questions, question.encode() + b"\n")
        return self.answer(question)

    def close(self):
        if self.questions is not None:
            os.close(self.questions)
            self.questions = None

    def end(self):
        self.close()
        self.process.expect_exit(0, kPatience)


class Life:
    """One region, its client, and lagands that follow one another."""

    def __init__(self, t):
        self.t = t
        self.store = t.dir / "store"
        self.node = LagandNode(t, size="96MiB", more=f'[baseline]\nstore = "{self.store}"')
        begin = time.monotonic()
        self.node.start()
        self.start_seconds = time.monotonic() - begin
        self.checkpoint_seconds = 0.1
        self.kills = collections.Counter()
        self.cuts = set()  # that were seen to be durable
        t.equal(self.node.call("POST", "/v1/regions", {"name": "r", "size": "32MiB"}).status, 201, "a new region")
        self.client = Client(t, self.node)
        self.client.ask("load")

    def ready(self):
        self.node.lagand.wait_for("ready:", kPatience)
        self.cuts.add(self.region()["durable_cut"])

    def region(self):
        return self.node.get("/v1/regions/r")

    def state(self):
        return self.node.get("/v1/regions/r/checkpoint")

    def at_work(self):
        """The client is back and has stored something."""
        self.ready()
        stored = self.t.rng.randrange(1, 3000)
        self.t.wait_until(lambda: self.node.counters()["pages_stored"] > stored, "stores after a restart", kPatience, 0.005)

    def ask_for_checkpoint(self):
        """One more, behind the one that may be under way."""
        self.t.wait_until(lambda: self.node.call("POST", "/v1/regions/r/checkpoint").status == 202, "another checkpoint",
                          kPatience, 0.002)

    def checkpoint_is(self, *states):
        self.t.wait_until(lambda: self.state()["state"] in states, f"a checkpoint that is {states}", kPatience, 0.001)

    def pages_are_written(self):
        state = self.state()
        return state["state"] == "done" or 0 < state["pages"] == state["pages_done"]

    def live_until(self, end):
        uniform = self.t.rng.uniform
        if end == "starting":
            return time.sleep(uniform(0, self.start_seconds))
        if end == "reconnecting":
            self.ready()
            return time.sleep(uniform(0, 1.2))
        self.at_work()
        if end == "serving":
            return time.sleep(uniform(0, 0.3))
        self.ask_for_checkpoint()
        if end == "checkpoint":
            return time.sleep(uniform(0, self.checkpoint_seconds))
        self.t.wait_until(self.pages_are_written, "all pages written", kPatience, 0)
        return time.sleep(uniform(0, 0.005))

    def kill(self):
        end = self.t.rng.choice(kEnds)
        self.live_until(end)
        self.node.lagand.kill()
        self.kills[end] += 1
        time.sleep(self.t.rng.choice((0, 0, 0, 0.3)))
        self.node.lagand = self.t.start(self.node.argv(), name=self.node.name)

    def checkpoint(self):
        self.ask_for_checkpoint()
        self.checkpoint_is("done", "failed")
        state = self.state()
        self.t.equal(state["state"], "done", f"checkpoint: {state}")
        self.checkpoint_seconds = max(0.05, 1.5 * state["seconds"])
        self.cuts.add(state["cut_number"])
        return state["cut_number"]

    def compare_baseline(self):
        """The load pauses, so that the cut and the client agree on every byte. Pages that are not dirty, because an earlier
        checkpoint has them, are compared as well."""
        self.ready()
        self.client.ask("quiet")
        cut = self.checkpoint()
        found = self.client.ask(f"baseline {self.store}")
        self.t.equal((found["cut_number"], found["whole"]), (cut, True), "what the baseline has")

    def restore(self):
        self.client.ask("leave")
        self.t.equal(self.node.call("DELETE", "/v1/regions/r").status, 204, "deletion")
        self.t.equal(self.node.call("POST", "/v1/restores", {"region": "r"}).status, 202, "a restore")
        restored = lambda: self.node.get("/v1/restores/r")
        self.t.wait_until(lambda: restored()["state"] != "running", "the restore's end", kPatience)
        self.t.equal(restored()["state"], "done", f"restore: {restored()}")
        self.client.ask("join")


@suite.case
def nothing_acknowledged_is_lost_at_whatever_instant(t):
    print(f"seed {t.seed}", flush=True)
    life = Life(t)
    kills = 200 if t.long else 25
    for number in range(1, kills + 1):
        life.kill()
        if number % 6 == 0:
            life.compare_baseline()
            life.client.ask("load")
    life.compare_baseline()
    figures = life.client.ask("quiet")
    life.restore()
    life.client.end()
    t.equal(life.node.lagand.terminate(), 0, "lagand's exit status")
    print(f"{kills} kills ({dict(life.kills)}), {len(life.cuts - {0})} durable cuts seen, seed {t.seed}: {figures}", flush=True)
    t.true(figures["reconnections"] > 0 and figures["write"] > 0 and figures["free"] > 0, f"what the client did: {figures}")


if __name__ == "__main__":
    suite.main()
