#!/usr/bin/python3
# SPDX-License-Identifier: BSD-3-Clause
# lagan-test: hugepages=no builds=release timeout=300
"""Checkpoints and restores of real appliances: what a cut has, what becomes of one that cannot be finished, and whose
baseline it is."""
import json
import pathlib
import subprocess
import sys
import time
import zlib

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "support"))
from harness import Suite
from lagand_node import LagandNode

suite = Suite(__file__)
kProgram = pathlib.Path(__file__).resolve().parent / "programs/far_pages.py"


class Node(LagandNode):
    """With a baseline store, whose keys are the arguments."""

    def __init__(self, t, name="one", store=None, **baseline):
        self.store = store or t.dir / "store"
        keys = [f"{key} = {json.dumps(value)}" for key, value in baseline.items()]
        super().__init__(t, name, size="128MiB", more="\n".join(["[baseline]", f'store = "{self.store}"', *keys]))
        self.start()

    def restart(self):
        self.lagand.kill()
        self.start()

    def make_region(self, name="r", size="16MiB"):
        self.t.equal(self.call("POST", "/v1/regions", {"name": name, "size": size}).status, 201, "a new region")

    def state(self, region="r"):
        return self.get(f"/v1/regions/{region}/checkpoint")

    def checkpoint(self, region="r", wanted="done"):
        started = self.call("POST", f"/v1/regions/{region}/checkpoint")
        self.t.equal(started.status, 202, f"checkpoint asked for: {started.body}")
        return self.ended(region, wanted)

    def ended(self, region="r", wanted="done"):
        self.t.wait_until(lambda: self.state(region)["state"] not in ("waiting", "running"), "the checkpoint's end", 60)
        state = self.state(region)
        self.t.equal(state["state"], wanted, f"checkpoint: {state}")
        return state

    def restore(self, wanted="done", **request_body):
        started = self.call("POST", "/v1/restores", {"region": "r", **request_body})
        self.t.equal(started.status, 202, f"restore asked for: {started.body}")
        self.t.wait_until(lambda: self.get("/v1/restores/r")["state"] != "running", "the restore's end", 60)
        state = self.get("/v1/restores/r")
        self.t.equal(state["state"], wanted, f"restore: {state}")
        return state

    def events(self, kind):
        return [event for event in self.get("/v1/events")["events"] if event["kind"] == kind]


