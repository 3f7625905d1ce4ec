#!/usr/bin/python3
# SPDX-License-Identifier: BSD-3-Clause
# lagan-test: hugepages=no builds=release,asan timeout=300
"""The engines of the baseline store against real servers: a one-node Ceph and its S3 gateway. One conformance test passes on all three;
checkpoints ride through servers that are killed and come back; what an operator has set up wrongly is named."""
import hashlib
import http.server
import pathlib
import signal
import sys
import threading
import time
import urllib.parse

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "support"))
from ceph import Ceph, kAccessKey, kSecretKey
from harness import Suite

suite = Suite(__file__)
kPool, kBucket = "lagan", "baselines"
kCuts = 120


class Stores:
    """The cluster, and the URLs of its stores."""

    def __init__(self, t):
        self.ceph = Ceph(t, t.dir / "ceph")
        self.make_pool(t, kPool)
        self.ceph.make_user()
        self.ceph.start_gateway()
        self.ceph.wait_for_gateway()
        self.keys = t.dir / "s3.keys"
        self.write_keys(self.keys, kSecretKey)
        self.curl(t, "PUT", f"/{kBucket}")
        self.directory = t.dir / "directory"
        self.directory.mkdir()

    def make_pool(self, t, name):
        t.run(["ceph", "-c", self.ceph.conf, "osd", "pool", "create", name, "1"], timeout=60)

    def write_keys(self, path, secret):
        path.write_text(f"access_key = {kAccessKey}\nsecret_key = {secret}\n")
        path.chmod(0o600)

    def curl(self, t, method, target):
        """A signed request by another implementation's command line; the key goes by a file, not by the arguments."""
        done = t.run(["curl", "-sS", "-f", "-X", method, "--aws-sigv4", "aws:amz:us-east-1:s3", "-K", "-",
                      "-H", f"x-amz-content-sha256: {hashlib.sha256().hexdigest()}",
                      self.ceph.endpoint + target], timeout=60, input=f'user = "{kAccessKey}:{kSecretKey}"\n')
        return done.stdout

    def s3(self, prefix, bucket=kBucket, keys=None, endpoint=None, **options):
        options = {"endpoint": endpoint or self.ceph.endpoint, "credentials": keys or self.keys, **options}
        return f"s3://{bucket}/a/{prefix}?" + urllib.parse.urlencode(options)

    def rados(self, prefix, pool=kPool, conf=None, **options):
        return f"rados://{pool}/a/{prefix}?" + urllib.parse.urlencode({"conf": conf or self.ceph.conf, **options})

    def all(self, prefix):
        """By engine; what one case stores is no other's."""
        folder = self.directory / prefix
        folder.mkdir()
        return {"directory": str(folder), "s3": self.s3(prefix, part_mib=5), "rados": self.rados(prefix)}


@suite.shared
def stores(t):
    return Stores(t)


def ride(t, store, cuts):
    return t.start([t.binary("tests/system/baseline_ride"), store, cuts])


def refusal(t, store):
    done = t.run([t.binary("tests/system/baseline_ride"), store, 1], check=False, timeout=60)
    t.equal(done.status, 1, f"exit status with {store}")
    t.true(kSecretKey not in done.stdout + done.stderr, "the message holds the secret key")
    return done.stdout


@suite.case
def all_engines_do_the_same(t):
    program = t.binary("tests/unit/baseline_store_test")
    listing = t.run([program, "--list_content"])
    names = [line.strip(" *") for line in (listing.stdout + listing.stderr).splitlines() if line.strip()]
    t.true(len(names) >= 7, f"cases of {program}: {names}")
    for engine, store in t.shared.all(t.name).items():
        for name in names:
            done = t.run([program, f"--run_test={name}", "--log_level=message", "--color_output=no"], check=False, timeout=120,
                         env={"LAGAN_TEST_STORE": store, "LAGAN_TEST_SEED": str(t.seed)})
            said = done.stdout + done.stderr
            t.part(f"{engine}.{name}", "" if done.status == 0 else f"exit status {done.status}: {said[-600:]}")


def rides_through(t, store, kill, restart, timeout):
    running = ride(t, store, kCuts)
    running.wait_for("^cut 10$", 60)
    kill()
    running.wait_for("waiting", timeout)  # it has noticed, and does not give up
    cut = running.text().count("\ncut ")
    restart()
    running.wait_for("^done$", 120)
    running.expect_exit(0)
    t.true(cut < kCuts - 1, "the server was killed before the last cut")


@suite.case
def checkpoints_ride_through_a_gateway_that_is_killed(t):
    ceph = t.shared.ceph
    rides_through(t, t.shared.s3(t.name, timeout=2), ceph.gateway.kill, ceph.start_gateway, 60)


@suite.case
def checkpoints_ride_through_an_osd_that_is_killed(t):
    ceph = t.shared.ceph
    rides_through(t, t.shared.rados(t.name, timeout=2), ceph.osd.kill, ceph.start_osd, 60)


def stops(t, store, server):
    """What waits for a server that hangs ends, with a timeout of an hour."""
    running = ride(t, store, 100000)
    running.wait_for("^cut 10$", 60)
    server.signal(signal.SIGSTOP)
    try:
        t.wait_until(lambda: not progress(t, running), "the ride waits for the server")
        running.signal(signal.SIGTERM)
        running.wait_for("unavailable: .*given up", 60)
        running.expect_exit(1)
    finally:
        server.signal(signal.SIGCONT)


def progress(t, running):
    before = running.text()
    time.sleep(1)
    return running.text() != before


