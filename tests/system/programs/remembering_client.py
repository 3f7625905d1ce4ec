#!/usr/bin/python3
# SPDX-License-Identifier: BSD-3-Clause
"""Stores, frees and reads pages of one region by liblagan, and remembers what was in each page when.

Every read is compared. When the region was rolled back, the program starts anew in place (DPDK runs once in a process), reads
everything, and looks whether that is what the region was at one moment; it says which, and goes on from there. Pages that are damaged
it names, and stores anew. What it says is a line
of JSON each. Standard input: `quiet`: reads everything and waits; `load`: goes on; its end: reads everything and ends.

Times are seconds of CLOCK_MONOTONIC, which the test has as well.
"""
import argparse
import ctypes
import json
import math
import os
import pickle
import random
import select
import struct
import sys
import time

kPage = 4096
kZeros = bytes(kPage)
kMost = 16  # pages of one call
kOk, kNoFrames, kRolledBack = 0, 3, 6
kForEver = 100_000  # seconds to reconnect in


class ManagerOptions(ctypes.Structure):
    _fields_ = [(name, ctypes.c_char_p) for name in ("urls", "token_file", "ca_file", "interface", "local_address")] + [
        ("continue_after_rollback", ctypes.c_int)]


class RolledBack(Exception):
    pass


class Damaged(Exception):
    pass


def say(kind, **more):
    print(json.dumps({"said": kind, "at": round(time.monotonic(), 3), **more}), flush=True)


def give_up(why):
    say("wrong", why=why)
    sys.exit(1)


def start_again():
    """In this process's place: DPDK starts once in a process, and leaves its sockets open, which would go on taking packets."""
    sys.stdout.flush()
    os.closerange(3, 1024)
    os.execv(sys.executable, [sys.executable, *sys.argv])


