# SPDX-License-Identifier: BSD-3-Clause
"""A certificate authority of a case's own, by openssl."""
import ssl


class Authority:
    def __init__(self, t, name):
        self.t, self.folder = t, t.dir / name
        self.folder.mkdir()
        self.ca = self.folder / "ca.pem"
        t.run(["openssl", "req", "-x509", "-newkey", "ed25519", "-nodes", "-days", "30", "-subj", f"/CN={name}",
               "-keyout", self.folder / "ca.key", "-out", self.ca])

    def issue(self, name, *alternative, days=30):
        """Certificate and key."""
        key, asked, certificate = (self.folder / f"{name}.{kind}" for kind in ("key", "csr", "pem"))
        names = ["-addext", f"subjectAltName={','.join(alternative)}"] if alternative else []
        self.t.run(["openssl", "req", "-newkey", "ed25519", "-nodes", "-subj", f"/CN={name}", *names, "-keyout", key, "-out", asked])
        self.t.run(["openssl", "x509", "-req", "-in", asked, "-CA", self.ca, "-CAkey", self.folder / "ca.key",
                    "-days", str(days), "-copy_extensions", "copy", "-out", certificate])
        return certificate, key

    def context(self, identity=None):
        """Of a client that trusts this authority, with this certificate and key, or without."""
        context = ssl.create_default_context(cafile=self.ca)
        if identity:
            context.load_cert_chain(*identity)
        return context
