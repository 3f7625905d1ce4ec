#!/usr/bin/python3
# SPDX-License-Identifier: BSD-3-Clause
# lagan-test: hugepages=no builds=release,asan timeout=240
"""lagan-mgmtd's API as its clients see it: every answer is what /openapi.json says, tokens and roles, tenants, pages, repeated
requests, events; and what its command line does."""
import json
import pathlib
import signal
import socket
import sys
import threading

import jsonschema

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "support"))
from harness import Suite
from lagand_node import LagandNode
from mgmtd import Mgmtd

suite = Suite(__file__)


class Checked(Mgmtd):
    """Compares every answer with the OpenAPI document, and remembers which operations were seen to work."""

    def __init__(self, t, **more):
        super().__init__(t, **more)
        self.document, self.seen = None, set()

    def start(self):
        super().start()
        self.document = json.loads(self.send("GET", "/openapi.json", token="")[1])
        return self

    def operation(self, method, target):
        path = target.split("?")[0]
        for pattern, methods in self.document["paths"].items():
            front, hole, back = pattern.partition("{name}")
            middle = path[len(front):len(path) - len(back)]
            if path == pattern or (hole and path.startswith(front) and path.endswith(back) and middle and "/" not in middle):
                if method.lower() in methods:
                    return pattern, methods[method.lower()]
        return None, None

    def send(self, method, target, body=None, **more):
        reply, text = super().send(method, target, body, **more)
        pattern, operation = self.operation(method, target) if self.document else (None, None)
        if operation is not None:
            self.check(f"{method} {pattern}", operation, reply, text)
        return reply, text

    def check(self, what, operation, reply, text):
        answers = operation["responses"]
        answer = answers.get(str(reply.status))
        if answer is None:
            self.t.true(reply.status >= 400, f"{what}: status {reply.status} is not in the document: {text}")
            answer = answers["default"]
        else:
            self.seen.add(what)
        content = answer.get("content", {})
        kind = (reply.getheader("Content-Type") or "").split(";")[0]
        if not content:
            self.t.equal(text, "", f"{what}: body of status {reply.status}")
            return
        self.t.true(kind in content, f"{what}: {kind} is not in the document: {text}")
        if kind.endswith("json"):
            schema = {**content[kind]["schema"], "components": self.document["components"]}
            try:
                jsonschema.Draft202012Validator(schema).validate(json.loads(text))
            except jsonschema.ValidationError as error:
                self.t.true(False, f"{what}: {error.json_path}: {error.message}: {text[:600]}")

    def expect(self, status, method, target, body=None, **more):
        reply = self.call(method, target, body, **more)
        self.t.equal(reply.status, status, f"status of {method} {target}: {reply.body}")
        return reply.body


def cluster(t, **more):
    node = LagandNode(t, "a", size="128MiB", more=f'[baseline]\nstore = "{t.dir}/store"')
    node.start()
    mgmtd = Checked(t, **more).start()
    t.wait_until(mgmtd.leads, "it leads")
    mgmtd.expect(201, "POST", "/v1/nodes", {"name": "a", "api": str(node.socket)})
    t.wait_until(lambda: mgmtd.expect(200, "GET", "/v1/nodes/a")["health"] == "up", "the node is seen to be up")
    return mgmtd, node


