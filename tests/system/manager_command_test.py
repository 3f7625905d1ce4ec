#!/usr/bin/python3
# SPDX-License-Identifier: BSD-3-Clause
# lagan-test: hugepages=no builds=release timeout=300
"""The `lagan` command against a real lagan-mgmtd and real appliances: what people and scripts get to see, exit statuses, roles, waits,
events as they happen, shell completion, and the drill."""
import json
import pathlib
import signal
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "support"))
from harness import Suite
from mgmtd import Appliances, Mgmtd

suite = Suite(__file__)


class Cluster:
    """Two appliances of a manager's, and the command line of somebody who has set it up."""

    def __init__(self, t, names="ab", register=True):
        self.t = t
        self.nodes = Appliances(t, names).start()
        self.m = Mgmtd(t).start()
        t.wait_until(self.m.leads, "it leads")
        if register:
            self.nodes.register(self.m)
        self.environment = {"LAGAN_CONFIG": self.config("admin")}
        self.nothing = str(t.dir / "nothing.toml")
        (t.dir / "nothing.toml").touch()

    def config(self, role, tenant=""):
        """A configuration file with a token of that role, which it names."""
        token = self.t.dir / f"{role}{tenant}.token"
        token.write_text(self.m.token(role, tenant) + "\n")
        path = self.t.dir / f"{role}{tenant}.toml"
        path.write_text(f'manager = "unix:{self.m.socket}"\ntoken_file = "{token.name}"\n')
        return str(path)

    def argv(self, *words):
        return [self.t.binary("client/lagan"), *words]

    def run(self, *words, status=0, env=None, timeout=60):
        done = self.t.run(self.argv(*words), check=False, env=env or self.environment, timeout=timeout)
        self.t.equal(done.status, status, f"exit status of lagan {' '.join(map(str, words))}: {done}")
        return done

    def text(self, *words, **more):
        return self.run(*words, **more).stdout

    def error(self, status, *words, **more):
        return self.run(*words, status=status, **more).stderr

    def json(self, *words, **more):
        return json.loads(self.text(*words, "--json", **more))


@suite.case
def nodes_are_looked_after(t):
    c = Cluster(t, register=False)
    for name in "ab":
        shown = c.text("node", "add", name, "--api", c.nodes[name].socket, "--address", c.nodes[name].address)
        t.true(name in shown, shown)
    t.true("already" in c.error(1, "node", "add", "a", "--api", c.nodes["a"].socket), "twice the same")
    t.wait_until(lambda: all(each["health"] == "up" for each in c.json("node", "list")["nodes"]), "both are up")
    head, *rows = c.text("node", "list").splitlines()
    t.equal([head.split()[:3], [row.split()[:3] for row in rows]],
            [["NODE", "HEALTH", "MODE"], [["a", "up", "serve"], ["b", "up", "serve"]]], "the table")
    t.true("64.0 MiB" in c.text("node", "show", "b"), "the fields of one node")
    t.equal(c.json("node", "show", "b")["address"], c.nodes["b"].address, "its address")
    c.run("node", "remove", "b")
    t.true('no node "b"' in c.error(1, "node", "show", "b"), "it is gone")



