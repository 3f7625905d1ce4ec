#!/usr/bin/python3
# SPDX-License-Identifier: BSD-3-Clause
# lagan-test: hugepages=no builds=release,asan timeout=180 beside=yes
"""The dpdk fabric does what every fabric must (client/fabric.h). tests/interop/verbs_test.py asks the same of verbs."""
import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "support"))
from harness import Skip, Suite
from lagand_node import LagandNode

suite = Suite(__file__)


def appliance(t):
    node = LagandNode(t, "conformance", size="64MiB")
    node.start()
    return node


def argv(t, node, *more):
    return [t.binary("tests/interop/fabric_conformance"), "--fabric", "dpdk", "--appliance", node.socket, "--seed", t.seed, *more]


@suite.case
def dpdk_does_what_every_fabric_must(t):
    node = appliance(t)
    done = t.run(argv(t, node), timeout=120, check=False)
    lines = done.stdout.splitlines()
    t.equal([line for line in lines if not line.startswith("PASS ")], [], f"cases that failed; {done.stderr[-300:]}")
    t.true(len(lines) >= 9 and done.status == 0, f"{lines}, status {done.status}")
    t.equal(node.regions(), [], "regions left behind")


@suite.case
def dpdk_gives_a_dead_appliance_up(t):
    node = appliance(t)
    reader = t.start(argv(t, node, "--killed"))
    reader.wait_for("reading until", timeout=30)
    node.lagand.kill()
    reader.expect_exit(0, timeout=60)
    t.true("PASS a_dead_appliance_is_given_up" in reader.text(), reader.text())


@suite.case
def verbs_without_a_device_leaves_nothing_behind(t):
    if any(pathlib.Path("/sys/class/infiniband").glob("*")):
        raise Skip("this machine has an RDMA device")
    node = appliance(t)
    done = t.run([t.binary("client/lagan"), "run", "--fabric", "verbs", "--appliance", node.socket, "--region-size", "8M", "--", "true"],
                 check=False)
    t.true(done.status == 125 and "no RDMA device on this machine" in done.stderr, f"{done}")
    t.equal(node.regions(), [], "regions left behind")


@suite.case
def options_that_do_not_go_together(t):
    def refused(words, *options):
        done = t.run([t.binary("client/lagan"), "run", *options, "--", "true"], check=False)
        t.true(done.status == 125 and words in done.stderr, f"'{words}' in {done}")

    (t.dir / "grant").write_text('{"expires": 1, "grant": "' + "01" * 56 + '"}')
    (t.dir / "short").write_text("0102")
    refused("--address: goes with --fabric verbs", "--address", "10.77.0.1")
    refused("--address", "--fabric", "verbs", "--grant", t.dir / "grant")
    refused("is no grant", "--fabric", "verbs", "--address", "10.77.0.1", "--grant", t.dir / "short")
    refused("--appliance", "--fabric", "verbs", "--address", "10.77.0.1", "--grant", t.dir / "grant", "--appliance", "/x")
    refused("role write", "--fabric", "verbs", "--address", "10.77.0.1", "--grant", t.dir / "grant")


if __name__ == "__main__":
    suite.main()
