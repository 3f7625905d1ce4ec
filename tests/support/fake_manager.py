# SPDX-License-Identifier: BSD-3-Clause
"""What a client sees of lagan-mgmtd: who is a region's home. The case says what it answers."""
import http.server
import json
import threading
import urllib.parse



class FakeManager:
    """On a loopback port. homes: region → dict of node (a LagandNode), address, epoch and, if it was, rolled_back."""

    def __init__(self, t):
        self.t, self.homes = t, {}
        self.away = False       # takes connections and closes them
        self.undecided = False  # no home at this moment
        self.asked = 0
        self.token_file = t.dir / "token"
        self.give_token("a-token-for-tests")
        manager = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self):
                manager.asked += 1
                if manager.away:
                    self.close_connection = True
                    return
                status, body = manager.answer(self.path, self.headers.get("Authorization"))
                data = json.dumps(body).encode()
                self.send_response(status)
                self.send_header("Content-Type", "application/json" if status == 200 else "application/problem+json")
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

            def log_message(self, *_):
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        t.defer(self.end)

    def give_token(self, token):
        """And take the one before no more."""
        self.token = token
        self.token_file.write_text(token + "\n")

    def end(self):
        self.server.shutdown()
        self.server.server_close()

    @property
    def url(self):
        return f"http://127.0.0.1:{self.server.server_address[1]}"

    def options(self):
        return ["--manager", self.url, "--token-file", self.token_file]

    def answer(self, target, authorization):
        if authorization != f"Bearer {self.token}":
            return 401, {"status": 401, "detail": "this takes a token"}
        path, _, query = target.partition("?")
        words = path.strip("/").split("/")
        role = urllib.parse.parse_qs(query).get("role", [""])[0]
        if words[:2] != ["v1", "regions"] or words[3:] != ["home"] or words[2] not in self.homes:
            return 404, {"status": 404, "detail": f"there is no region '{words[2] if len(words) > 2 else ''}'"}
        if self.undecided:
            return 503, {"status": 503, "detail": "a failover is under way"}
        home = self.homes[words[2]]
        node = home["node"]
        try:
            grant = node.call("POST", f"/v1/regions/{words[2]}/grants", {"role": role, "ttl_seconds": 60}).body["grant"]
        except (OSError, KeyError):
            return 503, {"status": 503, "detail": f"{node.name} does not answer"}
        return 200, {"node": node.name, "address": home["address"], "port": 7471, "grant": grant, "uid": "00000000000000aa",
                     "epoch": home["epoch"], "state": "ready", "rolled_back": home.get("rolled_back")}