@suite.case
def regions_and_their_checkpoints(t):
    c = Cluster(t)
    shown = c.json("region", "create", "db", "--size", "4MiB", "--tenant", "red", "--node", "a")
    t.equal([shown[key] for key in ("name", "node", "tenant", "size_bytes", "state")], ["db", "a", "red", 4 << 20, "ready"], "the region")
    row = c.text("region", "list").splitlines()[1].split()
    t.equal(row[:6], ["db", "a", "ready", "4.0", "MiB", "red"], "its row")
    t.true("4.0 MiB" in c.text("region", "show", "db"), "its fields")
    # The same command at one appliance has its own columns.
    at_node = c.text("region", "list", "--appliance", c.nodes["a"].socket).splitlines()
    t.true("DIRTY PAGES" in at_node[0] and "TENANT" not in at_node[0] and at_node[1].split()[0] == "db", f"{at_node}")
    for index in range(2):
        c.nodes["a"].pages["db"] = {}
        c.nodes["a"].client(c.nodes["a"].stores("db", index * 10, c.nodes["a"].random_pages(20)), region="db")
        done = c.run("checkpoint", *(["create"] if index else []), "db")
        t.true(f"cut {index + 1} of" in done.stdout and "20 pages" in done.stdout, done.stdout)
    t.equal(c.json("checkpoint", "db")["state"], "done", "a checkpoint for scripts")
    t.equal([each["region"] for each in c.json("checkpoint", "list")["checkpoints"]], ["db"], "the last ones")
    t.true(c.text("checkpoint", "list").splitlines()[1].split()[:2] == ["db", "done"], "as a table")
    t.equal([cut["cut_number"] for cut in c.json("checkpoint", "list", "db")["cuts"]][:2], [3, 2], "the newest cuts; old ones go")
    t.equal(c.text("checkpoint", "list", "db").split()[:2], ["MANIFEST", "CUT"], "cuts as a table")
    t.equal(c.text("checkpoint", "list", "db"), c.text("baseline", "db", "--appliance", c.nodes["a"].socket), "asked at the appliance")
    c.run("checkpoint", "cancel", "db")
    here = ("--appliance", c.nodes["a"].socket)
    t.true("a manager's" in c.error(1, "region", "delete", "db", *here), "an appliance keeps what is a manager's")
    c.run("region", "create", "own", "--size", "1MiB", *here)
    for name in ("own", "db"):
        t.equal(c.text("region", "delete", name, *(["--force"] if name == "db" else []), *here), "", "what is its own, or by force")
    t.wait_until(lambda: c.json("region", "show", "db")["state"] == "ready" and c.json("region", "show", "db")["epoch"] == 2,
                 "the manager makes it anew", 60)
    grant = c.text("grant", "create", "db", "--role", "read").strip()
    t.true(len(bytes.fromhex(grant)) == 56, f"a grant: {grant}")
    file = t.dir / "db.grant"
    t.true(grant not in c.text("grant", "create", "db", "--role", "write", "--output", file), "it is told of, but not the grant itself")
    t.equal((file.stat().st_mode & 0o777, len(bytes.fromhex(file.read_text()))), (0o600, 56), "the file")
    t.true("role" in c.error(1, "grant", "create", "db", "--role", "recover"), "a grant that managers keep to themselves")
    c.run("region", "delete", "db")
    t.true('no region "db"' in c.error(1, "region", "show", "db"), "it is gone")


@suite.case
def what_is_wrong_is_said(t):
    c = Cluster(t)
    c.run("region", "create", "db", "--size", "1MiB", "--tenant", "red")
    t.true("has room for" in c.error(1, "region", "create", "x", "--size", "1TiB"), "no room")
    t.true("is no name" in c.error(2, "region", "show", "../nodes"), "a name that is none")
    c.error(2, "region", "create", "x")
    nobody = {"LAGAN_MANAGER": f"unix:{t.dir}/none.sock", "LAGAN_CONFIG": c.nothing}
    t.true("none.sock cannot be reached" in c.error(3, "node", "list", env=nobody), "nobody there")
    t.true("--manager URL" in c.error(2, "node", "list", env={"LAGAN_CONFIG": c.nothing}), "whom to ask")
    t.true("needs a token" in c.error(4, "node", "list", env={**nobody, "LAGAN_MANAGER": f"unix:{c.m.socket}"}), "no token")
    t.true("lagand.sock" in c.error(3, "region", "list", env={"LAGAN_CONFIG": c.nothing}), "no manager, and no appliance")
    bad = t.dir / "bad.toml"
    bad.write_text('manger = "x"\n')
    t.true("bad.toml" in c.error(2, "region", "list", env={"LAGAN_CONFIG": str(bad)}), "a key that nobody knows")
    # One that is away is no matter when another one answers; a token never is in a command line.
    t.equal(c.json("node", "list", "--manager", nobody["LAGAN_MANAGER"], "--manager", f"unix:{c.m.socket}")["nodes"][0]["name"], "a", "the second")
    t.true("everyone to read" in c.error(3, "node", "list", "--manager", "http://198.51.100.1:7480"), "a token in the clear")
    viewer, red, blue = ({"LAGAN_CONFIG": c.config(*who)} for who in (("viewer",), ("tenant", "red"), ("tenant", "blue")))
    t.true("db" in c.text("region", "list", env=viewer), "a viewer sees")
    for words in (["region", "create", "x", "--size", "1MiB"], ["region", "delete", "db"], ["region", "move", "db"], ["checkpoint", "db"],
                  ["grant", "create", "db", "--role", "read"], ["node", "drain", "a"], ["node", "remove", "a"], ["node", "enable", "a"],
                  ["failover", "start", "db"], ["failover", "test"]):
        t.true("viewer may not" in c.error(4, *words, env=viewer), f"{words}")
    t.true("db" in c.text("region", "list", env=red) and "db" not in c.text("region", "list", env=blue), "tenants")
    t.true('no region "db"' in c.error(1, "region", "delete", "db", env=blue), "another tenant's")
    c.error(4, "region", "move", "db", env=red)
    t.equal(c.json("region", "list")["regions"][0]["name"], "db", "nothing was changed by all this")
    # What is lost for good, an admin gives up.
    home = c.json("region", "show", "db")["node"]
    c.nodes[home].lagand.kill()
    t.true("home of 1 regions" in c.error(1, "node", "remove", home), "a node with a region")
    c.run("region", "delete", "db", "--force")
    c.run("node", "remove", home, "--force")
    t.equal(len(c.json("node", "list")["nodes"]), 1, "what is left")


