"""What a container's log says of its start: did a hook fail, and which?

Pure. Jupyter images have two ways: those of 2018 end with the hook's exit code, today's docker-stacks log "has failed,
continuing execution" and go on. Both name a hook before they run it, and say when they are done with hooks.

Rules: a log is hostile text, so a name is taken only of what lies in one of the hooks' directories, and is bounded.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

HOOK_CHARS_MAX = 100
"""Bound of a hook's name as shown."""
LINE_CHARS_MAX = 2000
"""What is looked at of a line: no image writes longer ones about its hooks."""

_PATH = r"(?P<hook>/[^\s'\"]{0,200}(?:start-notebook\.d|before-notebook\.d)/[^\s'\":;,]{1,200})"
_FAILED = re.compile(rf"{_PATH}['\"]? (?:has )?failed\b")
_BEGUN = re.compile(rf"(?:[Rr]unning(?: executable| hook)?|Sourcing(?: shell script)?):? ['\"]?{_PATH}")
_DONE = re.compile(r"[Dd]one running hooks|Executing the command:")
_OTHER_PLATFORM = re.compile(r"[Ee]xec format error")
_DISK_FULL = re.compile(r"No space left on device|Errno 28|ENOSPC|[Dd]isk quota exceeded")


def failed_hook(line: str) -> str:
    """The name of the hook that a line says has failed; empty if it says no such thing."""
    found = _FAILED.search(line[:LINE_CHARS_MAX])
    return _name(found["hook"]) if found else ""


def hooks_are_done(line: str) -> bool:
    """Whether the start is past its hooks: what comes later in the log is the command's."""
    return "Executing the command:" in line[:LINE_CHARS_MAX]


def hook_under_way(lines: Iterable[str]) -> str:
    """The hook that had begun when the log ended, and so ended the start; empty if none."""
    current = ""
    for line in lines:
        if failed := failed_hook(line):
            return failed
        begun = _BEGUN.search(line[:LINE_CHARS_MAX])
        if begun:
            current = _name(begun["hook"])
        elif _DONE.search(line[:LINE_CHARS_MAX]):
            current = ""
            if hooks_are_done(line):
                break
    return current


def says_disk_full(lines: Iterable[str]) -> bool:
    """Whether a log ends with a full disk."""
    return any(_DISK_FULL.search(line[:LINE_CHARS_MAX]) for line in lines)


def says_other_platform(lines: Iterable[str]) -> bool:
    """Whether a log ends with a program that this machine's processor cannot run (ENOEXEC, execve(2))."""
    return any(_OTHER_PLATFORM.search(line[:LINE_CHARS_MAX]) for line in lines)


def _name(path: str) -> str:
    name = path.rpartition("/")[2][:HOOK_CHARS_MAX].rstrip(".,")
    return "".join(character for character in name if character.isprintable())