@suite.case
def a_gateway_that_hangs_is_given_up(t):
    stops(t, t.shared.s3(t.name, timeout=3600), t.shared.ceph.gateway)


@suite.case
def an_osd_that_hangs_is_given_up(t):
    stops(t, t.shared.rados(t.name, timeout=3600), t.shared.ceph.osd)


@suite.case
def a_listing_that_an_osd_does_not_answer_is_given_up(t):
    osd = t.shared.ceph.osd
    osd.signal(signal.SIGSTOP)  # the first that the ride asks for is what there is
    try:
        running = ride(t, t.shared.rados(t.name, timeout=3600), 1)
        t.wait_until(lambda: not progress(t, running), "the ride waits for the server")
        running.signal(signal.SIGTERM)
        running.wait_for("unavailable: .*given up", 60)
        running.expect_exit(1)
    finally:
        osd.signal(signal.SIGCONT)


@suite.case
def a_killed_writer_is_followed_by_another(t):
    for engine, store in t.shared.all(t.name).items():
        for cut in range(5, 26, 5):
            running = ride(t, store, 1000)
            running.wait_for(f"^cut {cut}$", 60)
            running.kill()
        t.equal(ride(t, store, 40).wait(120), 0, f"the last one on {engine}")


@suite.case
def what_is_set_up_wrongly_is_named(t):
    shared = t.shared
    t.true("missing: " in (said := refusal(t, shared.s3(t.name, bucket="nobody"))) and "no bucket 'nobody'" in said, said)
    t.true("missing: " in (said := refusal(t, shared.rados(t.name, pool="nobody"))) and "no pool 'nobody'" in said, said)
    t.true("missing: " in (said := refusal(t, str(t.dir / "no" / "such"))), said)
    wrong = t.dir / "wrong.keys"
    shared.write_keys(wrong, "guessed")
    t.true("refused: " in (said := refusal(t, shared.s3(t.name, keys=wrong))) and "SignatureDoesNotMatch" in said, said)
    wrong.write_text(f"access_key = SOMEBODY\nsecret_key = {kSecretKey}\n")
    t.true("refused: " in (said := refusal(t, shared.s3(t.name, keys=wrong))) and "InvalidAccessKeyId" in said, said)
    wrong.chmod(0o640)
    t.true("refused: " in (said := refusal(t, shared.s3(t.name, keys=wrong))) and "chmod 600" in said, said)
    t.true("no answer" in (said := refusal(t, shared.s3(t.name, endpoint="http://127.0.0.1:9", timeout=1))), said)
    conf = t.dir / "absent.conf"
    t.true("missing: " in (said := refusal(t, shared.rados(t.name, conf=conf))) and "absent.conf" in said, said)


@suite.case
def a_full_disk_loses_nothing(t):
    small = t.dir / "small"
    small.mkdir()
    t.run(["mount", "-t", "tmpfs", "-o", "size=9m,mode=700", "tmpfs", small])
    t.defer(lambda: t.run(["umount", "-l", small]))
    store = str(small / "store")
    done = t.run([t.binary("tests/system/baseline_ride"), store, 40], check=False, timeout=60)
    t.equal(done.status, 1, "exit status on a full disk")
    t.true("no_space: " in done.stdout and "make room there" in done.stdout, done.stdout)
    cut = done.stdout.count("cut ")
    t.true(cut >= 1, f"cuts before it was full: {done.stdout}")
    t.run(["mount", "-o", "remount,size=64m", small])
    again = t.run([t.binary("tests/system/baseline_ride"), store, 40], timeout=60).stdout.splitlines()
    t.equal(again[0], f"cut {cut + 1}", "the first cut when there was room")
    t.equal(again[-1], "done", "the end")


class MeagreS3(http.server.BaseHTTPRequestHandler):
    """Has no conditional writes, and is busy at two of three requests."""
    requests = 0
    authorizations = set()

    def answer(self):
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        MeagreS3.requests += 1
        MeagreS3.authorizations.add(self.headers.get("Authorization", ""))
        busy = MeagreS3.requests % 3 != 0
        body = b"<Error><Code>SlowDown</Code></Error>" if busy else b"<ListBucketResult></ListBucketResult>"
        self.send_response(503 if busy else 200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    do_GET = do_PUT = answer

    def log_message(self, *_):
        pass


@suite.case
def a_service_without_conditional_writes_is_refused(t):
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), MeagreS3) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        store = t.shared.s3(t.name, endpoint=f"http://127.0.0.1:{server.server_address[1]}")
        said = refusal(t, store)
        server.shutdown()
    t.true("refused: " in said and "ignores If-None-Match" in said, said)
    t.true(MeagreS3.requests >= 9, f"{MeagreS3.requests} requests: a busy service is asked again")
    t.true(all(kAccessKey in each and "SignedHeaders=" in each for each in MeagreS3.authorizations), "all are signed")


@suite.case
def uploads_of_the_dead_are_removed(t):
    shared = t.shared
    key = f"/{kBucket}/a/{t.name}/ride/segments/left"
    t.true("<UploadId>" in shared.curl(t, "POST", key + "?uploads="), "the upload was begun")
    target = f"/{kBucket}?uploads="
    t.true("<UploadId>" in shared.curl(t, "GET", target), "it is listed")
    done = t.run([t.binary("tests/system/baseline_ride"), shared.s3(t.name), 1, 0], timeout=60)
    t.equal(done.status, 0, "a writer")
    t.true("<UploadId>" not in shared.curl(t, "GET", target), "the upload is gone")


if __name__ == "__main__":
    suite.main()
