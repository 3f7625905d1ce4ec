#!/usr/bin/python3
# SPDX-License-Identifier: BSD-3-Clause
"""reading_client.py LIBLAGAN MANAGER TOKEN_FILE REGION PAGES INTERFACE ADDRESS: reads one page after the other by the C API, and
prints each pause of more than 15 ms between two answers: when it began and when it ended, in seconds since 1970; and ten times a
second that it reads."""
import ctypes
import random
import sys
import time

kPage = 4096
kPause = 0.015


class Manager(ctypes.Structure):
    _fields_ = [(name, ctypes.c_char_p) for name in ("urls", "token_file", "ca_file", "interface", "local_address")] + [
        ("continue_after_rollback", ctypes.c_int)]


def main():
    library, url, token_file, region, pages, interface, address = (word.encode() for word in sys.argv[1:8])
    lagan = ctypes.CDLL(library.decode())
    lagan.lagan_open_managed.restype = lagan.lagan_error.restype = ctypes.c_void_p
    manager = Manager(url, token_file, None, interface, address, 1)
    error = ctypes.create_string_buffer(512)
    handle = ctypes.c_void_p(lagan.lagan_open_managed(ctypes.byref(manager), region, 2, error, 512))
    if not handle:
        raise SystemExit(f"no connection: {error.value.decode()}")
    lagan.lagan_reconnect(handle, 100)
    page = ctypes.create_string_buffer(kPage)
    rng = random.Random(1)
    last, told = time.time(), 0.0
    while True:
        offset = rng.randrange(int(pages)) * kPage
        if lagan.lagan_read(handle, ctypes.c_uint64(offset), page, ctypes.c_uint64(kPage)) != 0:
            raise SystemExit(ctypes.cast(lagan.lagan_error(handle), ctypes.c_char_p).value.decode())
        now = time.time()
        if now - last > kPause:
            print(f"pause {last:.4f} {now:.4f}", flush=True)
        if now - told > 0.1:
            print(f"reads {now:.4f}", flush=True)
            told = now
        last = now
        time.sleep(0.005)


main()
