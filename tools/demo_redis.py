# SPDX-License-Identifier: BSD-3-Clause
"""A Redis for the demo: its server under `lagan run`, and a client that knows what every key must hold."""

import hashlib
import random
import socket
import threading
import time

kServer = "/usr/bin/redis-check-rdb"  # Debian's redis-server is a link to it; that package starts a service as well
kBatch = 250


def value_of(key, version):
    """A kilobyte that is another one for each version of each key."""
    return hashlib.sha256(f"{key} {version}".encode()).hexdigest().encode() * 16


def name_of(key):
    return b"key:%d" % key


class Connection:
    """Redis's protocol, as far as it is needed."""

    def __init__(self, path):
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.connect(str(path))
        self.file = self.socket.makefile("rb")

    def close(self):
        self.file.close()
        self.socket.close()

    def calls(self, commands):
        """Sent at once; the answers."""
        self.socket.sendall(b"".join(b"*%d\r\n" % len(words) + b"".join(b"$%d\r\n%b\r\n" % (len(word), word) for word in words)
                                     for words in commands))
        return [self.answer() for _ in commands]

    def call(self, *words):
        return self.calls([words])[0]

    def answer(self):
        line = self.file.readline()
        if not line.endswith(b"\r\n"):
            raise ConnectionError("Redis has closed the connection")
        kind, rest = line[:1], line[1:-2]
        if kind == b"-":
            raise RuntimeError(f"Redis says: {rest.decode(errors='replace')}")
        if kind == b"$":
            return None if rest == b"-1" else self.file.read(int(rest) + 2)[:-2]
        if kind == b"*":
            return [self.answer() for _ in range(int(rest))]
        return rest


class Data:
    """Keys with the version that Redis has acknowledged last."""

    def __init__(self, path, keys):
        self.path, self.versions = path, [0] * keys

    def store(self, keys):
        """A new version of each."""
        connection = Connection(self.path)
        for first in range(0, len(keys), kBatch):
            some = keys[first:first + kBatch]
            connection.calls([(b"SET", name_of(key), value_of(key, self.versions[key] + 1)) for key in some])
            for key in some:
                self.versions[key] += 1
        connection.close()

    def wrong(self):
        """The keys that do not hold what was acknowledged, of all; and how many keys Redis has."""
        connection = Connection(self.path)
        wrong = []
        for first in range(0, len(self.versions), kBatch):
            keys = range(first, min(first + kBatch, len(self.versions)))
            values = connection.call(b"MGET", *map(name_of, keys))
            wrong += [key for key, value in zip(keys, values) if value != value_of(key, self.versions[key])]
        count = int(connection.call(b"DBSIZE"))
        connection.close()
        return wrong, count


class Traffic(threading.Thread):
    """A client that reads, compares and stores single keys, the first `keys` of them, all the time."""

    def __init__(self, data, keys, seed):
        super().__init__(daemon=True)
        self.data, self.keys, self.rng = data, keys, random.Random(seed)
        self.ends = threading.Event()
        self.answers = []  # (sent at, answered at), time.time()
        self.wrong, self.error = 0, None

    def run(self):
        try:
            connection = Connection(self.data.path)
            while not self.ends.is_set():
                self.one(connection, self.rng.randrange(self.keys))
            connection.close()
        except (OSError, RuntimeError) as error:
            self.error = error

    def one(self, connection, key):
        sent = time.time()
        if self.rng.random() < 0.3:
            connection.call(b"SET", name_of(key), value_of(key, self.data.versions[key] + 1))
            self.data.versions[key] += 1
        elif connection.call(b"GET", name_of(key)) != value_of(key, self.data.versions[key]):
            self.wrong += 1
        self.answers.append((sent, time.time()))

    def end(self):
        self.ends.set()
        self.join(60)

    def longest(self, since):
        """The answer that took longest of those that came later."""
        return max((answer for answer in list(self.answers) if answer[1] > since), key=lambda answer: answer[1] - answer[0])
