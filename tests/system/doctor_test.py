#!/usr/bin/python3
# SPDX-License-Identifier: BSD-3-Clause
# lagan-test: hugepages=no builds=release,asan timeout=120 beside=yes
"""lagan doctor as a process, on this machine: what stands in the way is said, and what does not is not."""
import json
import os
import pathlib
import re
import sys
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "support"))
from harness import Suite
from lagand_node import LagandNode

suite = Suite(__file__)


class Node(LagandNode):
    def __init__(self, t, name="node"):
        super().__init__(t, name, size="64MiB", memory_keys='huge_pages = "off"')

    def grant(self, region, ttl_s=3600):
        body = {"role": "write", "ttl_seconds": ttl_s}
        return bytes.fromhex(self.call("POST", f"/v1/regions/{region}/grants", body).body["grant"])


def doctor(t, *arguments, status=None, as_nobody=False):
    """Runs it with --json; the findings by name. A finding that is in the way must say how to mend it."""
    argv = [t.binary("client/lagan"), "doctor", "--json", *arguments]
    if as_nobody:
        argv = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", *argv]
    done = t.run(argv, check=False)
    report = json.loads(done.stdout)
    verdicts = [check["verdict"] for check in report["checks"]]
    t.equal(report["problems"], verdicts.count("PROBLEM"), "the number of problems")
    t.equal(done.status, 1 if report["problems"] else 0, "exit status")
    if status is not None:
        t.equal(done.status, status, f"exit status, with {done.stdout}")
    for check in report["checks"]:
        t.equal(check["verdict"] in ("warn", "PROBLEM"), bool(check["mend"]), f"a remedy where there is need of one: {check}")
    return {check["check"]: check for check in report["checks"]}


def expect(t, found, check, verdict, pattern):
    t.true(check in found, f"nothing about {check}; there are {', '.join(found)}")
    t.equal(found[check]["verdict"], verdict, f"{check}: {found[check]}")
    t.true(re.search(pattern, found[check]["seen"] + "\n" + found[check]["mend"]), f"/{pattern}/ is not in {found[check]}")


@suite.case
def the_command_line(t):
    lagan = t.binary("client/lagan")
    t.true("Examples:" in t.run([lagan, "doctor", "--help"]).stdout, "--help shows examples")
    for wrong in (["--nonsense"], ["--address", "nowhere"], ["--address", "10.0.0.1:0"], ["--set", "node.name=x"],
                  ["--config", "x.toml", "--address", "10.0.0.1"]):
        done = t.run([lagan, "doctor", *wrong], check=False)
        t.equal(done.status, 2, f"exit status of {wrong}")
        t.true(done.stderr.strip(), f"{wrong} is refused with a word")


@suite.case
def what_it_says_is_one_line_a_check(t):
    done = t.run([t.binary("client/lagan"), "doctor", "--appliance", t.dir / "none.sock"], check=False)
    t.equal(done.status, 1, "exit status")
    lines = done.stdout.splitlines()
    for line in lines[:-1]:
        t.true(re.match(r"(ok|warn|PROBLEM|skip) +[a-z]|             \S", line), f"the form of: {line}")
    t.true(re.match(r"\d+ problems? stands? in the way", lines[-1]), f"the summary: {lines[-1]}")


@suite.case
def a_machine_without_an_rdma_device_is_told_how_to_get_one(t):
    found = doctor(t, "--address", "127.0.0.1")
    devices = pathlib.Path("/sys/class/infiniband")
    if not devices.is_dir() or not any(devices.iterdir()):
        expect(t, found, "rdma device", "PROBLEM", "rdma link add rxe0 type rxe netdev")
        expect(t, found, "memlock", "skip", "RDMA")
    expect(t, found, "appliance", "skip", "elsewhere")
    expect(t, found, "ping", "ok", "127.0.0.1 answers")
    expect(t, found, "path", "ok", "4160 bytes")
    expect(t, doctor(t, "--address", "::1"), "path", "ok", "4180 bytes")


@suite.case
def a_path_that_takes_small_packets_only(t):
    """Between two network namespaces, the one on the other side receives no more than 1500 bytes."""
    lagan = t.binary("client/lagan")
    script = f"""
set -e
unshare --net sleep 60 &
there=$!
trap 'kill $there' EXIT
until [ "$(readlink /proc/$there/ns/net)" != "$(readlink /proc/self/ns/net)" ]; do sleep 0.05; done
ip link add here mtu 4200 type veth peer name there mtu 1500
ip link set there netns $there
ip address add 10.77.0.2/24 dev here
ip link set here up
nsenter --net=/proc/$there/ns/net sh -c 'ip address add 10.77.0.1/24 dev there; ip link set there up'
{lagan} doctor --json --address 10.77.0.1 || true
"""
    done = t.run(["unshare", "--net", "bash", "-c", script])
    found = {check["check"]: check for check in json.loads(done.stdout)["checks"]}
    expect(t, found, "ping", "ok", "10.77.0.1 answers")
    expect(t, found, "path", "PROBLEM", r"4160 bytes.* lost .*\n.*ip link set dev here mtu 1500")


@suite.case
def an_appliance_that_no_route_leads_to(t):
    argv = [t.binary("client/lagan"), "doctor", "--json", "--address", "198.51.100.1"]
    done = t.run(["unshare", "--net", *argv], check=False)  # a namespace without any interface that is up
    t.equal(done.status, 1, "exit status")
    route = [check for check in json.loads(done.stdout)["checks"] if check["check"] == "route"]
    t.equal(len(route), 1, "findings on the route")
    t.true("ip route get 198.51.100.1" in route[0]["mend"], f"the remedy in {route}")


