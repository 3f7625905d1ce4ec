# SPDX-License-Identifier: BSD-3-Clause
"""Checks made by other programs: clang-format, shellcheck, the compiler and clang-tidy.

The slow ones remember what passed, by a hash of everything that went into it, in build/lint-cache.
"""
import concurrent.futures
import hashlib
import json
import os
import pathlib
import re
import shlex
import subprocess
import time

from sources import Finding, git, is_cxx, is_shell, kRoot, text

kBuildRoot = pathlib.Path(os.environ.get("LAGAN_BUILD_ROOT", kRoot / "build"))
kInclude = re.compile(r'^\s*#\s*include\s+"([^"]+)"', re.MULTILINE)
kFirstInclude = re.compile(r'\A(?:\s|//[^\n]*\n)*#\s*include\s+"([^"]+)"')
kDiagnostic = re.compile(r"^(.+?):(\d+):\d+: (?:fatal )?(?:error|warning): (.*)$", re.MULTILINE)
kShellcheckLine = re.compile(r"^(.+?):(\d+):\d+: \w+: (.*)$", re.MULTILINE)


def run(argv, input=None):
    return subprocess.run(argv, cwd=kRoot, text=True, errors="replace", input=input, capture_output=True)


def relative(path):
    full = pathlib.Path(path)
    full = full if full.is_absolute() else kRoot / full
    full = full.resolve()
    return str(full.relative_to(kRoot)) if full.is_relative_to(kRoot) else str(full)


def in_parallel(function, items):
    with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
        told = set()  # two sources may find the same fault in a header that both include
        for findings in pool.map(function, items):
            yield from (finding for finding in findings if finding not in told and not told.add(finding))


def clang_format(files):
    chosen = list(filter(is_cxx, files))
    if not chosen:
        return
    told = run(["clang-format", "--dry-run", "--Werror", *chosen])
    seen = set()
    for path, line, _ in kDiagnostic.findall(told.stderr):
        if path not in seen:  # the first place is enough: one command mends the file
            seen.add(path)
            yield Finding(relative(path), int(line), "not formatted: ./tools/lint --fix, or clang-format -i")
    if told.returncode and not seen:
        yield Finding(".clang-format", 1, told.stderr.strip().splitlines()[0])


def fix_format(files):
    chosen = list(filter(is_cxx, files))
    if chosen:
        run(["clang-format", "-i", *chosen])


def shellcheck(files):
    chosen = list(filter(is_shell, files))
    if chosen:
        told = run(["shellcheck", "-x", "-P", "SCRIPTDIR", "-f", "gcc", *chosen])
        for path, line, what in kShellcheckLine.findall(told.stdout):
            yield Finding(relative(path), int(line), what)


class CompileCommands:
    """How meson compiles each file; a header is compiled as its nearest neighbour is."""

    def __init__(self):
        listed = json.loads((kBuildRoot / "compile_commands.json").read_text())
        self.directory = str(kBuildRoot)
        self.of_file = {}
        for entry in listed:
            path = relative(os.path.join(entry["directory"], entry["file"]))
            if (kRoot / path).is_file():
                self.of_file[path] = self._flags(shlex.split(entry["command"]))

    @staticmethod
    def _flags(words):
        """The flags that matter for meaning: not the compiler, the output, the input."""
        kept, skip, keep = [], False, False
        for word in words[1:]:
            if keep:
                kept.append(word)
                keep = False
            elif skip or not word.startswith("-"):
                skip = False
            elif word in ("-o", "-MF", "-MQ", "-MT"):
                skip = True
            elif word in ("-include", "-isystem", "-I"):
                kept.append(word)
                keep = True
            elif word not in ("-c", "-MD", "-MMD") and not word.startswith(("-O", "-fdiagnostics")):
                kept.append(word)
        return kept

    def nearest(self, path):
        """The flags of a source that includes the header, else of one close to it."""
        def rank(source):
            included = kInclude.findall(text(source))
            includes = path in included or pathlib.PurePath(path).name in included
            shared = len(os.path.commonprefix([pathlib.PurePath(path).parts, pathlib.PurePath(source).parts]))
            return includes, shared, source
        return self.of_file[max((source for source in self.of_file if source.endswith(".cc")), key=rank)]


