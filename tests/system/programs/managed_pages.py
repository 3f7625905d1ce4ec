#!/usr/bin/python3
# SPDX-License-Identifier: BSD-3-Clause
"""managed_pages.py LIBLAGAN MANAGER TOKEN_FILE REGION INTERFACE ADDRESS: stores pages and reads them again, round after round, by
the C API; ends with status 1 when a page is not what was stored last, and with 6 when the region was rolled back."""
import ctypes
import struct
import sys
import time

kPage = 4096
kPages = 64


class Manager(ctypes.Structure):
    _fields_ = [(name, ctypes.c_char_p) for name in ("urls", "token_file", "ca_file", "interface", "local_address")] + [
        ("continue_after_rollback", ctypes.c_int)]


def page_of(number, word):
    return struct.pack("<QQ", number, word) * (kPage // 16)


def main():
    library, url, token_file, region, interface, address = (word.encode() for word in sys.argv[1:7])
    lagan = ctypes.CDLL(library.decode())
    lagan.lagan_open_managed.restype = lagan.lagan_error.restype = ctypes.c_void_p
    manager = Manager(url, token_file, None, interface, address, 0)
    error = ctypes.create_string_buffer(512)
    handle = ctypes.c_void_p(lagan.lagan_open_managed(ctypes.byref(manager), region, 2, error, 512))
    if not handle:
        raise SystemExit(f"no connection: {error.value.decode()}")
    lagan.lagan_reconnect(handle, 100)

    def check(status):
        if status != 0:
            print(ctypes.cast(lagan.lagan_error(handle), ctypes.c_char_p).value.decode(), flush=True)
            raise SystemExit(status)

    found = ctypes.create_string_buffer(kPages * kPage)
    stored = bytes(kPages * kPage)
    for word in range(1, 1_000_000):
        check(lagan.lagan_read(handle, ctypes.c_uint64(0), found, ctypes.c_uint64(kPages * kPage)))
        if found.raw != stored:
            raise SystemExit("a page is not what was stored last")
        stored = b"".join(page_of(number, word) for number in range(kPages))
        check(lagan.lagan_store(handle, ctypes.c_uint64(0), stored, ctypes.c_uint64(kPages)))
        print(f"round {word}", flush=True)
        time.sleep(0.05)


main()
