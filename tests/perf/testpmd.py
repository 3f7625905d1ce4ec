# SPDX-License-Identifier: BSD-3-Clause
"""DPDK's own testpmd between two processes over memif: the limit of such a port, to compare our figures with."""
import re
import shutil
import statistics
import time

from errors import Skip

kSeconds = 7
kWarmSamples = 2  # of one a second
kMbufBytes = 4608  # room for the largest packet and its headroom


def start(t, name, cpus, device, *forward):
    """testpmd with its main thread, which sleeps, on the first CPU and forwarding on the second."""
    main, worker = cpus
    return t.start(["dpdk-testpmd", "--lcores", f"0@{main},1@{worker}", "--no-huge", "--no-shconf", "-m", "160", "--no-pci",
                    "--no-telemetry", "--file-prefix", name, "--vdev", device, "--",
                    "--total-num-mbufs=8192", f"--mbuf-size={kMbufBytes}", "--stats-period=1",
                    *forward], name=name)


def memif_mpps(t, packet_bytes):
    """Million packets a second that come back from a peer that swaps the MAC addresses."""
    if not shutil.which("dpdk-testpmd"):
        raise Skip("dpdk-testpmd is not installed (package dpdk-dev)")
    socket = t.dir / f"memif-{packet_bytes}.sock"
    device = f"socket={socket},socket-abstract=no,bsize=4352"
    server = start(t, f"swap{packet_bytes}", (0, 1), f"net_memif0,role=server,{device}", "--forward-mode=macswap")
    server.wait_for("Press enter|Port statistics|NIC statistics", 20)
    client = start(t, f"send{packet_bytes}", (1, 0), f"net_memif0,role=client,{device}", "--forward-mode=io",
                   "--tx-first", f"--txpkts={packet_bytes}")
    client.wait_for("NIC statistics", 20)
    time.sleep(kSeconds)
    rates = [int(rate) for rate in re.findall(r"Rx-pps:\s+(\d+)", client.text())]
    client.stop()  # both at once: a memif server does not outlive its client
    server.stop()
    if not any(rates[kWarmSamples:]):
        raise Skip("testpmd passed no packets over memif")
    return statistics.median(rates[kWarmSamples:]) / 1e6
