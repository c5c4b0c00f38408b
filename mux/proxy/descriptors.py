"""How many connections this process has descriptors for.

Owns the descriptors' division. Knows nothing of what they are used for but its share. Rules: the soft limit is raised
to what is of use; each client connection may need one more to its upstream; too few to serve a room is an error at the
start, not a surprise in the middle of an event.
"""

from __future__ import annotations

import contextlib
import resource
from dataclasses import dataclass
from typing import Self

from mux.proxy import limits


class DescriptorError(Exception):
    """This process may open too few files; the message is one clear line."""


@dataclass(frozen=True, slots=True)
class Descriptors:
    """What there is room for.

    Args:
        connections: of clients, tunnels included; there is one descriptor more for each one's upstream.
        idle: upstream connections that are kept for the next request.
        pipes: bodies that pass through the kernel at once.
    """

    connections: int
    idle: int
    pipes: int

    @classmethod
    def of(cls, number: int) -> Self:
        """The division of ``number`` descriptors."""
        left = max(0, number - limits.FDS_RESERVED)
        idle = min(limits.POOL_IDLE_MAX, left // limits.FDS_IDLE_SHARE)
        pipes = left // limits.FDS_PIPES_SHARE // limits.PIPE_FDS
        connections = (left - idle - pipes * limits.PIPE_FDS) // 2
        return cls(min(limits.CONNECTIONS_MAX, connections), idle, pipes)

    @classmethod
    def here(cls) -> Self:
        """The division of what this process may open, after raising its soft limit.

        Raises:
            DescriptorError: that is too little to serve anybody.
        """
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        goal = limits.FDS_GOAL if hard == resource.RLIM_INFINITY else min(hard, limits.FDS_GOAL)
        if soft != resource.RLIM_INFINITY and soft < goal:
            with contextlib.suppress(ValueError, OSError):
                resource.setrlimit(resource.RLIMIT_NOFILE, (goal, hard))
                soft = goal
        number = limits.FDS_GOAL if soft == resource.RLIM_INFINITY else soft
        if number < limits.FDS_MIN:
            raise DescriptorError(
                f"this process may open {number} files at most, and needs {limits.FDS_MIN} or better "
                f"{limits.FDS_GOAL}: raise the limit (LimitNOFILE= under systemd, ulimit -n in a shell)"
            )
        return cls.of(number)