@suite.case
def a_request_that_is_repeated_is_carried_out_once(t):
    c = Cluster(t)
    made = [c.json("region", "create", "db", "--size", "1MiB", "--idempotency-key", "k")["uid"] for _ in range(2)]
    t.equal(made[0], made[1], "the region")
    t.true("already" in c.error(1, "region", "create", "db", "--size", "1MiB"), "another request")


@suite.case
def regions_move_and_nodes_are_drained(t):
    c = Cluster(t)
    for name in ("db", "web"):
        c.run("region", "create", name, "--size", "4MiB", "--node", "a")
        c.nodes["a"].pages[name] = {}
        c.nodes["a"].client(c.nodes["a"].stores(name, 0, c.nodes["a"].random_pages(50)), region=name)
        c.run("checkpoint", name)
    done = c.run("region", "move", "db", "--to", "b")
    t.true(done.stdout.startswith("move of db: from a to b in "), done.stdout)
    t.true("move of db: " in done.stderr and "\x1b" not in done.stderr and "\r" not in done.stderr, f"lines of progress: {done.stderr}")
    t.true("is on b already" in c.error(1, "region", "move", "db", "--to", "b"), "where it is")
    c.m.wait_ready("db")
    drain = c.json("node", "drain", "a")
    t.equal([(move["region"], move["step"], move["target"]) for move in drain["moves"]], [("web", "done", "b")], "what has moved")
    t.equal({each["name"]: each["enabled"] for each in c.json("node", "list")["nodes"]}, {"a": False, "b": True}, "who takes regions")
    t.true("a has no regions" in c.text("node", "drain", "a"), "once more")
    c.run("node", "enable", "a")
    head, *rows = c.text("failover", "list").splitlines()
    t.equal([head.split()[:4], sorted(row.split()[1:4] for row in rows)], [["ID", "REGION", "KIND", "STEP"],
                                                                         [["db", "move", "done"], ["web", "move", "done"]]], "the list")
    failover = c.json("failover", "list", "--region", "db")["failovers"][0]
    shown = c.text("failover", "show", failover["id"])
    t.true("switched" in shown and "rebuilding" in shown, shown)
    t.equal(c.json("failover", "show", failover["id"])["epoch"], 2, "its epoch")
    t.true("failover of db: from b to a" in c.text("failover", "start", "db", "--reason", "to see"), "a drill")
    c.m.wait_ready("db")
    begun = c.json("region", "move", "db", "--no-wait")
    t.wait_until(lambda: c.json("failover", "show", begun["id"])["ended"], "its end")
    t.true("no way back" in c.error(1, "failover", "cancel", begun["id"]), "too late")
    t.equal(c.nodes["b"].client("read:0:50", region="web")[0]["crcs"], c.nodes["a"].crcs("web"), "pages of what was moved")


@suite.case
def a_wait_ends_and_what_was_waited_for_goes_on(t):
    c = Cluster(t)
    c.run("region", "create", "db", "--size", "4MiB", "--node", "a")
    c.run("checkpoint", "db")
    c.nodes["b"].lagand.signal(signal.SIGSTOP)
    t.true("still under way" in c.error(5, "region", "move", "db", "--to", "b", "--timeout", 1), "--timeout")
    move = c.json("failover", "list")["failovers"][0]
    c.nodes["b"].lagand.signal(signal.SIGCONT)
    t.wait_until(lambda: c.json("failover", "show", move["id"])["ended"], "its end", 60)


@suite.case
def events_come_as_they_happen(t):
    c = Cluster(t)
    c.run("region", "create", "old", "--size", "1MiB")
    follow = {"env": c.environment}
    people = t.start(c.argv("events", "--follow"), name="people", **follow)
    scripts = t.start(c.argv("events", "--follow", "--json", "--region", "new"), name="scripts", **follow)
    people.wait_for("region_created|old  created on", timeout=20)
    c.run("region", "create", "new", "--size", "1MiB")
    for process in (people, scripts):
        process.wait_for("created on", timeout=20)
    # A manager that was away is no reason to end.
    c.m.process.terminate()
    c.m.start()
    c.run("region", "delete", "new")
    people.wait_for("new  deleted", timeout=30)
    scripts.wait_for("region_deleted", timeout=30)
    lines = [json.loads(line) for line in scripts.text().splitlines()]
    t.equal([event["kind"] for event in lines], ["region_created", "region_deleted"], "a line for each event")
    for process in (people, scripts):
        process.signal(signal.SIGINT)
        process.wait()
    t.equal(len(c.json("events", "--last", "2")["events"]), 2, "the last two")
    t.true("created on" in c.text("events", "--region", "old"), "those of one region")


