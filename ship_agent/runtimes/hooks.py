"""Which hook a start is at, by the end of its log: each kind of runtime has its own words for it.

Pure. A log is hostile text, so a name is bounded and printable.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from ship_agent.runtimes.docker_logs import hook_under_way

_SHIM = re.compile(r"^\[mux\] (?:hook (?P<hook>.{1,200})|start)$")
"""What the shim of a process workspace writes before each hook, and before the command."""


def hook_at(runtime: str, log_text: str) -> str:
    """The hook that had begun last when the log ended; empty if there is none, or the start is past its hooks.

    Args:
        runtime: its name, ``docker`` or ``process``.
        log_text: the end of the log, secrets redacted.
    """
    lines = log_text.splitlines()
    return hook_under_way(lines) if runtime == "docker" else _shim_hook(lines)


def _shim_hook(lines: Iterable[str]) -> str:
    said = [found for line in lines if (found := _SHIM.match(line))]
    hook = (said[-1]["hook"] or "") if said else ""
    return "".join(character for character in hook if character.isprintable())