def content(page, version):
    return struct.pack("<QQ", page, version) * (kPage // 16)


class Memory:
    """What each page held, and when: entries (version, since, acknowledged, free) in order. Nothing is acknowledged at infinity."""

    def __init__(self, pages):
        self.entries = [[(0, 0.0, 0.0, True)] for _ in range(pages)]
        self.next_version = 1
        self.figures = {"stores": 0, "frees": 0, "pages_read": 0, "roll_backs": 0, "pages_lost": 0}

    def post(self, pages, free):
        now = time.monotonic()
        for page in pages:
            self.entries[page].append((self.next_version, now, math.inf, free))
            self.next_version += 1

    def acknowledge(self, pages):
        now = time.monotonic()
        for page in pages:
            version, since, _, free = self.entries[page][-1]
            self.entries[page][-1] = (version, since, now, free)
        self.figures["frees" if self.entries[pages[0]][-1][3] else "stores"] += len(pages)

    def wanted(self, page):
        version, _, _, free = self.entries[page][-1]
        return kZeros if free else content(page, version)

    def check(self, first, pages, when):
        for page, found in enumerate(pages, first):
            if found not in (self.wanted(page), None):
                give_up(f"page {page} {when}: {self.describe(page, found)}")
        self.figures["pages_read"] += len(pages)

    def describe(self, page, found):
        if found == kZeros:
            what = "zeros"
        else:
            of_page, version = struct.unpack("<QQ", found[:16])
            what = f"page {of_page}'s version {version}" + ("" if found == content(of_page, version) else " in part")
        return f"found {what}; the last of what was stored: {self.entries[page][-4:]}"

    def adopt(self, pages):
        """After a roll-back: the moment that all pages are of, from when to when; what came later is forgotten."""
        since, until, kept, freed = 0.0, math.inf, [], []
        for page, (entries, found) in enumerate(zip(self.entries, pages)):
            if found is None:  # damaged, and stored anew soon
                kept.append(0)
                continue
            if found == kZeros:
                freed.append(page)
                kept.append(0)
                continue
            version = struct.unpack("<QQ", found[:16])[1]
            place = next((i for i, entry in enumerate(entries) if entry[0] == version and not entry[3]), None)
            if place is None or found != content(page, version):
                give_up(f"page {page} after a roll-back: {self.describe(page, found)}")
            kept.append(place)
            since = max(since, entries[place][1])
            until = min(until, entries[place + 1][2] if place + 1 < len(entries) else math.inf)
        for page in freed:  # of several times that it was free, the last that fits
            entries = self.entries[page]
            ends = [entry[2] for entry in entries[1:]] + [math.inf]
            fits = [i for i, entry in enumerate(entries) if entry[3] and entry[1] <= until and ends[i] >= since]
            if not fits:
                give_up(f"page {page} after a roll-back is free, which it was not between {since} and {until}: {entries[-6:]}")
            kept[page] = fits[-1]
        if since > until:
            give_up(f"pages after a roll-back are of several moments: something is of {since} or later, something of {until} at most")
        lost = sum(len(entries) - 1 - place for entries, place in zip(self.entries, kept))
        self.entries = [entries[:place + 1] for entries, place in zip(self.entries, kept)]
        # What was under way is what it is now.
        now = time.monotonic()
        for entries in self.entries:
            if entries[-1][2] == math.inf:
                entries[-1] = (*entries[-1][:2], now, entries[-1][3])
        self.figures["roll_backs"] += 1
        self.figures["pages_lost"] += lost
        say("rolled_back", since=since, until=min(until, now), lost=lost)


class Region:
    def __init__(self, options):
        self.library = ctypes.CDLL(options.library)
        self.library.lagan_open_managed.restype = self.library.lagan_error.restype = ctypes.c_void_p
        self.library.lagan_size.restype = ctypes.c_uint64
        manager = ManagerOptions(*(text.encode() for text in (options.manager, options.token_file, options.ca, options.interface,
                                                              options.address)), 0)
        error = ctypes.create_string_buffer(512)
        self.handle = ctypes.c_void_p(self.library.lagan_open_managed(ctypes.byref(manager), options.region.encode(), 2, error, 512))
        if not self.handle:  # nobody may be its home for a while
            say("no_connection", why=error.value.decode())
            time.sleep(0.2)
            start_again()
        self.library.lagan_reconnect(self.handle, kForEver)
        self.pages = self.library.lagan_size(self.handle) // kPage

    def done(self, status):
        if status == kOk:
            return
        words = ctypes.cast(self.library.lagan_error(self.handle), ctypes.c_char_p).value.decode()
        if status == kRolledBack:
            raise RolledBack(words)
        if status == kNoFrames:
            raise Damaged(words)
        give_up(f"status {status}: {words}")

    def read(self, first, count):
        """The pages; nothing for one that is damaged."""
        try:
            data = self.read_bytes(first, count)
            return [data[at:at + kPage] for at in range(0, len(data), kPage)]
        except Damaged:
            return [None] if count == 1 else [self.read(page, 1)[0] for page in range(first, first + count)]

    def read_bytes(self, first, count):
        to = ctypes.create_string_buffer(count * kPage)
        self.done(self.library.lagan_read(self.handle, ctypes.c_uint64(first * kPage), to, ctypes.c_uint64(count * kPage)))
        return to.raw

    def read_all(self):
        return [page for first in range(0, self.pages, kMost) for page in self.read(first, min(kMost, self.pages - first))]

    def store(self, first, data):
        self.done(self.library.lagan_store(self.handle, ctypes.c_uint64(first), data, ctypes.c_uint64(len(data) // kPage)))

    def free(self, first, count):
        self.done(self.library.lagan_free(self.handle, ctypes.c_uint64(first), ctypes.c_uint64(count)))

    def close(self):
        self.library.lagan_close(self.handle)


class Client:
    def __init__(self, options):
        self.options = options
        self.random = random.Random(options.seed)
        self.region = Region(options)
        self.memory = Memory(self.region.pages)
        self.line = b""
        if os.path.exists(options.memory):  # of the process before
            with open(options.memory, "rb") as file:
                self.memory, self.loads, random_state = pickle.load(file)
            self.random.setstate(random_state)
        else:
            self.loads = True

    def adopt(self):
        if os.path.exists(self.options.memory):
            pages = self.region.read_all()
            self.memory.adopt(pages)
            os.unlink(self.options.memory)
            self.mend(0, pages)

    def mend(self, first, pages):
        """What is damaged is stored anew."""
        for page in (page for page, found in enumerate(pages, first) if found is None):
            say("damaged", page=page)
            self.store([page])

    def store(self, pages):
        self.memory.post(pages, free=False)
        self.region.store(pages[0], b"".join(self.memory.wanted(page) for page in pages))
        self.memory.acknowledge(pages)

    def begin_anew(self, why):
        """In this process's place."""
        say("told_of_roll_back", why=why)
        if not os.path.exists(self.options.memory):
            with open(self.options.memory + ".new", "wb") as file:
                pickle.dump((self.memory, self.loads, self.random.getstate()), file)
            os.rename(self.options.memory + ".new", self.options.memory)
        start_again()

    def range(self, most):
        count = self.random.randint(1, most)
        first = self.random.randrange(self.region.pages - count + 1)
        return first, count

    def step(self):
        kind = self.random.random()
        if kind < 0.35:
            self.compare(*self.range(kMost), "under load")
            return
        first, count = self.range(8)
        pages = range(first, first + count)
        if kind < 0.85:
            self.store(pages)
            return
        self.memory.post(pages, free=True)
        self.region.free(first, count)
        self.memory.acknowledge(pages)

    def compare(self, first, count, when):
        pages = self.region.read(first, count)
        self.memory.check(first, pages, when)
        self.mend(first, pages)

    def read_all(self):
        for first in range(0, self.region.pages, kMost):
            self.compare(first, min(kMost, self.region.pages - first), "when all was read")

    def question(self, timeout):
        """The next line of standard input; empty: none, None: its end."""
        if b"\n" not in self.line and select.select([0], [], [], timeout)[0]:
            more = os.read(0, 4096)
            if not more:
                return None
            self.line += more
        line, newline, rest = self.line.partition(b"\n")
        if newline:
            self.line = rest
            return line.decode()
        return ""

    def go_on(self):
        """False at the end."""
        asked = self.question(self.options.pause if self.loads else 0.05)
        if asked is None or asked == "quiet":
            self.loads = False
            self.read_all()
            say("quiet", **self.memory.figures)
            return asked is not None
        if asked == "load":
            self.loads = True
            say("load")
        if self.loads:
            self.step()
        else:  # the connection has to be looked after
            self.region.read(0, 1)
        return True


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    for name in ("library", "manager", "token-file", "ca", "region", "interface", "address", "memory"):
        parser.add_argument(f"--{name}", required=True)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--pause", type=float, default=0.003, help="seconds between two calls")
    client = Client(parser.parse_args())
    try:
        client.adopt()
        say("ready")
        while client.go_on():
            pass
        client.region.close()
    except RolledBack as why:
        client.begin_anew(str(why))


if __name__ == "__main__":
    main()
