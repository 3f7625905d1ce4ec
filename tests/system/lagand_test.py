#!/usr/bin/python3
# SPDX-License-Identifier: BSD-3-Clause
# lagan-test: hugepages=both builds=release,asan timeout=240 beside=yes
"""lagand as a process: it starts, says what is wrong when it cannot, serves its API, survives what clients and operators
do to it, and ends cleanly."""
import os
import pathlib
import re
import signal
import socket
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "support"))
from harness import Skip, Suite
from lagand_node import LagandNode

suite = Suite(__file__)
kSource = pathlib.Path(__file__).resolve().parents[2]


def refused(t, argv, status, pattern):
    """lagand ends at once with the status, and its last line says why."""
    done = t.run(argv, check=False, timeout=60)
    t.equal(done.status, status, f"exit status; it said {done.stderr[-300:]}")
    last = done.stderr.strip().splitlines()[-1]
    t.true(re.search(pattern, last), f"/{pattern}/ is not in the last line: {last}")


@suite.case
def the_command_line(t):
    lagand = t.binary("appliance/lagand")
    t.true(re.match(r"lagand \d+\.\d+", t.run([lagand, "--version"]).stdout), "--version")
    t.true("Examples:" in t.run([lagand, "--help"]).stdout, "--help shows examples")
    for example in ("lagand.toml", "demo.toml"):
        t.run([lagand, "--config", kSource / "config" / example, "--check-config"])
    refused(t, [lagand, "--nonsense"], 2, "--help")
    refused(t, [lagand, "--config", "/nonexistent.toml"], 2, "/nonexistent.toml: cannot read")


@suite.case
def a_wrong_configuration_is_one_line_and_status_2(t):
    node = LagandNode(t)
    refused(t, node.argv("--set", "memory.siez=1GiB"), 2, "memory.siez: unknown key, did you mean 'size'")
    refused(t, node.argv("--check-config", "--set", "port.p.mtu=9"), 2, "port.mtu: is 9, but must be")
    node.config.write_text("[node]\nname = 5\n")
    refused(t, node.argv("--check-config"), 2, f"{node.config}:2:8: node.name: is a whole number")


@suite.case
def what_stands_in_the_way_is_named(t):
    node = LagandNode(t)
    refused(t, node.argv("--set", "poll.lcores=[4000]"), 1, "poll.lcores: CPU 4000 is not one")
    refused(t, node.argv("--set", "memory.size=3TiB"), 1, "arena: .*(room|hugepages)")
    refused(t, node.argv("--set", "node.state_dir=/proc/nonexistent"), 1, "/proc/nonexistent")
    # Half-way through a step, with DPDK running.
    refused(t, node.argv("--set", "memory.size=32MiB", "--set", "rdma.max_qps=8192"), 1, "configure more memory")
    node.vhost.write_text("precious")
    refused(t, node.argv(), 1, f"{node.vhost}: is in the way")
    t.equal(node.vhost.read_text(), "precious", "the file in the way")
    missing = LagandNode(t, "missing", port='kind = "af_packet"\ninterface = "nonexistent0"')
    refused(t, missing.argv(), 1, 'there is no interface "nonexistent0"')
    if not t.hugepages:
        refused(t, LagandNode(t, "huge").argv("--set", "memory.huge_pages=on"), 1, "is not on hugetlbfs")
    t.equal([path for path in pathlib.Path(node.arena).parent.iterdir()], [], "left in the memory directory")


