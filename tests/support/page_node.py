# SPDX-License-Identifier: BSD-3-Clause
"""lagand on an arena that outlives its processes, and a client (tests/system/programs/page_client.cc) that stores and reads known
pages there."""
import json
import mmap
import zlib

from errors import Failure
from lagand_node import LagandNode

kPage = 4096


class PageNode(LagandNode):
    def __init__(self, t, *settings):
        super().__init__(t, "pages", size="64MiB")
        self.settings = [word for setting in settings for word in ("--set", setting)]
        self.pages = {}  # region → page → bytes, as stored

    def argv(self, *more):
        return super().argv(*self.settings, *more)

    def rescue(self):
        self.start("--rescue", self.arena)

    def node(self):
        return self.get("/v1/node")

    def counter(self, name):
        return self.counters()[name]

    def region(self, name):
        return self.get(f"/v1/regions/{name}")

    def create(self, name, size="4MiB", **more):
        made = self.call("POST", "/v1/regions", {"name": name, "size": size, **more})
        self.t.equal(made.status, 201, f"creation of {name}: {made.body}")
        self.pages[name] = {}
        return made.body

    def grant(self, name, role):
        return self.call("POST", f"/v1/regions/{name}/grants", {"role": role})

    def try_client(self, *arguments, region=None, role="write", grant=None):
        """The client's exit and what it printed."""
        whose = ["--grant", grant] if grant else ["--region", region, "--role", role]
        return self.t.run([self.t.binary("tests/system/page_client"), "--appliance", self.socket, *whose, *arguments],
                          timeout=120, check=False)

    def client(self, *arguments, **more):
        """What the client saw, an object for each argument."""
        done = self.try_client(*arguments, **more)
        if done.status != 0:
            raise Failure(f"page_client: {done.stderr[-500:]}")
        return [json.loads(line) for line in done.stdout.splitlines()]

    def random_pages(self, count):
        return [self.t.rng.randbytes(kPage) for _ in range(count)]

    def stores(self, region, first, pages):
        """The argument that stores them, which this object takes for done."""
        path = self.t.dir / f"pages-{region}-{first}-{len(self.pages[region])}"
        path.write_bytes(b"".join(pages))
        for index, page in enumerate(pages):
            self.pages[region][first + index] = page
        return f"store:{first}:{path}"

    def frees(self, region, first, count):
        for page in range(first, first + count):
            self.pages[region].pop(page, None)
        return f"free:{first}:{count}"

    def crcs(self, region, pages=None):
        """What a client must read."""
        return {str(page): zlib.crc32(content) for page, content in self.pages[region].items()
                if pages is None or page in pages}

    def spoil_frame(self, content, byte=1234):
        """Flips a bit of the page in the memory's file, behind lagand's back."""
        with open(self.arena / "frames", "r+b") as file, mmap.mmap(file.fileno(), 0) as memory:
            at = memory.find(content)
            self.t.true(at >= 0 and at % kPage == 0, "the page is not in the arena")
            memory[at + byte] ^= 1

    def change(self, name, at, by=1):
        """Flips bits of a byte of one of the arena's files. By mmap: hugetlbfs has no write()."""
        with open(self.arena / name, "r+b") as file, mmap.mmap(file.fileno(), 0) as memory:
            memory[at] ^= by

    def files(self):
        """Name → checksum of every file in the arena."""
        return {path.name: (path.stat().st_size, zlib.crc32(path.read_bytes())) for path in self.arena.iterdir()}
