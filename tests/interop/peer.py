# SPDX-License-Identifier: BSD-3-Clause
"""interop_peer (peers/) as the other end of a guest's port: a process for each case, and one guest for all of them.

    @suite.shared
    def rig(t):
        return guest_for_peers(t)

    @suite.case
    def pings(t):
        peer = Peer(t, t.shared, "rping-server")
        t.shared.guest.run(f"rping -c -a {guest.kServer4} -C 10")
        counters = peer.ended(t, said="10 pings")
"""
import json
import re
from typing import NamedTuple

import guest

kAddresses = (f"{guest.kServer4}/24", f"{guest.kServer6}/64", f"{guest.kServerVlan4}/24", f"{guest.kServerVlan6}/64")
# Dropped packets that do not tell of an error. What a guest says to its network when it comes up is for nobody here; the others
# come from a guest that stood still for longer than a timeout and repeats itself.
kHarmlessDrops = {"not_rocev2", "not_for_us", "psn_ahead", "response_duplicate", "response_unexpected", "unknown_qpn"}


class Rig(NamedTuple):
    guest: guest.Guest
    vhost: object


def guest_for_peers(t):
    """A guest with rxe0 whose port waits for a peer, and then for the next one."""
    vhost = t.dir / "peer.vhost"
    first = start(t, vhost, "rping-server")  # QEMU wants to know the device before it boots
    linux = guest.Guest(t, "guest", guest.vhost_netdev(vhost, reconnect=True), 2)
    linux.wait_booted()
    linux.join([f"{guest.kGuest4}/24", f"{guest.kGuest6}/64"])
    linux.add_rxe()
    linux.add_vlan([f"{guest.kGuestVlan4}/24", f"{guest.kGuestVlan6}/64"])
    t.equal(first.terminate(), 0, "exit status of the first peer")
    return Rig(linux, vhost)


def start(t, vhost, *command, memory=1 << 20):
    addresses = [word for address in kAddresses for word in ("--address", address)]
    process = t.start([t.binary("tests/interop/peers/interop_peer"), "--socket", vhost, *addresses,
                       "--mtu", guest.kMtu, "--memory", memory, "--seed", t.seed, *command])
    process.wait_for("^ready", timeout=60)
    return process


class Peer:
    def __init__(self, t, rig, *command, memory=1 << 20):
        self.process = start(t, rig.vhost, *command, memory=memory)
        rig.guest.run(f"until ping -c 1 -W 1 {guest.kServer4}; do :; done")  # QEMU has found the new process

    def ended(self, t, said, times=1):
        """Waits for its end, which must be a good one, and returns its counters."""
        self.process.expect_exit(0, timeout=60)
        text = self.process.text()
        t.equal(text.count(said), times, f"how often the peer has said '{said}'")
        counters = json.loads(re.search(r"^counters (.*)$", text, re.MULTILINE).group(1))
        t.equal(counters["refusals"], {}, "requests that the peer has refused")
        bad = {name: count for name, count in counters["drops"].items() if name not in kHarmlessDrops}
        t.equal(bad, {}, "packets that the peer has dropped")
        return counters