@suite.case
def an_appliance_that_runs_is_reached_and_one_that_has_ended_is_not(t):
    node = Node(t)
    found = doctor(t, "--appliance", node.socket)
    expect(t, found, "appliance", "PROBLEM", "no socket .*\n.*systemctl start lagand")
    lagand = node.start()
    found = doctor(t, "--appliance", node.socket)
    expect(t, found, "appliance", "ok", '^node answers')
    expect(t, found, "appliance port", "ok", "p takes a client")
    expect(t, found, "far memory", "warn", "--region-size")
    lagand.kill()  # it leaves its socket behind
    found = doctor(t, "--appliance", node.socket)
    expect(t, found, "appliance", "PROBLEM", "cannot be reached.*\n.*systemctl start lagand")
    t.true("far memory" not in found, "nothing is said about what an appliance that is gone has")
    expect(t, doctor(t, "--appliance", node.config), "appliance", "PROBLEM", "is no socket")


@suite.case
def a_user_without_rights_is_told_which_are_missing(t):
    t.dir.chmod(0o711)
    node = Node(t)
    node.start()
    found = doctor(t, "--appliance", node.socket, as_nobody=True)
    expect(t, found, "appliance", "PROBLEM", "may not use .*\n.*sudo lagan doctor")
    os.chown(node.socket, 0, 12345)
    found = doctor(t, "--appliance", node.socket, as_nobody=True)
    expect(t, found, "appliance", "PROBLEM", "for the group 12345\n.*usermod -aG 12345 ")
    found = doctor(t, "--config", node.config, as_nobody=True)
    expect(t, found, "lagand", "skip", "only root, or who may use .*, sees")
    expect(t, found, "state_dir", "PROBLEM", "may not write .*\n.*chown")
    expect(t, found, "port p", "PROBLEM", "may not make .*\n.*root")
    t.dir.chmod(0o700)
    found = doctor(t, "--appliance", node.socket, as_nobody=True)
    expect(t, found, "appliance", "PROBLEM", "may not look for .*\n.*sudo lagan doctor")


@suite.case
def grants_that_are_good_changed_old_or_somebody_elses(t):
    here, elsewhere = Node(t, "here"), Node(t, "elsewhere")
    here.start()
    elsewhere.start()
    for node in (here, elsewhere):
        for region in ("first", "second"):
            t.equal(node.call("POST", "/v1/regions", {"name": region, "size": "1MiB"}).status, 201, "region")

    file = t.dir / "grant"

    def look(content):
        file.write_bytes(content)
        return doctor(t, "--appliance", here.socket, "--grant", file)

    good = here.grant("second")
    found = look(good)
    expect(t, found, "grant", "ok", "to write region 2, for 3[56]")
    expect(t, found, "grant's region", "ok", 'is "second", and the key')
    expect(t, look(elsewhere.grant("second")), "grant's region", "PROBLEM", "another key")
    expect(t, look(good[:-1]), "grant", "PROBLEM", "is no grant")
    expect(t, look(bytes([9]) + good[1:]), "grant", "PROBLEM", "version 9")
    old = here.grant("first", ttl_s=1)
    t.wait_until(lambda: time.time() >= int.from_bytes(old[8:16], "big"), "the grant's end")
    expect(t, look(old), "grant", "PROBLEM", "has expired")
    here.call("DELETE", "/v1/regions/second")
    expect(t, look(good), "grant's region", "PROBLEM", "has no region 2")

    # The remedy, run as it is given, makes a grant.
    found = look(b"")
    expect(t, found, "grant", "PROBLEM", "is no grant")
    remedy = found["grant"]["mend"].removeprefix("on the appliance: ").replace("/run/lagan/lagand.sock", str(here.socket))
    t.run(["sh", "-c", remedy.replace("NAME", "first")], cwd=t.dir)
    found = doctor(t, "--appliance", here.socket, "--grant", file)
    expect(t, found, "grant's region", "ok", 'is "first"')


@suite.case
def an_appliance_before_it_starts_and_while_it_runs(t):
    node = Node(t)
    found = doctor(t, "--config", node.config, status=0)
    expect(t, found, "configuration", "ok", "is good")
    expect(t, found, "memory", "ok", "64 MiB")
    expect(t, found, "state_dir", "ok", "will be made")
    expect(t, found, "port p", "ok", "can be made")
    expect(t, doctor(t, "--config", node.config, "--set", "memory.size=4TiB"), "memory", "PROBLEM", "4 TiB are wanted")
    expect(t, doctor(t, "--config", node.config, "--set", "poll.lcores=[4000]"), "lcores", "PROBLEM", "CPU 4000")
    expect(t, doctor(t, "--config", node.config, "--set", "port.p.mtu=1500"), "port p", "warn", "mtu = 4200")
    lagand = node.start()
    found = doctor(t, "--config", node.config, status=0)
    expect(t, found, "lagand", "ok", '"node" runs')
    expect(t, found, "memory, huge pages", "skip", "has them already")
    expect(t, found, "state_dir", "ok", "for its owner alone")
    t.equal(lagand.terminate(), 0, "lagand is as well as before")


@suite.case
def a_configuration_that_is_wrong(t):
    config = t.dir / "bad.toml"
    config.write_text('[poll]\nidle = "lazy"\n')
    found = doctor(t, "--config", config, status=1)
    expect(t, found, "configuration", "PROBLEM", r"bad\.toml:2:8: poll\.idle: .*\n.*--check-config")
    expect(t, found, "lcores, memory, ports", "skip", "configuration")


if __name__ == "__main__":
    suite.main()
