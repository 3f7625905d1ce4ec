# SPDX-License-Identifier: BSD-3-Clause
"""The files that lint looks at, and what a finding is."""
import functools
import os
import pathlib
import subprocess
from typing import NamedTuple

kRoot = pathlib.Path(__file__).resolve().parents[2]
kCxxSuffixes = {".h", ".cc", ".c"}
kTextSuffixes = kCxxSuffixes | {".py", ".sh", ".toml", ".service", ".js", ".css"}


class Finding(NamedTuple):
    path: str
    line: int
    what: str  # what is wrong and how to mend it, one line

    def __str__(self):
        return f"{self.path}:{self.line}: {self.what}"


def git(*arguments):
    return subprocess.run(["git", "-c", f"safe.directory={kRoot}", "-C", str(kRoot), *arguments], text=True,
                          capture_output=True)


def all_files():
    """Paths relative to the root: what git tracks or would track; every file where there is no git."""
    listed = git("ls-files", "-co", "--exclude-standard")
    if listed.returncode == 0:
        return sorted(path for path in set(listed.stdout.splitlines()) if (kRoot / path).is_file())
    found = []
    for folder, folders, files in os.walk(kRoot):
        folders[:] = [name for name in folders if not name.startswith("build") and name not in (".git", "__pycache__")]
        found += [str((pathlib.Path(folder) / name).relative_to(kRoot)) for name in files]
    return sorted(found)


@functools.lru_cache(maxsize=None)
def text(path):
    return (kRoot / path).read_text(errors="replace")


def suffix(path):
    return pathlib.PurePath(path).suffix


def shebang(path):
    if suffix(path) not in ("", ".py", ".sh"):
        return ""
    with open(kRoot / path, "rb") as file:
        first = file.readline(200)
    return first.decode(errors="replace").strip() if first.startswith(b"#!") else ""


def is_cxx(path):
    return suffix(path) in kCxxSuffixes and not path.startswith("tests/data/")


def is_shell(path):
    return suffix(path) == ".sh" or shebang(path).split("/")[-1] in ("bash", "sh", "env bash")


def is_python(path):
    return suffix(path) == ".py" or "python" in shebang(path)


def is_code(path):
    name = pathlib.PurePath(path).name
    return not path.startswith("tests/data/") and (
        suffix(path) in kTextSuffixes or name in ("meson.build", "meson_options.txt", "Dockerfile") or bool(shebang(path)))