class Pages:
    """A client of one region, and what must be in it."""

    def __init__(self, t, node, region="r"):
        self.t, self.model = t, {}
        self.child = subprocess.Popen(
            ["/usr/bin/python3", kProgram, t.binary("client/liblagan.so"), str(node.socket), region],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        t.equal(self.answer(), "ready", "the client")

    def answer(self):
        line = self.child.stdout.readline().strip()
        if not line:
            self.child.kill()
            raise AssertionError(f"the client ended: {self.child.stderr.read()}")
        return line

    def command(self, *words):
        print(*words, file=self.child.stdin, flush=True)
        return self.answer()

    def store(self, first, count, word):
        self.t.equal(self.command("store", first, count, word), "ok", "stored")
        self.model.update({page: word for page in range(first, first + count)})

    def free(self, first, count):
        self.t.equal(self.command("free", first, count), "ok", "freed")
        for page in range(first, first + count):
            self.model.pop(page, None)

    def store_at_random(self, steps):
        for _ in range(steps):
            first, count = self.t.rng.randrange(4000), self.t.rng.randrange(1, 60)
            if self.t.rng.random() < 0.25:
                self.free(first, count)
            else:
                self.store(first, count, self.t.rng.getrandbits(63) | 1)

    def show(self):
        return {int(page): word for page, word in json.loads(self.command("show")).items()}

    def close(self):
        self.child.stdin.close()
        status = self.child.wait(30)
        for stream in (self.child.stdout, self.child.stderr):
            stream.close()
        self.t.equal(status, 0, "the client's exit status")


def shown(t, node):
    pages = Pages(t, node)
    found = pages.show()
    pages.close()
    return found


@suite.case
def a_restore_elsewhere_has_what_the_cut_had(t):
    one = Node(t)
    one.make_region()
    pages = Pages(t, one)
    for number in (1, 2, 3):
        pages.store_at_random(60)
        cut = dict(pages.model)
        done = one.checkpoint()
        t.equal(done["cut_number"], number, "the cut's number")
        region = one.get("/v1/regions/r")
        t.equal((region["dirty_pages"], region["draining_pages"]), (0, 0), "dirty pages")
        t.equal((region["cut_number"], region["durable_cut"]), (number, number), "cuts")
    pages.store_at_random(20)
    t.equal(pages.show(), pages.model, "the region itself")
    pages.close()

    two = Node(t, "two")
    t.equal(two.get("/v1/baselines")["baselines"], ["r"], "baselines")
    t.equal(two.get("/v1/baselines/r")["cuts"][0]["cut_number"], 3, "the newest cut")
    restored = two.restore()
    t.equal((restored["cut_number"], restored["pages_done"]), (3, len(cut)), "what was restored")
    t.equal(shown(t, two), cut, "the restored region")
    region = two.get("/v1/regions/r")
    t.equal((region["epoch"], region["dirty_pages"], region["durable_cut"]), (2, 0, 3), "epoch, dirty pages, cut")

    # The baseline is the other's now. The first is told so, and goes on serving.
    t.equal(two.checkpoint()["cut_number"], 4, "a cut of the restored region")
    refused = one.checkpoint(wanted="failed")
    t.true("epoch" in refused["problem"] and not refused["tried_again"], f"{refused}")
    t.true(one.events("checkpoint_failed")[0]["severity"] == "alarm", "an alarm")
    pages = Pages(t, one)
    pages.store(0, 1, 77)
    pages.close()
    t.true(one.get("/v1/regions/r")["dirty_pages"] > 0, "what was not checkpointed is dirty still")


@suite.case
def a_checkpoint_that_was_killed_is_taken_up_again(t):
    # Slow, so that it is under way for long.
    node = Node(t, bandwidth="2MiB")
    node.make_region()
    pages = Pages(t, node)
    pages.store(0, 3000, 1)
    pages.store_at_random(40)
    pages.close()
    model = dict(pages.model)
    node.call("POST", "/v1/regions/r/checkpoint")
    t.wait_until(lambda: node.state()["pages_done"] > 0, "a checkpoint under way", 30)
    region = node.get("/v1/regions/r")
    t.true(region["draining_pages"] >= len(model) and region["cut_number"] == 1, f"{region}")
    node.restart()
    region = node.get("/v1/regions/r")
    t.true(region["dirty_pages"] >= len(model) and region["durable_cut"] == 0, f"{region}")
    t.wait_until(lambda: node.state()["state"] == "running", "a checkpoint that nobody asked for", 30)
    t.equal(shown(t, node), model, "the region")
    node.lagand.kill()
    node.change_config('bandwidth = "2MiB"', "")
    node.start()
    t.wait_until(lambda: node.state()["state"] == "done", "its end", 30)
    t.equal(node.call("DELETE", "/v1/regions/r").status, 204, "deletion")
    node.restore()
    t.equal(shown(t, node), model, "the restored region")


@suite.case
def a_full_store_costs_nothing_but_time(t):
    store = t.dir / "small"
    store.mkdir()
    t.run(["mount", "-t", "tmpfs", "-o", "size=4m,mode=700", "tmpfs", store])
    try:
        node = Node(t, store=store)
        node.make_region()
        pages = Pages(t, node)
        pages.store(0, 500, 5)
        node.checkpoint()
        pages.store(0, 1500, 6)
        failed = node.checkpoint(wanted="failed")
        t.true(failed["tried_again"], f"{failed}")
        t.true(node.get("/v1/regions/r")["dirty_pages"] >= 1500, "dirty pages after the failure")
        t.equal(node.get("/v1/baselines/r")["cuts"][0]["cut_number"], 1, "the cut that is there")
        t.run(["mount", "-o", "remount,size=64m", store])
        t.wait_until(lambda: node.state()["state"] == "done", "another attempt, by itself", 60)
        pages.close()
        t.equal(node.call("DELETE", "/v1/regions/r").status, 204, "deletion")
        node.restore()
        t.equal(shown(t, node), pages.model, "the restored region")
        node.lagand.terminate()
    finally:
        t.run(["umount", "-l", store])


@suite.case
def checkpoints_come_by_themselves(t):
    node = Node(t, interval_seconds=1)
    node.make_region()
    pages = Pages(t, node)
    pages.store(0, 100, 1)

    def clean():
        """Its record when all of it is in the baseline. A cut may come while the pages are stored, and another one for the rest."""
        region = node.get("/v1/regions/r")
        at_rest = region["durable_cut"] == region["cut_number"] and region["dirty_pages"] == region["draining_pages"] == 0
        return region if region["durable_cut"] >= 1 and at_rest else None
    cut = t.wait_until(clean, "a cut by time", 30)["cut_number"]
    time.sleep(2.5)
    t.equal(node.get("/v1/regions/r")["cut_number"], cut, "cuts of a region that has not changed")
    node.lagand.kill()
    pages.child.kill()
    node.change_config("interval_seconds = 1", "dirty_percent = 50")
    node.start()
    pages = Pages(t, node)
    pages.store(0, 1000, 2)
    time.sleep(2.5)
    t.equal(node.get("/v1/regions/r")["cut_number"], cut, "cuts with a quarter dirty")
    pages.store(0, 2100, 3)
    t.wait_until(lambda: node.get("/v1/regions/r")["durable_cut"] == cut + 1, "a cut by share", 30)
    pages.close()


@suite.case
def a_region_can_go_while_it_is_checkpointed(t):
    node = Node(t, bandwidth="1MiB")
    node.make_region()
    pages = Pages(t, node)
    pages.store(0, 3000, 1)
    pages.close()
    node.call("POST", "/v1/regions/r/checkpoint")
    t.equal(node.call("POST", "/v1/regions/r/checkpoint").status, 409, "a second one beside it")
    t.wait_until(lambda: node.state()["pages_done"] > 0, "a checkpoint under way", 30)
    t.equal(node.call("DELETE", "/v1/regions/r/checkpoint").status, 204, "cancelling it")
    cancelled = node.ended(wanted="failed")
    t.true("cancelled" in cancelled["problem"] and not cancelled["tried_again"], f"{cancelled}")
    node.call("POST", "/v1/regions/r/checkpoint")
    t.wait_until(lambda: node.state()["pages_done"] > 0, "another under way", 30)
    t.equal(node.call("DELETE", "/v1/regions/r").status, 204, "deletion meanwhile")
    frames = node.get("/v1/stats")["frames"]
    t.equal(frames["used"], 0, f"frames that were not given back: {frames}")


@suite.case
def a_damaged_baseline_is_not_restored(t):
    node = Node(t)
    node.make_region()
    pages = Pages(t, node)
    pages.store_at_random(50)
    first = dict(pages.model)
    node.checkpoint()
    pages.store(100, 50, 9)
    node.checkpoint()
    pages.close()
    t.equal(node.call("POST", "/v1/restores", {"region": "r"}).status, 409, "a restore over what is there")
    t.equal(node.call("DELETE", "/v1/regions/r").status, 204, "deletion")
    for name, status in (("q", 404), ("../r", 404)):
        t.equal(node.call("POST", "/v1/restores", {"region": name}).status, status, f"restore of {name}")
    segments = sorted((pathlib.Path(node.store) / "r/segments").iterdir(), key=lambda path: path.stat().st_mtime)
    newest = segments[-1]
    data = bytearray(newest.read_bytes())
    data[20 * 4096 + 7] ^= 1
    newest.write_bytes(data)
    failed = node.restore(wanted="failed")
    t.equal(failed["losses"][0]["pages"], [{"first": 120, "count": 1}], "the pages that are lost")
    t.true("pages 120" in failed["problem"] and newest.name in failed["problem"], f"{failed}")
    t.equal(node.get("/v1/regions")["regions"], [], "regions after a restore that failed")
    t.equal(node.get("/v1/stats")["frames"]["used"], 0, "frames")
    # The cut before it is whole.
    cuts = node.get("/v1/baselines/r")["cuts"]
    older = next(cut["manifest"] for cut in cuts if cut["cut_number"] == 1)
    node.restore(manifest=older)
    t.equal(shown(t, node), first, "the restored region")


@suite.case
def a_restore_that_was_interrupted_leaves_nothing_and_is_told_of(t):
    node = Node(t)
    node.make_region()
    pages = Pages(t, node)
    pages.store(0, 300, 6)
    node.checkpoint()
    pages.close()
    node.lagand.kill()
    record, = pathlib.Path(node.arena).glob("*.record")
    content = bytearray(record.read_bytes()[:124])
    content[120] |= 2  # kRecordRestoring, as a kill in the middle of a restore leaves it
    with record.open("r+b") as file:
        file.write(content + zlib.crc32(content).to_bytes(4, "little"))
    node.start()
    t.equal(node.get("/v1/regions")["regions"], [], "regions after the restart")
    told, = node.events("restore_interrupted")
    t.equal((told["region"], told["severity"]), ("r", "warning"), "the event")
    t.true("ask for the restore again" in told["text"] and told["text"] in node.lagand.text(), f"{told}, and in the log")
    node.restore()
    t.equal(shown(t, node), pages.model, "the restored region")


@suite.case
def a_region_that_was_rolled_back_has_a_baseline_of_its_own(t):
    one = Node(t)
    one.make_region()
    pages = Pages(t, one)
    pages.store(0, 200, 1)
    first = dict(pages.model)
    one.checkpoint()
    pages.store(100, 200, 2)
    pages.free(0, 10)
    one.checkpoint()
    pages.close()
    cuts = one.get("/v1/baselines/r")["cuts"]
    older = next(cut["manifest"] for cut in cuts if cut["cut_number"] == 1)
    two = Node(t, "two")
    two.restore(manifest=older)
    # From the restore on, not from the next checkpoint on.
    t.true("epoch" in one.checkpoint(wanted="failed")["problem"], "the first appliance's next checkpoint")
    pages = Pages(t, two)
    t.equal(pages.show(), first, "the restored region")
    pages.model = first
    pages.store(50, 1, 3)
    two.checkpoint()
    pages.close()
    t.equal(two.call("DELETE", "/v1/regions/r").status, 204, "deletion")
    two.restore()
    t.equal(shown(t, two), pages.model, "the region after its own checkpoint")


@suite.case
def an_appliance_starts_while_its_store_is_away(t):
    node = Node(t, store=t.dir / "no/such/store")
    node.make_region()
    pages = Pages(t, node)
    pages.store(0, 100, 3)
    t.wait_until(lambda: node.events("baseline_unreachable"), "an alarm")
    failed = node.checkpoint(wanted="failed")
    t.true("no/such" in failed["problem"], f"{failed}")
    t.equal(node.call("GET", "/v1/baselines").status, 404, "what the store has")
    (t.dir / "no/such").mkdir(parents=True)
    node.checkpoint()
    pages.close()


@suite.case
def a_temporary_region_that_is_checkpointed_goes_all_the_same(t):
    node = Node(t, bandwidth="1MiB")
    node.lagand.terminate()
    node.change_config("[memory]", "[memory]\ntemporary_region_seconds = 2")
    node.start()
    t.equal(node.call("POST", "/v1/regions", {"name": "r", "size": "16MiB", "temporary": True}).status, 201, "a region")
    pages = Pages(t, node)
    pages.store(0, 3000, 1)
    node.call("POST", "/v1/regions/r/checkpoint")
    pages.close()
    t.wait_until(lambda: node.get("/v1/regions")["regions"] == [], "its end", 30)
    t.equal(node.lagand.terminate(), 0, "exit status")


@suite.case
def the_commands(t):
    node = Node(t)

    def lagan(*words, status=0):
        done = t.run([t.binary("client/lagan"), *words, "--appliance", node.socket], check=False)
        t.equal(done.status, status, f"lagan {' '.join(words)}: {done}")
        return done.stdout if status == 0 else done.stderr

    t.true("16.0 MiB" in lagan("region", "create", "r", "--size", "16MiB"), "the new region")
    pages = Pages(t, node)
    pages.store(0, 300, 4)
    pages.close()
    t.true(" 300 " in lagan("region", "list"), "dirty pages in the list")
    t.true("cut 1 of" in lagan("checkpoint", "r"), "a checkpoint")
    t.equal(json.loads(lagan("checkpoint", "r", "--json"))["state"], "done", "a checkpoint for scripts")
    t.true("no region" in lagan("checkpoint", "q", status=1), "a checkpoint of nothing")
    t.equal(lagan("baseline"), "r\n", "baselines")
    t.true(lagan("baseline", "r").splitlines()[1].split()[1] == "2", "the newest cut")
    t.true("delete it first" in lagan("region", "restore", "r", status=1), "a restore over what is there")
    lagan("region", "delete", "r")
    t.true("300 pages" in lagan("region", "restore", "r"), "a restore")
    t.equal(shown(t, node), pages.model, "the restored region")
    t.true("restored to cut 2" in lagan("events"), "events")
    t.equal(json.loads(lagan("events", "--json", "--after", "1000"))["events"], [], "events that have not happened")
    t.true("--size is required" in lagan("region", "create", "x", status=2), "wrong usage")
    node.lagand.terminate()
    t.true(str(node.socket) in lagan("region", "list", status=3), "no appliance")


@suite.case
def without_a_store_there_are_none(t):
    node = Node(t)
    node.lagand.terminate()
    node.change_config(f'store = "{node.store}"', "")
    node.start()
    node.make_region()
    for method, target in (("POST", "/v1/regions/r/checkpoint"), ("GET", "/v1/restores"), ("GET", "/v1/baselines")):
        reply = node.call(method, target)
        t.true(reply.status == 409 and "baseline.store" in reply.body["detail"], f"{target}: {reply}")
    node.lagand.terminate()
    node.change_config("[baseline]", '[baseline]\nstore = "ftp://x"')
    done = t.run([t.binary("appliance/lagand"), "--config", node.config, "--check-config"], check=False)
    t.true(done.status == 2 and "baseline.store" in done.stderr, f"{done}")


if __name__ == "__main__":
    suite.main()
