# SPDX-License-Identifier: BSD-3-Clause
"""A script that runs itself again in namespaces of its own, so that nothing is left behind however it is killed."""
import pathlib
import subprocess
import sys

kNamespaces = ["unshare", "--pid", "--mount", "--net", "--fork", "--kill-child=KILL"]


def are_possible():
    return subprocess.run([*kNamespaces, "true"], stderr=subprocess.DEVNULL).returncode == 0


def inside(argv):
    """argv, in namespaces of its own that end with whoever starts it."""
    first = pathlib.Path(__file__).with_name("inside.sh")
    return ["setpriv", "--pdeathsig", "KILL", *kNamespaces, "--mount-proc", "/bin/bash", str(first), *argv]


def run_inside(script):
    """Runs the script with --inside and the same arguments, and ends with its status; returns if that is not possible here."""
    if not are_possible():
        return
    child = subprocess.Popen(inside([sys.executable, script, "--inside", *sys.argv[1:]]))
    try:
        status = child.wait()
    finally:
        child.kill()  # and with it the kernel ends all there is inside
    sys.exit(status if status >= 0 else 128 - status)