@suite.case
def every_answer_is_as_the_document_says(t):
    m, node = cluster(t)
    m.expect(200, "GET", "/healthz", token="")
    m.expect(200, "GET", "/openapi.json", token="")
    text = m.expect(200, "GET", "/metrics")
    t.true('lagan_nodes{health="up"} 1\n' in text and "lagan_mgmtd_leads 1\n" in text, text)
    m.expect(200, "GET", "/v1/cluster")
    token = m.expect(201, "POST", "/v1/tokens", {"name": "v", "role": "viewer"})
    t.true(token["id"] in [each["id"] for each in m.expect(200, "GET", "/v1/tokens")["tokens"]], "the token is listed")
    m.expect(204, "DELETE", f"/v1/tokens/{token['id']}")
    m.expect(401, "GET", "/v1/regions", token=token["token"])
    m.expect(200, "GET", "/v1/nodes")
    m.expect(200, "PATCH", "/v1/nodes/a", {"enabled": True})
    region = m.expect(201, "POST", "/v1/regions", {"name": "db", "size": "8MiB"})
    t.equal((region["node"], region["size_bytes"], region["state"]), ("a", 8 << 20, "ready"), "the new region")
    t.equal(region["uid"], node.get("/v1/regions/db")["uid"], "its uid")
    m.expect(200, "GET", "/v1/regions")
    home = m.expect(200, "GET", "/v1/regions/db/home")
    t.equal((home["node"], home["address"], home["port"], len(home["grant"])), ("a", "10.77.0.1", 7471, 112), "its home")
    m.expect(201, "POST", "/v1/regions/db/grants", {"role": "read"})
    m.expect(202, "POST", "/v1/regions/db/checkpoint")
    t.wait_until(lambda: m.expect(200, "GET", "/v1/regions/db/checkpoint")["state"] == "done", "the checkpoint's end")
    m.expect(204, "DELETE", "/v1/regions/db/checkpoint")
    t.equal(m.expect(200, "GET", "/v1/regions/db/checkpoints")["cuts"][0]["cut_number"], 1, "the newest cut in its baseline")
    failover = m.expect(202, "POST", "/v1/failovers", {"region": "db"})
    t.wait_until(lambda: m.expect(200, "GET", f"/v1/failovers/{failover['id']}")["ended"], "the drill's end: no other node has room")
    t.equal(m.expect(200, "GET", "/v1/failovers")["failovers"][0]["step"], "failed", "a drill without another node")
    m.expect(202, "POST", "/v1/moves", {"region": "db"})
    t.wait_until(lambda: m.expect(200, "GET", "/v1/regions/db")["failover"] is None, "the move's end")
    m.expect(202, "POST", "/v1/nodes/a/drain")
    t.wait_until(lambda: m.expect(200, "GET", "/v1/regions/db")["failover"] is None, "the drain's end")
    m.expect(409, "DELETE", "/v1/nodes/a")
    m.expect(204, "DELETE", "/v1/regions/db")
    t.equal(node.regions(), [], "regions of the node")
    m.expect(204, "DELETE", "/v1/nodes/a")
    kinds = {event["kind"] for event in m.expect(200, "GET", "/v1/events")["events"]}
    t.true({"region_created", "region_deleted", "node_registered", "failover_ended"} <= kinds, f"events: {kinds}")
    every = {f"{method.upper()} {path}" for path, methods in m.document["paths"].items() for method in methods}
    every.discard("DELETE /v1/failovers/{name}")  # a_move_can_be_cancelled has it
    t.equal(every - m.seen, set(), "operations of the document that this test has not seen to work")
    t.equal(m.process.terminate(), 0, "exit status")


@suite.case
def what_is_wrong_is_said(t):
    m, _ = cluster(t)
    for status, method, target, body in [
            (404, "GET", "/v1/nothing", None), (405, "PUT", "/v1/regions", None), (404, "GET", "/v1/regions/none", None),
            (404, "DELETE", "/v1/nodes/none", None), (404, "GET", "/v1/failovers/none", None),
            (404, "POST", "/v1/moves", {"region": "none"}), (400, "POST", "/v1/regions", "{"), (400, "POST", "/v1/regions", "[]"),
            (400, "POST", "/v1/regions", "[" * 1000), (422, "POST", "/v1/regions", {"name": "x"}),
            (422, "POST", "/v1/regions", {"name": "../x", "size": 4096}), (422, "POST", "/v1/regions", {"name": "x", "size": "much"}),
            (422, "POST", "/v1/regions", {"name": "x", "size": 0}), (422, "POST", "/v1/regions", {"name": "x", "size": 4096, "y": 1}),
            (507, "POST", "/v1/regions", {"name": "x", "size": "1TiB"}),
            (422, "POST", "/v1/regions", {"name": "x", "size": 4096, "node": "none"}),
            (409, "POST", "/v1/nodes", {"name": "a", "api": str(t.dir / "a.sock")}),
            (422, "POST", "/v1/nodes", {"name": "b", "api": str(t.dir / "a.sock")}),
            (502, "POST", "/v1/nodes", {"name": "b", "api": str(t.dir / "none.sock")}),
            (422, "POST", "/v1/nodes", {"name": "b", "api": "ftp://x"}),
            (422, "POST", "/v1/nodes", {"name": "b", "api": "http://192.0.2.1:7470"}),
            (502, "PATCH", "/v1/nodes/a", {"api": str(t.dir / "none.sock")}),
            (400, "DELETE", "/v1/regions/none?force=maybe", None), (404, "DELETE", "/v1/regions/none?force=true", None),
            (400, "GET", "/v1/regions?limit=0", None), (400, "GET", "/v1/regions?cursor=zz", None),
            (400, "GET", "/v1/events?after=x", None), (422, "POST", "/v1/tokens", {"name": "x", "role": "king"}),
            (422, "POST", "/v1/tokens", {"name": "x", "role": "tenant"}), (404, "DELETE", "/v1/tokens/0000000000000000", None)]:
        reply, text = m.send(method, target, body)
        t.equal(reply.status, status, f"status of {method} {target} {body}: {text}")
        t.equal(reply.getheader("Content-Type"), "application/problem+json", f"content type of {method} {target}")
        problem = json.loads(text)
        t.true(problem["status"] == status and problem["detail"], text)


