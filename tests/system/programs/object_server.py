#!/usr/bin/python3
# SPDX-License-Identifier: BSD-3-Clause
"""object_server.py ADDRESS PORT: as much of S3 as a baseline store needs, in memory: one bucket, nobody's signature is looked at. It
can be stopped and cut off as a service can. POST /damage flips a bit of the largest segment
of each region."""
import http.server
import sys
import threading
import urllib.parse
from xml.sax.saxutils import escape


class Objects:
    def __init__(self):
        self.lock = threading.Lock()
        self.content = {}

    def create(self, key, content, only_new):
        with self.lock:
            if only_new and key in self.content:
                return False
            self.content[key] = content
            return True

    def listing(self, prefix, delimiter):
        with self.lock:
            keys = sorted(key for key in self.content if key.startswith(prefix))
        folders = set()
        if delimiter:
            folders = {prefix + rest.split(delimiter)[0] + delimiter for rest in (key[len(prefix):] for key in keys) if delimiter in rest}
            keys = [key for key in keys if delimiter not in key[len(prefix):]]
        return "".join(f"<Contents><Key>{escape(key)}</Key></Contents>" for key in keys) + "".join(
            f"<CommonPrefixes><Prefix>{escape(folder)}</Prefix></CommonPrefixes>" for folder in sorted(folders))

    def damage(self):
        with self.lock:
            largest = {}
            for key, content in self.content.items():
                if "/segments/" not in key:
                    continue
                folder = key.rpartition("/")[0]
                if len(content) > len(self.content.get(largest.get(folder), b"")):
                    largest[folder] = key
            for key in largest.values():
                content = bytearray(self.content[key])
                content[len(content) // 2] ^= 1
                self.content[key] = bytes(content)


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    objects = Objects()

    def reply(self, status, body=b"", length=None):
        self.send_response(status)
        self.send_header("Content-Length", str(len(body) if length is None else length))
        self.end_headers()
        self.wfile.write(body)

    def key(self):
        """And the query. The bucket is the path's first part."""
        path, _, query = self.path.partition("?")
        return urllib.parse.unquote(path).lstrip("/").partition("/")[2], urllib.parse.parse_qs(query, keep_blank_values=True)

    def do_PUT(self):
        key, _ = self.key()
        content = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        made = self.objects.create(key, content, self.headers.get("If-None-Match") == "*")
        self.reply(200 if made else 412)

    def do_GET(self):
        key, query = self.key()
        if "uploads" in query:
            return self.reply(200, b"<ListMultipartUploadsResult></ListMultipartUploadsResult>")
        if not key:
            text = self.objects.listing(query.get("prefix", [""])[0], query.get("delimiter", [""])[0])
            return self.reply(200, f"<ListBucketResult>{text}</ListBucketResult>".encode())
        content = self.objects.content.get(key)
        if content is None:
            return self.reply(404, b"<Error><Code>NoSuchKey</Code></Error>")
        begin, end = self.headers["Range"].removeprefix("bytes=").split("-")
        if int(begin) >= len(content):
            return self.reply(416)
        return self.reply(206, content[int(begin):int(end) + 1])

    def do_HEAD(self):
        content = self.objects.content.get(self.key()[0])
        self.reply(404 if content is None else 200, length=len(content or b""))

    def do_DELETE(self):
        with self.objects.lock:
            self.objects.content.pop(self.key()[0], None)
        self.reply(204)

    def do_POST(self):
        if self.path == "/damage":
            self.objects.damage()
        self.reply(204)

    def log_message(self, *_):
        pass


def main():
    server = http.server.ThreadingHTTPServer((sys.argv[1], int(sys.argv[2])), Handler)
    server.daemon_threads = True
    print("ready", flush=True)
    server.serve_forever()


if __name__ == "__main__":
    main()
