#!/usr/bin/python3
# SPDX-License-Identifier: BSD-3-Clause
"""The demo's main job, called by tools/demo: an appliance, a sort without Lagan, the same sort with its heap on the
appliance, which is killed in the middle of it and started again, the comparison, and the appliance's view of it."""

import argparse
import filecmp
import http.client
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time

START = time.monotonic()
kEnds = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)


def step(text):
    print(f"[{time.monotonic() - START:4.0f} s] {text}", file=sys.stderr, flush=True)


def say(text):
    print(f"         {text}", file=sys.stderr, flush=True)


def die(text):
    raise SystemExit(f"demo: error: {text}")


class NodeConnection(http.client.HTTPConnection):
    """HTTP over the node API's unix socket."""

    def __init__(self, path):
        super().__init__("localhost", timeout=10)
        self.path = path

    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self.path)


def node_get(path, target):
    connection = NodeConnection(path)
    try:
        connection.request("GET", target)
        return json.loads(connection.getresponse().read())
    finally:
        connection.close()


class Appliance:
    """lagand, from its start to its clean end, and killed in between."""

    def __init__(self, build, config, work):
        self.socket = f"{work}/lagand.sock"
        self.log_path = f"{work}/lagand.log"
        self.argv = [f"{build}/appliance/lagand", "--config", config,
                     "--set", f"node.name=demo-{os.getpid()}", "--set", f"node.api_socket={self.socket}",
                     "--set", f"node.state_dir={work}/state", "--set", f"port.local0.path={work}/local0.vhost"]
        self.start()

    def start(self):
        with open(self.log_path, "w", encoding="utf-8") as log:
            self.process = subprocess.Popen(self.argv, stdout=log, stderr=subprocess.STDOUT)

    def kill(self):
        self.process.kill()
        self.process.wait()

    def log(self):
        with open(self.log_path, encoding="utf-8", errors="replace") as log:
            return log.read()

    def wait_ready(self):
        end = time.monotonic() + 60
        while "ready" not in self.log():
            if self.process.poll() is not None or time.monotonic() > end:
                die(f"lagand did not start:\n{self.log()}")
            time.sleep(0.05)
        for line in self.log().splitlines():
            say(line)

    def stop(self):
        """Its exit status; it has ten seconds for a clean end. An interrupted demo's region is not kept for later."""
        self.process.send_signal(signal.SIGTERM)
        try:
            status = self.process.wait(10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            status = self.process.wait()
        arena = re.search(rf"arena: (/\S+/lagan-demo-{os.getpid()}) ", self.log())
        if arena:
            shutil.rmtree(arena[1], ignore_errors=True)
        return status


class View(threading.Thread):
    """Keeps the appliance's last view of the region, which is deleted when the program ends."""

    def __init__(self, appliance):
        super().__init__(daemon=True)
        self.appliance = appliance
        self.region = None
        self.used_frames = 0
        self.before = {}  # counters of the process that was killed
        self.done = threading.Event()

    def run(self):
        while not self.done.wait(0.3):
            try:
                regions = node_get(self.appliance.socket, "/v1/regions")
                if regions.get("regions"):
                    self.region = regions["regions"][0]
                frames = node_get(self.appliance.socket, "/v1/stats")["frames"]
                self.used_frames = max(self.used_frames, frames["used"])
            except (OSError, ValueError, KeyError):
                pass  # asked again in a moment; what is missing at the end is an error there


def sort_command(text):
    # One thread and one buffer for the whole text, as sort would choose on a machine with memory to spare.
    size = max(os.path.getsize(text) * 4, 64 << 20)
    return ["sort", "--parallel=1", f"--buffer-size={size >> 20}M", text]


def run_locally(text, out):
    """Sorts without Lagan; the peak resident set in bytes."""
    with open(out, "wb") as target:
        pid = os.posix_spawn("/usr/bin/sort", sort_command(text), dict(os.environ, LC_ALL="C"),
                             file_actions=[(os.POSIX_SPAWN_DUP2, target.fileno(), 1)])
        try:
            _, status, usage = os.wait4(pid, 0)
        except SystemExit:
            os.kill(pid, signal.SIGKILL)
            raise
    if status != 0:
        die("sort failed without Lagan")
    return usage.ru_maxrss * 1024


def kill_half_way(appliance, sort, view):
    """SIGKILL when much of the heap is at the appliance, then a start on the same arena."""
    while sort.poll() is None:
        try:
            counters = counters_of(appliance)
        except (OSError, ValueError, KeyError):
            counters = {}
        if counters.get("pages_stored", 0) > 2000:
            step("killing the appliance (SIGKILL) and starting it again")
            view.before = counters
            appliance.kill()
            appliance.start()
            appliance.wait_ready()
            return
        time.sleep(0.05)
    die("the sort ended before the appliance could be killed")


def end(sort):
    """A sort whose memory is gone, because Ctrl-C has ended the appliance as well, would wait for it."""
    sort.terminate()
    try:
        sort.wait(3)
    except subprocess.TimeoutExpired:
        sort.kill()
        sort.wait()


def run_far(options, appliance, view, text, out, local_bytes, region_bytes):
    """Sorts under `lagan run`; its figures."""
    stats_file = f"{options.work}/stats.json"
    with open(out, "wb") as target:
        sort = subprocess.Popen(
            [f"{options.build}/client/lagan", "run", "--appliance", appliance.socket, "--local-memory", str(local_bytes),
             "--region-size", str(region_bytes), "--progress", "--stats-file", stats_file, "--"] + sort_command(text),
            stdout=target, env=dict(os.environ, LC_ALL="C", XDG_RUNTIME_DIR=options.work))
    try:
        kill_half_way(appliance, sort, view)
        status = sort.wait()
    finally:
        end(sort)
    if status != 0:
        die(f"lagan run ended with status {status}; lagand's log:\n{appliance.log()}")
    with open(stats_file, encoding="utf-8") as figures:
        return json.load(figures)


def counters_of(appliance):
    return node_get(appliance.socket, "/v1/stats")["total"]["counters"]


def show_view(appliance, view):
    counters = {name: value + view.before.get(name, 0) for name, value in counters_of(appliance).items()}
    if view.region is None or counters["pages_stored"] == 0 or counters["reads"] == 0:
        die("the appliance saw no store or no read: the memory was not far")
    step("the appliance's view")
    say(f"frames used    {view.used_frames} at most ({view.used_frames * 4 >> 10} MiB)")
    say(f"reads          {counters['reads']} ({counters['read_bytes'] >> 20} MiB)")
    say(f"stores         {counters['pages_stored']} pages, and {counters['pages_zero']} of zeros that took no frame")
    say(f"frees          {counters['pages_freed']} pages in {counters['capsules']} capsules")
    say(f"dirty pages    {view.region['dirty_pages']} when last seen, {view.region['present_pages']} present")
    frames = node_get(appliance.socket, "/v1/stats")["frames"]
    if frames["used"] != 0:
        die(f"{frames['used']} frames are still used after the region was deleted")


def job(options, appliance):
    text = f"{options.work}/text"
    step("sorting without Lagan")
    peak = run_locally(text, f"{options.work}/expected")
    local_bytes = max(peak // 4 // 4096 * 4096, 2 << 20)
    region_bytes = max(peak * 2 // 4096 * 4096, 128 << 20)
    say(f"sort's memory at its peak: {peak >> 20} MiB; under Lagan it gets {local_bytes >> 20} MiB of this machine's")

    step("starting the appliance")
    appliance.wait_ready()
    step("sorting with the heap on the appliance")
    view = View(appliance)
    view.start()
    began = time.monotonic()
    figures = run_far(options, appliance, view, text, f"{options.work}/result", local_bytes, region_bytes)
    say(f"took {time.monotonic() - began:.1f} s")
    view.done.set()
    view.join()

    if not filecmp.cmp(f"{options.work}/expected", f"{options.work}/result", shallow=False):
        die("the results differ")
    say("the result is the same, byte for byte")
    if figures.get("reconnections", 0) < 1:
        die("lagan run did not connect again: was the appliance killed?")
    allowed = local_bytes + max(local_bytes // 20, 8 << 20)
    if figures["peak_local_bytes"] > allowed:
        die(f"the program's local memory reached {figures['peak_local_bytes']} bytes; {allowed} were allowed")
    show_view(appliance, view)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    for name in ("--build", "--work", "--config"):
        parser.add_argument(name, required=True)
    options = parser.parse_args()
    for number in kEnds:
        signal.signal(number, lambda number, _: sys.exit(128 + number))
    appliance = Appliance(options.build, options.config, options.work)
    try:
        job(options, appliance)
    finally:
        for number in kEnds:
            signal.signal(number, signal.SIG_IGN)
        status = appliance.stop()
    if status != 0:
        die(f"lagand ended with status {status}:\n{appliance.log()}")
    step("the appliance has stopped; the demo held")


if __name__ == "__main__":
    main()