@suite.case
def a_role_may_do_what_it_is_for(t):
    m, _ = cluster(t)
    m.expect(201, "POST", "/v1/regions", {"name": "red1", "size": "1MiB", "tenant": "red"})
    m.expect(201, "POST", "/v1/regions", {"name": "free", "size": "1MiB"})
    red, blue = m.token("tenant", "red"), m.token("tenant", "blue")
    viewer, operator = m.token("viewer"), m.token("operator")
    m.expect(401, "GET", "/v1/regions", token="")
    m.expect(401, "GET", "/v1/regions", token="lagan_" + "0" * 64)
    m.expect(401, "GET", "/v1/regions", token="x" * 4000)
    # A tenant sees and changes its own, and does not learn of others'.
    t.equal([each["name"] for each in m.expect(200, "GET", "/v1/regions", token=red)["regions"]], ["red1"], "red's regions")
    t.equal(m.expect(200, "GET", "/v1/regions", token=blue)["regions"], [], "blue's regions")
    for method, target in (("GET", "/v1/regions/red1"), ("DELETE", "/v1/regions/red1"), ("GET", "/v1/regions/red1/home"),
                           ("GET", "/v1/regions/free"), ("POST", "/v1/regions/red1/checkpoint")):
        t.equal(m.expect(404, method, target, token=blue)["detail"], f"there is no region \"{target.split('/')[3]}\"", "detail")
    m.expect(404, "POST", "/v1/regions/red1/grants", {"role": "read"}, token=blue)
    m.expect(200, "GET", "/v1/regions/red1/home", token=red)
    m.expect(201, "POST", "/v1/regions", {"name": "blue1", "size": "1MiB"}, token=blue)
    t.equal(m.expect(200, "GET", "/v1/regions/blue1")["tenant"], "blue", "whose region it is")
    m.expect(403, "POST", "/v1/regions", {"name": "x", "size": "1MiB", "tenant": "red"}, token=blue)
    m.expect(204, "DELETE", "/v1/regions/blue1", token=blue)
    seen = m.expect(200, "GET", "/v1/events", token=blue)["events"]
    t.equal({event["region"] for event in seen}, {"blue1"}, "regions that blue's events are of")
    t.equal({(event["node"], event["text"]) for event in seen}, {(None, "region created"), (None, "region deleted")}, "what they tell")
    # A name that was another's shows nothing of its failovers.
    m.expect(202, "POST", "/v1/moves", {"region": "red1"})
    t.wait_until(lambda: m.expect(200, "GET", "/v1/regions/red1")["failover"] is None, "the move's end")
    m.expect(204, "DELETE", "/v1/regions/red1")
    m.expect(201, "POST", "/v1/regions", {"name": "red1", "size": "1MiB"}, token=blue)
    t.equal(m.expect(200, "GET", "/v1/failovers", token=blue)["failovers"], [], "failovers that blue sees")
    told = m.expect(200, "GET", "/v1/failovers", token=red)["failovers"]
    t.equal([(each["region"], each["reason"], each["problem"]) for each in told], [("red1", "", None)], "failovers that red sees")
    m.expect(204, "DELETE", "/v1/regions/red1")
    m.expect(201, "POST", "/v1/regions", {"name": "red1", "size": "1MiB", "tenant": "red"})
    for target in ("/v1/nodes", "/v1/cluster", "/metrics", "/v1/tokens"):
        m.expect(403, "GET", target, token=red)
    m.expect(403, "POST", "/v1/moves", {"region": "red1"}, token=red)
    # A viewer sees all and changes nothing.
    t.equal(len(m.expect(200, "GET", "/v1/regions", token=viewer)["regions"]), 2, "regions that a viewer sees")
    m.expect(200, "GET", "/v1/nodes", token=viewer)
    m.expect(403, "GET", "/v1/regions/red1/home", token=viewer)
    m.expect(403, "POST", "/v1/regions", {"name": "x", "size": "1MiB"}, token=viewer)
    # An operator does everything but tokens.
    m.expect(200, "PATCH", "/v1/nodes/a", {"enabled": True}, token=operator)
    m.expect(403, "GET", "/v1/tokens", token=operator)
    m.expect(403, "DELETE", "/v1/regions/red1?force=true", token=operator)
    m.expect(204, "DELETE", "/v1/regions/red1", token=operator)


