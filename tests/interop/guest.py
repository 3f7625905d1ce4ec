# SPDX-License-Identifier: BSD-3-Clause
"""Linux guests with soft-RoCE (rxe) as peers: a guest on a lagand, or two guests on one wire.

    @suite.shared                                  # one boot for all cases of the file
    def rig(t):
        return guest.on_lagand(t, programs=[t.binary("tests/interop/plain_client")])

    @suite.case
    def reads(t):
        rig = t.shared                             # .appliance (Appliance), .guest (Guest)
        region = rig.appliance.region("reads", "8MiB")
        grant = rig.appliance.grant("reads", role="read")
        done = rig.guest.run(f"echo {grant} | plain_client --to {guest.kServer4} --read", timeout=60)
        ... done.status, done.stdout, done.stderr  # status 124: its time was up
        job = rig.guest.start("rping -s -C 10")    # beside what else runs there
        job.wait()                                 # as run()
        rig.guest.no_protocol_error(t)             # rxe's counters and the kernel's log

    a, b = guest.pair(t)                           # two guests, 10.77.0.1 and 10.77.0.2, for comparison

A guest is emulated: some five seconds for the boot, and figures that vary two- to tenfold. No case may depend on a time.
"""
import base64
import re
import select
import shlex
import socket
import time
from typing import NamedTuple

import image
from errors import Failure
from lagand_node import LagandNode

kMtu = 4200  # room for a path MTU of 4096
kVlan = 7
# What lagand's port answers to; the guest is number 2 in each of these networks.
kServer4, kServer6, kServerVlan4, kServerVlan6 = "10.77.0.1", "fd77::1", "10.77.7.1", "fd77:7::1"
kGuest4, kGuest6, kGuestVlan4, kGuestVlan6 = "10.77.0.2", "fd77::2", "10.77.7.2", "fd77:7::2"
kServicePort = 7471

kCounters = "/sys/class/infiniband/rxe0/ports/1/hw_counters"
# Of rxe's counters those that no sound peer makes it count. Not among them: duplicate_request, out_of_seq_request, rcvd_seq_err,
# completer_retry_err: an emulated guest stands still for longer than a timeout now and then, and asks again.
kErrorCounters = ("rcvd_rnr_err", "retry_rnr_exceeded_err", "retry_exceeded_err", "send_err")
# What the kernel's log must not have: its own alarms, and anything from the RDMA modules but their greetings.
kAlarm = re.compile(r"WARNING:|BUG:|Oops|Call Trace|general protection|segfault|lockup|rxe|rdma|infiniband|\bib_", re.I)
kGreeting = re.compile(r"rdma_rxe: loaded|rxe0: set (active|down)|rxe0: added eth0")


class Done(NamedTuple):
    status: int
    stdout: str
    stderr: str


class Job:
    """A command that runs in the guest."""

    def __init__(self, guest, number, command, limit_s):
        self.guest, self.number, self.command, self.limit_s = guest, number, command, limit_s

    def ended(self):
        self.guest.pump(0)
        return self.number in self.guest.answers

    def wait(self, check=True):
        """Its status, stdout and stderr; a status other than 0 is a Failure unless check is false."""
        end = time.monotonic() + self.limit_s + 30  # the guest ends it; this is for a guest that has died
        while not self.ended():
            if time.monotonic() > end:
                raise Failure(f"{self.guest.name}: no answer to: {self.command}")
            self.guest.pump(0.5)
        done = self.guest.answers[self.number]
        if check and done.status != 0:
            raise Failure(f"{self.guest.name}: {self.command}: exit status {done.status}: "
                          f"{(done.stdout[-400:] + ' ' + done.stderr[-400:]).strip()}")
        return done