def closure_hash(path, *salt):
    """A hash of the file, of all project files that it includes, and of salt."""
    seen, queue = set(), [path]
    while queue:
        current = queue.pop()
        if current in seen:
            continue
        seen.add(current)
        for included in kInclude.findall(text(current)):
            for candidate in (included, str(pathlib.PurePath(current).parent / included)):
                if (kRoot / candidate).is_file():
                    queue.append(candidate)
    digest = hashlib.sha256("\0".join(salt).encode())
    for name in sorted(seen):
        digest.update(name.encode() + b"\0" + text(name).encode())
    return digest.hexdigest()


def remembered(kind, key):
    return kBuildRoot / "lint-cache" / kind / key


def once(kind, key, check):
    """check()'s findings, or none at once if the same input passed before."""
    mark = remembered(kind, key)
    if mark.exists():
        return []
    findings = list(check())
    if not findings:
        mark.parent.mkdir(parents=True, exist_ok=True)
        mark.touch()
    return findings


def self_contained(files):
    """Each header compiles alone, as the first include of an empty file; those with a C ABI also as C.

    A header that a source of the build includes first has been compiled so by the build.
    """
    commands = CompileCommands()
    built = {match[1] for match in map(kFirstInclude.match, map(text, commands.of_file)) if match}

    def compile_alone(path, argv):
        told = run([*argv, "-fsyntax-only", "-"], input=f'#include "{path}"\n')
        if told.returncode == 0:
            return
        place = kDiagnostic.search(told.stderr)
        where, line, what = place.groups() if place else (path, "1", " ".join(told.stderr.split())[-200:])
        yield Finding(path, 1, f"does not compile alone ({relative(where)}:{line}: {what}): include what it uses")

    def check(path):
        argv = ["g++", "-x", "c++", *absolute(commands.nearest(path)), f"-I{kRoot}"]
        findings = []
        if path not in built:
            findings += once("headers", closure_hash(path, *argv), lambda: compile_alone(path, argv))
        if "__cplusplus" in text(path):  # a header for C as well
            argv = ["gcc", "-x", "c", "-std=c11", "-Wall", "-Wextra", "-Werror", f"-I{kRoot}", f"-I{kRoot}/client/include"]
            findings += once("headers", closure_hash(path, *argv), lambda: compile_alone(path, argv))
        return findings

    def absolute(flags):
        for flag in flags:
            # Meson's include folders are relative to its build folder.
            yield "-I" + os.path.join(commands.directory, flag[2:]) if flag.startswith("-I") else flag

    headers = [path for path in files if is_cxx(path) and path.endswith(".h")]
    if headers and commands.of_file:
        yield from in_parallel(check, headers)


def changed_since(base):
    """Files that differ from base, committed or not."""
    differing = git("diff", "--name-only", base)
    new = git("ls-files", "-o", "--exclude-standard")
    return set(differing.stdout.splitlines()) | set(new.stdout.splitlines())


def default_base():
    """Where this work began: origin/main's branch point, else the commit before this one."""
    chosen = os.environ.get("LAGAN_LINT_BASE")
    if chosen:
        return chosen
    head = git("rev-parse", "HEAD").stdout.strip()
    branch_point = git("merge-base", "HEAD", "origin/main")
    if branch_point.returncode == 0 and branch_point.stdout.strip() != head:
        return branch_point.stdout.strip()
    return "HEAD~1" if git("rev-parse", "--verify", "-q", "HEAD~1").returncode == 0 else ""


def clang_tidy(files, budget_s=None):
    """files: those to look at; a header stands for the .cc file of its name. After budget_s no new file is begun."""
    commands = CompileCommands()
    begin, left_out = time.monotonic(), []
    sources = {path if path.endswith(".cc") else path.removesuffix(".h") + ".cc" for path in files if is_cxx(path)}

    def tidy(path):
        told = run(["clang-tidy", "-p", str(kBuildRoot), "--quiet", "--extra-arg=-Wno-unknown-warning-option", path])
        seen = set()
        for where, line, what in kDiagnostic.findall(told.stdout):
            finding = Finding(relative(where), int(line), what)
            if finding not in seen:
                seen.add(finding)
                yield finding
        if told.returncode and not seen:
            yield Finding(path, 1, f"clang-tidy failed: {(told.stdout + told.stderr).strip()[-200:]}")

    def check(path):
        key = closure_hash(path, text(".clang-tidy"), *commands.of_file[path])
        if budget_s and time.monotonic() - begin > budget_s and not remembered("tidy", key).exists():
            left_out.append(path)
            return []
        return once("tidy", key, lambda: tidy(path))

    yield from in_parallel(check, sorted(path for path in sources if path in commands.of_file))
    if left_out:
        print(f"lint.tidy: {len(left_out)} changed files not looked at within {budget_s} s; ./tools/lint --all does")
