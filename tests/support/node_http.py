# SPDX-License-Identifier: BSD-3-Clause
"""HTTP/JSON over a unix socket, as a client of the node API speaks it."""
import http.client
import json
import socket
from typing import Any, NamedTuple


class Reply(NamedTuple):
    status: int
    body: Any  # parsed JSON, or the text where it is not JSON


class UnixConnection(http.client.HTTPConnection):
    def __init__(self, path, timeout):
        super().__init__("localhost", timeout=timeout)
        self._path = str(path)

    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self._path)


def request(path, method, target, body=None, timeout=20):
    """One request to the socket at path. body: bytes or str as they are, anything else as JSON."""
    connection = UnixConnection(path, timeout)
    try:
        raw = body if body is None or isinstance(body, (bytes, str)) else json.dumps(body)
        headers = {"Content-Type": "application/json"} if raw is not None else {}
        connection.request(method, target, raw, headers)
        reply = connection.getresponse()
        text = reply.read().decode(errors="replace")
    finally:
        connection.close()
    try:
        return Reply(reply.status, json.loads(text))
    except json.JSONDecodeError:
        return Reply(reply.status, text)