@suite.case
def regions_and_grants_through_the_api(t):
    node = LagandNode(t)
    lagand = node.start()
    t.true(re.search(r"lcore 1 polls on CPU \d+", lagand.text()), "the lcore plan is printed")
    about = node.call("GET", "/v1/node").body
    t.equal(about["name"], "node", "name")
    t.equal(about["memory"]["huge_pages"], t.hugepages, "huge pages")
    t.equal(about["ports"][0]["peer_address"], "10.77.0.2", "peer address")

    made = node.call("POST", "/v1/regions", {"name": "a", "size": "64MiB"})
    t.equal(made.status, 201, "status of a new region")
    t.equal(node.call("POST", "/v1/regions", {"name": "a", "size": "64MiB"}).status, 409, "the same name again")
    t.equal(node.call("POST", "/v1/regions", {"name": "b", "size": "1TiB"}).status, 507, "larger than memory")
    t.equal(node.call("POST", "/v1/regions", {"name": "../x", "size": 4096}).status, 422, "a bad name")
    t.equal(node.call("POST", "/v1/regions", "{").status, 400, "malformed JSON")
    t.equal(node.call("PUT", "/v1/regions", {}).status, 405, "a wrong method")
    thin = node.call("POST", "/v1/regions", {"name": "thin", "size": "4GiB", "reserve": "1MiB", "overcommit": True})
    t.equal(thin.status, 201, f"an overcommitted region: {thin.body}")
    t.equal(sorted(region["name"] for region in node.regions()), ["a", "thin"], "regions")

    grant = node.call("POST", "/v1/regions/a/grants", {"role": "write", "ttl_seconds": 60})
    t.equal((grant.status, len(grant.body["grant"])), (201, 112), "a grant")
    t.equal(node.call("DELETE", "/v1/regions/a").status, 204, "deletion")
    t.equal(node.call("POST", "/v1/regions/a/grants", {"role": "write"}).status, 404, "a grant for what is gone")
    t.equal(node.call("POST", "/v1/regions", {"name": "a", "size": "64MiB"}).status, 201, "the name is free again")
    t.equal(lagand.terminate(), 0, "exit status after SIGTERM")


@suite.case
def ending_leaves_nothing_behind_but_regions(t):
    for number in (signal.SIGTERM, signal.SIGINT):
        node = LagandNode(t, f"n{number}")
        lagand = node.start()
        t.equal(node.call("POST", "/v1/regions", {"name": "a", "size": "64MiB"}).status, 201, "a region")
        made = node.regions()[0]
        lagand.signal(number)
        lagand.expect_exit(0)
        t.true("keeps the regions for the next start" in lagand.text(), "lagand says where the regions are")
        for path in (node.socket, node.vhost):
            t.true(not path.exists(), f"{path} is left behind")
        lagand = node.start()
        t.equal(node.regions(), [made], "the regions of the next start")
        t.equal(node.call("DELETE", "/v1/regions/a").status, 204, "deletion")
        lagand.signal(number)
        lagand.expect_exit(0)
        for path in (node.socket, node.vhost, node.arena):
            t.true(not path.exists(), f"{path} is left behind")


@suite.case
def killed_and_started_again(t):
    node = LagandNode(t)
    node.start().kill()
    t.true(node.socket.exists() and node.vhost.exists() and node.arena.exists(), "SIGKILL leaves everything")
    lagand = node.start()
    t.equal(node.call("GET", "/v1/node").status, 200, "the API after a restart")
    for size in ("256MiB", "auto", "256MiB"):
        node.call("POST", "/v1/regions", {"name": f"r{len(node.regions())}", "size": "8MiB"})
        before = node.regions()
        lagand.kill()
        lagand = node.start("--set", f"memory.size={size}")
        t.equal(node.regions(), before, "regions after SIGKILL")
    lagand.kill()
    refused(t, node.argv("--set", "memory.size=128MiB"), 1, "set memory.size to 268435456; start lagand once with --empty")
    t.equal(len(node_regions_of(node)), 3, "regions after a start that was refused")
    lagand = node.start("--empty-arena")
    t.equal(node.regions(), [], "regions of an empty arena")
    t.equal(lagand.terminate(), 0, "exit status")


def node_regions_of(node):
    return [path for path in node.arena.iterdir() if path.name.endswith(".record")]