@suite.case
def a_tenant_is_told_what_is_in_the_way_of_a_checkpoint(t):
    node = LagandNode(t, "a", size="128MiB")
    node.start()
    m = Checked(t).start()
    t.wait_until(m.leads, "it leads")
    m.expect(201, "POST", "/v1/nodes", {"name": "a", "api": str(node.socket)})
    t.wait_until(lambda: m.expect(200, "GET", "/v1/nodes/a")["health"] == "up", "the node is seen to be up")
    red = m.token("tenant", "red")
    m.expect(201, "POST", "/v1/regions", {"name": "red1", "size": "1MiB"}, token=red)
    t.true("makes no checkpoints" in m.expect(409, "POST", "/v1/regions/red1/checkpoint", token=red)["detail"], "there is no store")
    t.true("makes no checkpoints" in m.expect(409, "GET", "/v1/regions/red1/checkpoints", token=red)["detail"], "so that there are no cuts")


@suite.case
def secrets_are_nowhere(t):
    m, _ = cluster(t, more='[log]\nlevel = "debug"')
    m.expect(201, "POST", "/v1/regions", {"name": "db", "size": "1MiB"})
    grants = [m.expect(200, "GET", "/v1/regions/db/home")["grant"], m.expect(201, "POST", "/v1/regions/db/grants", {"role": "write"})["grant"]]
    token = m.expect(201, "POST", "/v1/tokens", {"name": "x", "role": "admin"})["token"]
    m.expect(401, "GET", "/v1/regions", token=token + "0")
    m.expect(202, "POST", "/v1/moves", {"region": "db"})
    t.wait_until(lambda: m.expect(200, "GET", "/v1/regions/db")["failover"] is None, "the move's end")
    shown = "".join(m.send("GET", target)[1] for target in ("/v1/regions", "/v1/failovers", "/v1/events", "/v1/tokens", "/metrics"))
    m.process.terminate()
    files = b"".join(path.read_bytes() for path in t.dir.glob("directory.db*"))
    for secret in (*grants, token, m.token("admin")):
        t.true(secret not in m.process.text(), "a secret is in the log")
        t.true(secret not in shown, "a secret is in a list")
        t.true(secret.encode() not in files, "a secret is in the directory's file")
    for path in t.dir.glob("directory.db*"):
        t.equal(path.stat().st_mode & 0o777, 0o600, f"mode of {path.name}")


