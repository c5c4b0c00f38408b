"""How many files and sockets the control process may have open. Knows nothing of what they are."""

from __future__ import annotations

import contextlib
import resource

DESCRIPTORS = 65_536
"""Each open page of an attendee is a connection of the control process, each ship another: thousands. Systems begin
with 1,024."""


def raise_descriptor_limit(wanted: int = DESCRIPTORS) -> int:
    """Raise the soft limit of open files to ``wanted``, or as far as the hard limit allows; what it is now."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    goal = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
    if soft != resource.RLIM_INFINITY and soft < goal:
        with contextlib.suppress(ValueError, OSError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (goal, hard))
    return resource.getrlimit(resource.RLIMIT_NOFILE)[0]