class Guest:
    """One QEMU with Linux and its rxe device rxe0 on eth0. netdev: what eth0 is joined to; second: eth1, if there is one."""

    def __init__(self, t, name, netdev, number, programs=(), memory_mib=256, second=()):
        self.t, self.name, self.answers, self._sent, self._input = t, name, {}, 0, b""
        made = image.ready()
        own = t.dir / f"{name}.initrd"
        image.overlay(programs, own)
        initrd = t.dir / f"{name}.img"
        with open(initrd, "wb") as both:
            for part in (made / "base.img", own):
                both.write(part.read_bytes())
                both.write(bytes(-both.tell() % 4))  # archives begin at multiples of four
        channel = t.dir / f"{name}.channel"
        # Nehalem: the oldest processor that our programs are compiled for (DPDK's -march=corei7).
        self.process = t.start([
            "qemu-system-x86_64", "-nodefaults", "-no-user-config", "-no-reboot", "-display", "none",
            "-accel", "tcg,thread=multi", "-cpu", "Nehalem", "-smp", "1", "-m", memory_mib,
            "-object", f"memory-backend-memfd,id=memory,size={memory_mib}M,share=on", "-machine", "pc,memory-backend=memory",
            "-chardev", "stdio,id=console,signal=off", "-serial", "chardev:console",
            "-chardev", f"socket,id=agent,path={channel},server=on,wait=off", "-device", "virtio-serial-pci",
            "-device", "virtserialport,chardev=agent,name=lagan.agent",
            # vectors=0: QEMU 7.2 ends with a signal when a vhost-user device's interrupts are masked under TCG.
            *netdev, "-device", f"virtio-net-pci,netdev=net,mac=52:54:00:77:00:{number:02x},romfile=,vectors=0",
            *second, *(["-device", f"virtio-net-pci,netdev=net1,mac=52:54:00:77:01:{number:02x},romfile="] if second else []),
            "-kernel", made / "vmlinux", "-initrd", initrd,
            "-append", "console=ttyS0 quiet panic=-1 mitigations=off nokaslr net.ifnames=0"], name=name)
        self._channel = socket.socket(socket.AF_UNIX)
        t.wait_until(lambda: self._connect(channel), f"{name}: QEMU's channel", timeout=30)

    def _connect(self, path):
        if self.process.status is not None:
            raise Failure(f"{self.name}: QEMU has ended: {self.process.text()[-600:]}")
        return self._channel.connect_ex(str(path)) == 0

    def wait_booted(self, timeout=120):
        """Returns the kernel's version once the guest takes commands."""
        return Job(self, 0, "boot", timeout).wait().stdout.strip()

    def pump(self, timeout_s):
        """Takes in what the guest has answered."""
        if not select.select([self._channel], [], [], timeout_s)[0]:
            return
        data = self._channel.recv(1 << 20)
        if not data:
            raise Failure(f"{self.name}: the guest has ended ({self.process.describe()}): {self.process.text()[-600:]}")
        *lines, self._input = (self._input + data).split(b"\n")
        for line in lines:
            number, status, out, err = line.split()
            texts = (base64.b64decode(part[1:]).decode(errors="replace") for part in (out, err))
            self.answers[int(number)] = Done(int(status), *texts)

    def start(self, command, timeout=60):
        """Starts a shell command; after timeout seconds the guest ends it, with status 124."""
        self._sent += 1
        limit_s = int(self.t.scaled(timeout))
        line = f"{self._sent} {limit_s} {base64.b64encode(command.encode()).decode()}\n"
        self._channel.sendall(line.encode())
        return Job(self, self._sent, command, limit_s)

    def run(self, command, timeout=60, check=True):
        return self.start(command, timeout).wait(check)

    def put(self, path, text):
        """A small text file in the guest."""
        self.run(f"printf %s {shlex.quote(text)} >{shlex.quote(path)}")

    def join(self, addresses, interface="eth0"):
        """Gives the interface its addresses and brings it up."""
        lines = [f"ip addr add {address} dev {interface}{' nodad' if ':' in address else ''}" for address in addresses]
        self.run("\n".join(["set -e", f"ip link set {interface} mtu {kMtu} up", *lines]))

    def add_rxe(self, number=0):
        self.run(f"rdma link add rxe{number} type rxe netdev eth{number}")

    def add_vlan(self, addresses):
        self.run(f"ip link add link eth0 name eth0.{kVlan} type vlan id {kVlan}")
        self.join(addresses, f"eth0.{kVlan}")

    def counters(self):
        """rxe's hardware counters."""
        lines = self.run(f"cd {kCounters} && grep -H . *").stdout.splitlines()
        return {name: int(value) for name, value in (line.split(":") for line in lines)}

    def kernel_log(self):
        return self.run("dmesg").stdout.splitlines()

    def no_protocol_error(self, t):
        """Fails when rxe has counted an error of the peer's, or the kernel's log tells of one."""
        counters = self.counters()
        bad = {name: counters[name] for name in kErrorCounters if counters[name] != 0}
        t.equal(bad, {}, f"{self.name}: rxe's counters of errors")
        told = [line for line in self.kernel_log() if kAlarm.search(line) and not kGreeting.search(line)]
        t.equal(told, [], f"{self.name}: the kernel's log")