@suite.case
def a_second_lagand_does_not_disturb_the_first(t):
    first, second = LagandNode(t, "first"), LagandNode(t, "second")
    lagand = first.start()
    refused(t, second.argv("--set", f"memory.arena={first.arena}"), 1, "arena: .* is in use by another lagand")
    refused(t, second.argv("--set", f"port.p.path={first.vhost}"), 1, f"{first.vhost}: another process answers")
    refused(t, second.argv("--set", f"node.api_socket={first.socket}"), 1, f"{first.socket}: another process answers")
    t.true(not second.arena.exists(), "a start that failed leaves its arena behind")
    t.equal(first.call("GET", "/v1/node").body["name"], "first", "who answers")
    second.start()
    t.equal(second.call("GET", "/v1/node").body["name"], "second", "two of them side by side")
    t.equal(lagand.terminate(), 0, "exit status")


@suite.case
def the_service_manager_is_told(t):
    path = t.dir / "notify"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(path))
        manager.settimeout(t.scaled(30))
        lagand = LagandNode(t).start(env={"NOTIFY_SOCKET": path})
        t.equal(manager.recv(100), b"READY=1", "at the start")
        lagand.signal(signal.SIGTERM)
        t.equal(manager.recv(100), b"STOPPING=1", "at the end")
        lagand.expect_exit(0)


@suite.case
def pings_are_answered(t):
    if os.geteuid() != 0 or not os.path.exists("/dev/net/tun"):
        raise Skip("a tap interface needs root and /dev/net/tun")
    interface = f"lg{os.getpid() % 1000000}"
    node = LagandNode(t, port=f'kind = "tap"\ninterface = "{interface}"')
    lagand = node.start("--set", 'port.p.addresses=["10.77.0.1/24", "fd77::1/64"]')
    t.run(["ip", "addr", "add", "10.77.0.2/24", "dev", interface])
    t.run(["ip", "-6", "addr", "add", "fd77::2/64", "dev", interface, "nodad"])
    t.run(["ip", "link", "set", interface, "up"])
    for address in ("10.77.0.1", "fd77::1"):
        t.run(["ping", "-c", "3", "-i", "0.2", "-W", "5", address])
    counters = node.stats()["control"]["counters"]
    t.true(counters["echo4_answered"] >= 3 and counters["echo6_answered"] >= 3, f"counted: {counters}")
    t.equal(lagand.terminate(), 0, "exit status")


kManyLines = 400_000  # several times local memory: some stay at the appliance for as long as the sort takes
kFewLines = 40_000


def far_sort(t, node, lines, *options):
    """A sort of so many lines with its heap on the node, started."""
    text = t.dir / f"lines-{lines}"
    text.write_text("".join(f"{t.rng.getrandbits(64):020}\n" for _ in range(lines)))
    return t.start([t.binary("client/lagan"), "run", "--local-memory", "8M", "--region-size", "128M", "--appliance", node.socket,
                    *options, "--", "sort", "-S", "64M", "--parallel=1", text, "-o", t.dir / "sorted"], name="sort")


def needs_userfaultfd(t):
    if os.geteuid() != 0:
        raise Skip("userfaultfd needs root")


def pages_out(node):
    return sum(region["present_pages"] for region in node.regions())


@suite.case
def a_client_that_dies_is_tidied_away(t):
    needs_userfaultfd(t)
    node = LagandNode(t)
    lagand = node.start("--set", "memory.temporary_region_seconds=3")
    sort = far_sort(t, node, kManyLines)
    t.wait_until(lambda: pages_out(node) > 500, "pages at the appliance", timeout=60)
    sort.kill()
    t.wait_until(lambda: node.stats()["queue_pairs"]["in_use"] == 0, "the dead client's queue pair is gone", timeout=20)
    t.wait_until(lambda: node.regions() == [], "the region that was made for its run is gone", timeout=20)
    t.wait_until(lambda: node.stats()["frames"]["used"] == 0, "every frame is free again")
    far_sort(t, node, kFewLines).expect_exit(0, timeout=60)  # the port serves the next one
    t.run(["sort", "-c", t.dir / "sorted"])
    t.equal(lagand.terminate(), 0, "exit status")


