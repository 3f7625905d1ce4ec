# SPDX-License-Identifier: BSD-3-Clause
"""A script that runs itself again in namespaces of its own, so that nothing is left behind however it is killed."""
import pathlib
import subprocess
import sys

kNamespaces = ["unshare", "--pid", "--mount", "--net", "--fork", "--kill-child=KILL"]


def run_inside(script):
    """Runs the script with --inside and the same arguments, and ends with its status; returns if that is not possible here."""
    if subprocess.run([*kNamespaces, "true"], stderr=subprocess.DEVNULL).returncode != 0:
        return
    first = pathlib.Path(__file__).with_name("inside.sh")
    child = subprocess.Popen(["setpriv", "--pdeathsig", "KILL", *kNamespaces, "--mount-proc", "/bin/bash", first,
                              sys.executable, script, "--inside", *sys.argv[1:]])
    try:
        status = child.wait()
    finally:
        child.kill()  # and with it the kernel ends all there is inside
    sys.exit(status if status >= 0 else 128 - status)