class Appliance(LagandNode):
    """A lagand with a vhost port for one guest."""

    def __init__(self, t, memory="256MiB", **more):
        addresses = [f"{kServer4}/24", f"{kServer6}/64", f"{kServerVlan4}/24", f"{kServerVlan6}/64"]
        super().__init__(t, "interop", size=memory, addresses=addresses, peer=None, more=f"mtu = {kMtu}")
        self.settings = [word for key, value in more.items() for word in ("--set", f"{key.replace('__', '.')}={value}")]
        self.start()

    def argv(self, *more):
        return super().argv(*self.settings, *more)

    def restart(self):
        """After a SIGKILL, on the same arena. The guest's port has to be one that reconnects."""
        self.lagand.kill()
        self.start()

    def ask(self, method, target, body=None, status=200):
        reply = self.call(method, target, body)
        self.t.equal(reply.status, status, f"{method} {target}: {reply.body}")
        return reply.body

    def region(self, name, size="64MiB"):
        return self.ask("POST", "/v1/regions", {"name": name, "size": size}, 201)

    def grant(self, name, role="write", ttl_seconds=3600):
        """56 bytes in hexadecimal digits."""
        body = {"role": role, "ttl_seconds": ttl_seconds}
        return self.ask("POST", f"/v1/regions/{name}/grants", body, 201)["grant"]

    def queue_pairs(self):
        return self.stats()["queue_pairs"]["in_use"]


class Rig(NamedTuple):
    appliance: Appliance
    guest: Guest


def vhost_netdev(path, reconnect=False):
    again = ",reconnect=1" if reconnect else ""
    return ["-chardev", f"socket,id=vhost,path={path}{again}", "-netdev", "vhost-user,id=net,chardev=vhost,queues=1"]


def on_lagand(t, programs=(), second=(), reconnect=False, **settings):
    """A lagand and a guest on its port: booted, with addresses of both families, a VLAN, and rxe0."""
    appliance = Appliance(t, **settings)
    guest = Guest(t, "guest", vhost_netdev(appliance.vhost, reconnect), 2, programs, second=second)
    guest.wait_booted()
    guest.join([f"{kGuest4}/24", f"{kGuest6}/64"])
    guest.add_rxe()
    guest.add_vlan([f"{kGuestVlan4}/24", f"{kGuestVlan6}/64"])
    return Rig(appliance, guest)


def wire_netdev(t, own, other, name="net"):
    """A wire between two guests: a datagram a frame."""
    return ["-netdev", f"dgram,id={name},local.type=unix,local.path={t.dir}/{own}.wire,"
            f"remote.type=unix,remote.path={t.dir}/{other}.wire"]


def pair(t, programs=()):
    """Two guests on a wire of their own, 10.77.0.1 and 10.77.0.2, with rxe0."""
    guests = [Guest(t, own, wire_netdev(t, own, other), number, programs)
              for number, own, other in ((1, "left", "right"), (2, "right", "left"))]
    for number, guest in enumerate(guests, 1):
        guest.wait_booted()
        guest.join([f"10.77.0.{number}/24", f"fd77::{number}/64"])
        guest.add_rxe()
    return guests