@suite.case
def lists_come_in_pages(t):
    m, _ = cluster(t)
    names = sorted(f"r{number}" for number in range(12))
    for name in names:
        m.expect(201, "POST", "/v1/regions", {"name": name, "size": 4096, "tenant": "even" if int(name[1:]) % 2 == 0 else "odd"})
    for token, expected in ((None, names), (m.token("tenant", "odd"), [name for name in names if int(name[1:]) % 2])):
        for limit in (1, 3, 5, 6, 12, 100):
            got, cursor = [], None
            while True:
                body = m.expect(200, "GET", f"/v1/regions?limit={limit}" + (f"&cursor={cursor}" if cursor else ""), token=token)
                t.true(len(body["regions"]) <= limit, "a page is too long")
                got += [region["name"] for region in body["regions"]]
                cursor = body["next"]
                if cursor is None:
                    break
            t.equal(got, expected, f"all pages of {limit}")


@suite.case
def a_repeated_request_is_carried_out_once(t):
    m, node = cluster(t)
    body, key = {"name": "db", "size": "1MiB"}, {"Idempotency-Key": "k1"}
    answers, threads = [], []
    for _ in range(4):
        threads.append(threading.Thread(target=lambda: answers.append(m.call("POST", "/v1/regions", body, headers=key))))
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    t.true({answer.status for answer in answers} <= {201, 409}, f"answers: {answers}")
    reply, text = m.send("POST", "/v1/regions", body, headers=key)
    t.equal((reply.status, reply.getheader("Idempotent-Replayed")), (201, "true"), "the same again")
    t.equal(json.loads(text)["uid"], node.get("/v1/regions/db")["uid"], "the region that it tells of")
    m.expect(422, "POST", "/v1/regions", {"name": "other", "size": "1MiB"}, headers=key)
    m.expect(409, "POST", "/v1/regions", body, headers={"Idempotency-Key": "k2"})
    m.expect(409, "POST", "/v1/regions", body, headers={"Idempotency-Key": "k2"})  # an answer as any other
    m.expect(400, "POST", "/v1/tokens", {"name": "x", "role": "viewer"}, headers={"Idempotency-Key": "k3"})
    m.expect(400, "POST", "/v1/regions", body, headers={"Idempotency-Key": "k" * 200})
    t.equal(len(node.regions()), 1, "regions at the node")


@suite.case
def events_come_as_they_happen(t):
    m, _ = cluster(t)
    stream = m.connection(tcp=True)
    stream.request("GET", "/v1/events", headers={"Authorization": f"Bearer {m.token('admin')}", "Accept": "text/event-stream",
                                                 "Last-Event-ID": "0"})
    reply = stream.getresponse()
    t.equal((reply.status, reply.getheader("Content-Type")), (200, "text/event-stream"), "the stream")
    lines, wanted = [], [b"event: node_registered", b"event: region_created", b"event: region_deleted"]
    reader = threading.Thread(target=lambda: lines.extend(iter(reply.readline, b"")), daemon=True)
    reader.start()
    m.expect(201, "POST", "/v1/regions", {"name": "db", "size": 4096})
    m.expect(204, "DELETE", "/v1/regions/db")
    t.wait_until(lambda: wanted[-1] in [line.strip() for line in lines], f"all events: {lines}", 30)
    kinds = [line.strip() for line in lines if line.strip() in wanted]
    t.equal(kinds, wanted, "events, in order, each once")
    ids = [int(line.split()[1]) for line in lines if line.startswith(b"id:")]
    t.equal(ids, sorted(set(ids)), "their numbers")
    t.equal(m.process.terminate(), 0, "exit status with a stream open")
    reader.join(10)
    t.true(not reader.is_alive(), "the stream has ended")


@suite.case
def a_stream_ends_with_its_token(t):
    m, _ = cluster(t)
    made = m.expect(201, "POST", "/v1/tokens", {"name": "watcher", "role": "viewer"})
    headers = {"Authorization": f"Bearer {made['token']}", "Accept": "text/event-stream"}
    streams = [m.connection() for _ in range(9)]
    replies = []
    for stream in streams:
        stream.request("GET", "/v1/events", headers=headers)
        replies.append(stream.getresponse())
    t.equal(sorted(reply.status for reply in replies), [200] * 8 + [429], "streams of one token")
    m.expect(204, "DELETE", f"/v1/tokens/{made['id']}")
    for reply in replies:
        reply.read()  # returns when the manager has ended it
    for stream in streams:
        stream.close()