@suite.case
def a_region_deleted_in_use_takes_only_its_client(t):
    needs_userfaultfd(t)
    node = LagandNode(t)
    lagand = node.start()
    sort = far_sort(t, node, kManyLines)
    t.wait_until(lambda: pages_out(node) > 500, "pages at the appliance", timeout=60)
    t.equal(node.call("DELETE", f"/v1/regions/{node.regions()[0]['name']}").status, 204, "deletion")
    t.true(sort.wait(timeout=60) != 0, "the client's exit status")
    t.wait_until(lambda: node.stats()["frames"]["used"] == 0, "every frame is free again")
    t.wait_until(lambda: node.stats()["queue_pairs"]["in_use"] == 0, "its queue pair is gone")
    t.equal(node.regions(), [], "regions")
    t.equal(lagand.terminate(), 0, "exit status")


@suite.case
def a_program_killed_while_it_stores(t):
    needs_userfaultfd(t)
    node = LagandNode(t)
    lagand = node.start()
    for _ in range(3):
        sort = far_sort(t, node, kManyLines)
        t.wait_until(lambda: pages_out(node) > 500, "pages at the appliance", timeout=60)
        children = pathlib.Path(f"/proc/{sort.pid}/task/{sort.pid}/children")
        os.kill(int(children.read_text().split()[0]), signal.SIGKILL)
        sort.expect_exit(128 + signal.SIGKILL, timeout=60)  # the program's end, not a crash of lagan's own
        t.equal(node.regions(), [], "the region of the run")
    t.equal(lagand.terminate(), 0, "exit status")


@suite.case
def a_group_member_uses_the_port(t):
    # Who may use the sockets, and not make files beside them.
    t.open_build()
    nobody, bench = 65534, t.binary("client/bench/lagan-bench")
    user = ["setpriv", f"--reuid={nobody}", f"--regid={nobody}", "--clear-groups"]
    os.chown(t.dir, 0, nobody)
    t.dir.chmod(0o750)
    node = LagandNode(t)
    lagand = node.start()
    lock = pathlib.Path(f"{node.vhost}.client")
    t.equal(lock.stat().st_mode & 0o777, 0o660, "mode of the client's lock")
    for path in (node.socket, node.vhost, lock):
        os.chown(path, 0, nobody)
    done = t.run([*user, bench, "--appliance", node.socket, "--region-size", "8M", "--ops", "1000", "--warmup", "0"],
                 timeout=60, check=False, env={"XDG_RUNTIME_DIR": "/tmp"}, cwd="/")
    t.equal(done.status, 0, done.stderr[-300:])
    t.equal(lagand.terminate(), 0, "exit status")
    t.true(not lock.exists(), "the lock stays behind")


@suite.case
def ports_without_a_peer_are_passed_over(t):
    node = LagandNode(t)
    node.change_config('peer_address = "10.77.0.2"', "")
    lagand = node.start()
    done = t.run([t.binary("client/bench/lagan-bench"), "--appliance", node.socket, "--ops", "1"], check=False, timeout=60)
    t.true(done.status != 0 and "no free port" in done.stderr and "peer_address" in done.stderr, f"{done}")
    t.equal(lagand.terminate(), 0, "exit status")


@suite.case
def stopped_with_a_client_at_work(t):
    needs_userfaultfd(t)
    node = LagandNode(t)
    lagand = node.start()
    sort = far_sort(t, node, kManyLines, "--reconnect-seconds", 0)
    t.wait_until(lambda: pages_out(node) > 500, "pages at the appliance", timeout=60)
    t.equal(lagand.terminate(), 0, "lagand's exit status")
    t.true(sort.wait(timeout=60) != 0, "the client's exit status")


if __name__ == "__main__":
    suite.main()
