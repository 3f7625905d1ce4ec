# SPDX-License-Identifier: BSD-3-Clause
"""Checks that only read the files."""
import pathlib
import re

from sources import Finding, is_code, is_cxx, is_python, text

kMaxLines = 450
kHotPathMark = re.compile(r"^// lagan: hot-path\b", re.MULTILINE)
kColdLine = re.compile(r"// lagan: cold\b")

# What the poll loop may not do, and what to do instead. Matched after comments and strings are blanked out.
kNotInHotPath = [
    (re.compile(r"\b(throw|try|catch)\b"), "exception", "return a status; noexcept"),
    (re.compile(r"\bnew\b(?!\s*\()"), "allocation", "take it from a pool made at start (placement new is fine)"),
    (re.compile(r"(?<!=)(?<!= )\bdelete\b"), "deallocation", "give it back to its pool"),
    (re.compile(r"\b(malloc|calloc|realloc|aligned_alloc|posix_memalign|rte_z?malloc\w*)\s*\("), "allocation",
     "take it from a pool made at start"),
    (re.compile(r"\b(make_unique|make_shared|push_back|emplace_back|resize|reserve)\b"), "allocation",
     "size it once, in cold code"),
    (re.compile(r"\bstd::(string|function|map|unordered_map|deque|list|set|shared_ptr|any)\b"), "allocating type",
     "use a fixed-size type, a function pointer or a template"),
    (re.compile(r"\b(std::)?(mutex|shared_mutex|lock_guard|unique_lock|scoped_lock|condition_variable)\b"), "lock",
     "one writer per field, a ring, or RCU"),
    (re.compile(r"\b(spdlog|fmt)::|\b(f|s|sn)?printf\s*\(|\bputs\s*\(|\bRTE_LOG\s*\(|\b\w*LOG_?(DEBUG|INFO|WARN|ERR)\w*\s*\("
                r"|\bstd::(cout|cerr|clog)\b"), "log", "count it, and punt what needs words to the control thread"),
    (re.compile(r"\b(usleep|nanosleep|sleep|sleep_for|sleep_until|sched_yield|rte_delay_\w+)\s*\("), "sleep",
     "only the loop's own idle back-off may sleep"),
]
kCommentOrString = re.compile(r'//[^\n]*|/\*.*?\*/|"(?:\\.|[^"\\\n])*"|\'(?:\\.|[^\'\\\n])+\'', re.DOTALL)
kLeftOver = re.compile(r"\b(TO" + r"DO|FIX" + r"ME|XX" + r"X)\b")


def blanked(source):
    """The code alone: comments and literals as spaces, every line where it was."""
    def blank(match):
        # 1'000'000: a digit separator, not a literal.
        before = source[match.start() - 1] if match.start() else " "
        if match.group().startswith("'") and before.isalnum():
            return match.group()
        return re.sub(r"[^\n]", " ", match.group())
    return kCommentOrString.sub(blank, source)


def hot_path(files):
    for path in filter(is_cxx, files):
        source = text(path)
        if not kHotPathMark.search(source):
            continue
        for number, (code, line) in enumerate(zip(blanked(source).splitlines(), source.splitlines()), 1):
            if kColdLine.search(line) or code.lstrip().startswith("#"):
                continue
            for pattern, kind, instead in kNotInHotPath:
                found = pattern.search(code)
                if found:
                    yield Finding(path, number, f"{kind} in the hot path ('{found.group().strip()}'): {instead}; a line of "
                                                "cold code ends in '// lagan: cold'")


def spdx(files):
    for path in filter(is_code, files):
        if not any("SPDX-License-Identifier: BSD-3-Clause" in line for line in text(path).splitlines()[:3]):
            yield Finding(path, 1, "no licence line: begin with 'SPDX-License-Identifier: BSD-3-Clause' in a comment")


def length(files):
    for path in filter(is_code, files):
        lines = text(path).count("\n")
        if lines > kMaxLines:
            yield Finding(path, lines, f"{lines} lines, at most {kMaxLines}: split it by concept")


def readme(files):
    folders = {str(parent) for path in files for parent in pathlib.PurePath(path).parents}
    present = set(files)
    for folder in sorted(folders):
        parts = pathlib.PurePath(folder).parts
        # A public include folder is described by the README of the library above it; data folders by their own parent.
        if any(part.startswith(".") or part == "include" for part in parts) or parts[:2] == ("tests", "data"):
            continue
        if str(pathlib.PurePath(folder) / "README.md") not in present:
            yield Finding(folder, 1, "no README.md: say in five to ten lines what is in the folder and where to start")


def left_over(files):
    for path in filter(is_code, files):
        for number, line in enumerate(text(path).splitlines(), 1):
            found = kLeftOver.search(line)
            if found:
                yield Finding(path, number, f"'{found.group()}' left in the code: do it now or leave it to an issue")


def pragma_once(files):
    for path in filter(is_cxx, files):
        # A header for C programs keeps to the standard: a guard will do.
        if path.endswith(".h") and not re.search(r"^#pragma once$|^#ifndef LAGAN_\w*_H$", text(path), re.MULTILINE):
            yield Finding(path, 1, "no '#pragma once'")


def python_syntax(files):
    for path in filter(is_python, files):
        try:
            compile(text(path), path, "exec")
        except SyntaxError as error:
            yield Finding(path, error.lineno or 1, f"{error.msg}: /usr/bin/python3 cannot compile it")