@suite.case
def a_lost_region_is_given_up_by_force(t):
    m, node = cluster(t, health="")
    m.expect(201, "POST", "/v1/regions", {"name": "db", "size": "1MiB"})
    node.lagand.kill()
    t.wait_until(lambda: m.expect(200, "GET", "/v1/regions/db")["failover"], "its failover")
    m.expect(409, "DELETE", "/v1/regions/db")
    m.expect(409, "DELETE", "/v1/nodes/a")
    m.expect(409, "DELETE", "/v1/nodes/a?force=true")
    m.expect(204, "DELETE", "/v1/regions/db?force=true")
    m.expect(404, "GET", "/v1/regions/db")
    t.wait_until(lambda: m.expect(200, "GET", "/v1/failovers")["failovers"][0]["step"] == "superseded", "the failover's end")
    m.expect(204, "DELETE", "/v1/nodes/a")
    # It is back, with what it had: that goes.
    node.start()
    t.equal([region["name"] for region in node.regions()], ["db"], "its regions")
    m.expect(201, "POST", "/v1/nodes", {"name": "a", "api": str(node.socket)})
    t.wait_until(lambda: node.regions() == [], "the deleted region's copy is deleted")


@suite.case
def a_move_can_be_cancelled(t):
    m, _ = cluster(t, health="missed = 50")
    other = LagandNode(t, "b", size="128MiB", more=f'[baseline]\nstore = "{t.dir}/store"')
    other.start()
    m.expect(201, "POST", "/v1/nodes", {"name": "b", "api": str(other.socket)})
    m.expect(201, "POST", "/v1/regions", {"name": "db", "size": "1MiB", "node": "a"})
    t.wait_until(lambda: m.expect(200, "GET", "/v1/nodes/b")["health"] == "up", "b is up")
    other.lagand.signal(signal.SIGSTOP)
    move = m.expect(202, "POST", "/v1/moves", {"region": "db", "target": "b"})
    t.equal(m.expect(202, "DELETE", f"/v1/failovers/{move['id']}")["cancelled_by"], "admin", "who wants it")
    other.lagand.signal(signal.SIGCONT)
    t.wait_until(lambda: m.expect(200, "GET", f"/v1/failovers/{move['id']}")["ended"], "the move's end")
    m.expect(409, "DELETE", f"/v1/failovers/{move['id']}")
    t.equal(m.expect(200, "GET", "/v1/regions/db")["state"], "ready", "the region's state")


@suite.case
def the_command_line_says_what_is_wrong(t):
    m = Mgmtd(t)
    t.true("good" in t.run([*m.program(), "--check-config"]).stdout, "--check-config")
    example = pathlib.Path(__file__).resolve().parents[2] / "config/lagan-mgmtd.toml"
    t.true("good" in t.run([m.program()[0], "--config", example, "--check-config"]).stdout, "the example")
    bad = {"[[listen]]\naddress = \"0.0.0.0:7480\"": "others can listen in", "[health]\nlease_ms = 300": "four times",
           "[health]\nintervall_ms = 300": "did you mean 'interval_ms'", "[directory]\nprefix = \"x\"": "must end with"}
    for text, why in bad.items():
        path = t.dir / "bad.toml"
        path.write_text(text if "listen" in text else text + "\n[[listen]]\naddress = \"127.0.0.1:1\"\n")
        done = t.run([m.program()[0], "--config", path, "--check-config"], check=False)
        t.true(done.status == 2 and why in done.stderr and "bad.toml:" in done.stderr, f"{text}: {done}")
    done = t.run([*m.program(), "token", "create", "--role", "tenant"], check=False)
    t.true(done.status == 1 and "--tenant" in done.stderr, f"a tenant's token without a tenant: {done}")
    token = t.run([*m.program(), "token", "create", "--role", "viewer", "--name", "w"]).stdout.strip()
    listed = t.run([*m.program(), "token", "list"]).stdout
    t.true("viewer" in listed and token not in listed, f"the list: {listed}")
    t.equal(t.run([*m.program(), "token", "remove", listed.split()[0]]).status, 0, "removing it")
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", m.port))
        taken.listen()
        done = t.run(m.program(), check=False)
        t.true(done.status == 1 and str(m.port) in done.stderr, f"a port that is taken: {done}")


if __name__ == "__main__":
    suite.main()
