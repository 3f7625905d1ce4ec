#!/usr/bin/python3
# SPDX-License-Identifier: BSD-3-Clause
# lagan-test: hugepages=no builds=release timeout=200
"""An appliance whose baseline store hangs: it answers all who do not need the store, and ends when told to."""
import contextlib
import pathlib
import socket
import sys
import threading

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "support"))
from harness import Suite
from lagand_node import LagandNode

suite = Suite(__file__)


class HangingStore:
    """A listener that takes connections and requests, and never answers."""

    def __init__(self):
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.taken = []
        threading.Thread(target=self.take, daemon=True).start()

    def take(self):
        with contextlib.suppress(OSError):
            while True:
                self.taken.append(self.listener.accept()[0])

    def url(self, **options):
        text = "&".join(f"{key}={value}" for key, value in options.items())
        return f"s3://bucket?endpoint=http://127.0.0.1:{self.listener.getsockname()[1]}&{text}"

    def close(self):
        for connection in (self.listener, *self.taken):
            connection.close()


@suite.case
def a_store_that_hangs_holds_nobody_else_up(t):
    store = HangingStore()
    t.defer(store.close)
    # Whatever ends within the test has not waited for the store's timeout.
    node = LagandNode(t, more=f'[baseline]\nstore = "{store.url(timeout=3600)}"')
    node.start(env={"AWS_ACCESS_KEY_ID": "k", "AWS_SECRET_ACCESS_KEY": "s"})
    replies = []

    def ask(method, target, body=None):
        with contextlib.suppress(OSError):  # lagand has ended
            replies.append((target, node.call(method, target, body, timeout=60).status))

    t.equal(node.call("POST", "/v1/regions", {"name": "a", "size": "8MiB"}).status, 201, "a region")
    t.equal(node.call("POST", "/v1/regions/a/checkpoint").status, 202, "a checkpoint, which will hang")
    asked = [("GET", "/v1/baselines"), ("GET", "/v1/baselines/a"), ("POST", "/v1/restores", {"region": "b"})]
    threads = [threading.Thread(target=ask, args=each, daemon=True) for each in asked * 8]
    for thread in threads:
        thread.start()
    t.wait_until(lambda: [status for _, status in replies if status == 503], "one too many is refused")
    for _ in range(50):
        t.equal(node.call("GET", "/v1/node").status, 200, "the node's state meanwhile")
        t.equal(node.call("GET", "/v1/regions/a/checkpoint").body["state"], "running", "the checkpoint's meanwhile")
    t.true(any(thread.is_alive() for thread in threads), "some still wait for the store")
    t.equal(node.call("POST", "/v1/regions", {"name": "c", "size": "8MiB"}).status, 201, "a region meanwhile")
    t.equal(node.call("DELETE", "/v1/regions/c").status, 204, "and its end")
    t.equal(node.lagand.terminate(), 0, "exit status")
    for thread in threads:
        thread.join(t.scaled(30))
        t.true(not thread.is_alive(), "every caller has an answer, or lost its connection")


if __name__ == "__main__":
    suite.main()