@suite.case
def a_drill_tells_how_long_each_step_takes(t):
    c = Cluster(t)
    c.run("region", "create", "mine", "--size", "1MiB")
    own = c.nodes.interface(f"lmcl{c.nodes.number}")
    way = ["--interface", own, "--local-address", "10.79.0.9/24"]
    drill = c.json("failover", "test", *way, "--size", "4MiB", "--from", "a", "--to", "b", timeout=120)
    t.equal([drill[key] for key in ("result", "problem", "from", "to")], ["passed", None, "a", "b"], f"the drill: {drill}")
    t.equal([step["step"] for step in drill["steps"]],
            ["region made", "pages stored", "checkpoint", "failover", "pages checked", "region deleted"], "its steps")
    client = drill["client"]
    t.true((client["pages"], client["wrong_pages"]) == (1024, 0) and client["operations"] > 0, f"its client: {client}")
    t.equal(drill["failover"]["kind"], "drill", "what the manager calls it")
    done = c.run("failover", "test", timeout=120)
    t.true("passed: from" in done.stdout and "no pages were stored" in done.stdout and "  switched" in done.stdout, done.stdout)
    # Ctrl-C in the middle.
    process = t.start(c.argv("failover", "test", *way), env=c.environment)
    process.wait_for("storing|checkpoint|failover of", timeout=30)
    process.signal(signal.SIGINT)
    t.equal(process.wait(), 130, "exit status")
    t.equal([region["name"] for region in c.json("region", "list")["regions"]], ["mine"], "regions that are left")
    # Nowhere to go.
    c.run("node", "drain", "b")
    t.true("has failed" in c.error(1, "failover", "test", timeout=120), "a drill without a second node")
    t.equal([region["name"] for region in c.json("region", "list")["regions"]], ["mine"], "regions that are left")


kComplete = r"""
source "$1"; shift
COMP_WORDS=("$@"); COMP_CWORD=$(( $# - 1 ))
_lagan
printf '%s\n' "${COMPREPLY[@]}"
"""


@suite.case
def the_shell_completes(t):
    c = Cluster(t)
    c.run("region", "create", "db", "--size", "1MiB")
    script = pathlib.Path(__file__).resolve().parents[2] / "client/completion/lagan.bash"

    def complete(*words, env=None):
        done = t.run(["bash", "--norc", "-c", kComplete, "bash", script, t.binary("client/lagan"), *words], env=env or c.environment)
        t.equal(done.stderr, "", "what bash complains of")
        return done.stdout.split()

    t.equal(complete("re"), ["region"], "a command")
    t.equal(complete("region", ""), ["list", "show", "create", "delete", "move", "restore"], "all commands of a group")
    t.equal(complete("region", "move", "--t"), ["--token-file", "--to", "--timeout"], "options")
    t.equal(complete("region", "move", ""), ["db"], "a region that there is")
    t.equal(complete("region", "move", "db", "--to", ""), ["a", "b"], "nodes")
    t.equal(complete("node", "drain", "a"), ["a"], "a node")
    t.equal(complete("grant", "create", "db", "--role", "w"), ["write"], "a value")
    t.equal(complete("grant", "create", "db", "--role", "=", "re"), ["read", "recover"], "the same, as bash cuts it up")
    t.equal(complete("failover", "show", "x"), [], "nothing fits")
    t.equal(complete("region", "delete", "--appliance", c.nodes["a"].socket, "", env={"LAGAN_CONFIG": c.nothing}), ["db"], "of an appliance")
    t.equal(complete("region", "delete", "", env={"LAGAN_MANAGER": "unix:/none", "LAGAN_CONFIG": c.nothing}), [], "nobody to ask")
    (t.dir / "tokenfile").write_text("")
    t.equal(complete("node", "list", "--token-file", str(t.dir / "tokenf")), [str(t.dir / "tokenfile")], "a file")
    t.true(complete("run", "--", "/usr/bin/truncat") == ["/usr/bin/truncate"], "a program")


if __name__ == "__main__":
    suite.main()
