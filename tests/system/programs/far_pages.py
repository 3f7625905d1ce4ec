#!/usr/bin/python3
# SPDX-License-Identifier: BSD-3-Clause
"""far_pages.py LIBLAGAN SOCKET REGION [read|write]: stores, frees and shows pages of a region, by the C API.

One command a line on standard input, one answer a line on standard output:
  store FIRST COUNT WORD   pages whose 64-bit words are all WORD    → ok
  free FIRST COUNT                                                  → ok
  show                     → {"PAGE": WORD, ...} of the pages that are not zeros; "damaged" for those that are refused
A page whose words differ from each other ends it with status 1.
"""
import ctypes
import json
import struct
import sys

kPage = 4096
kRun = 256  # pages of one READ


class Region:
    def __init__(self, library, socket, name, role):
        self.lagan = ctypes.CDLL(library)
        self.lagan.lagan_open.restype = self.lagan.lagan_error.restype = ctypes.c_void_p
        self.lagan.lagan_size.restype = ctypes.c_uint64
        self.socket, self.name, self.role = socket, name, role
        self.open()

    def open(self):
        error = ctypes.create_string_buffer(512)
        self.handle = ctypes.c_void_p(self.lagan.lagan_open(self.socket.encode(), self.name.encode(), self.role, error, 512))
        if not self.handle:
            raise SystemExit(f"no connection: {error.value.decode()}")
        self.pages = self.lagan.lagan_size(self.handle) // kPage

    def call(self, function, first, *rest):
        status = function(self.handle, ctypes.c_uint64(first), *rest)
        if status != 0:
            text = ctypes.cast(self.lagan.lagan_error(self.handle), ctypes.c_char_p).value
            raise SystemExit(f"status {status}: {text.decode()}")

    def store(self, first, count, word):
        data = struct.pack("<Q", word) * (kPage // 8 * count)
        self.call(self.lagan.lagan_store, first, data, ctypes.c_uint64(count))

    def free(self, first, count):
        self.call(self.lagan.lagan_free, first, ctypes.c_uint64(count))

    def read(self, first, count):
        """The words of the pages; None when the appliance refuses."""
        data = ctypes.create_string_buffer(count * kPage)
        status = self.lagan.lagan_read(self.handle, ctypes.c_uint64(first * kPage), data, ctypes.c_uint64(count * kPage))
        if status != 0:
            self.lagan.lagan_close(self.handle)  # the refusal has ended the connection
            self.open()
            return None
        return data.raw

    def show(self):
        found = {}
        for first in range(0, self.pages, kRun):
            count = min(kRun, self.pages - first)
            whole = self.read(first, count)
            for page in range(first, first + count):
                data = whole[(page - first) * kPage:][:kPage] if whole is not None else self.read(page, 1)
                if data is None:
                    found[page] = "damaged"
                    continue
                word = data[:8]
                if data != word * (kPage // 8):
                    raise SystemExit(f"page {page} is torn")
                if word != bytes(8):
                    found[page] = struct.unpack("<Q", word)[0]
        return found


def main():
    library, socket, name = sys.argv[1:4]
    region = Region(library, socket, name, 1 if sys.argv[4:] == ["read"] else 2)
    print("ready", flush=True)
    for line in sys.stdin:
        what, *numbers = line.split()
        numbers = [int(number) for number in numbers]
        if what == "show":
            print(json.dumps(region.show()), flush=True)
        else:
            getattr(region, {"store": "store", "free": "free"}[what])(*numbers)
            print("ok", flush=True)
    region.lagan.lagan_close(region.handle)


if __name__ == "__main__":
    main()
