"""The kinds of values by which an event file gives a project further ports, and directories that it shares."""

from __future__ import annotations

import re
from collections.abc import Mapping

from mux.config.faults import Part, Refused, kind_of, shown
from mux.config.kinds import Kind

PORTS_MAX = 8
"""Bound of the control protocol for one project's further ports."""
SHARED_MAX = 8
"""Bound of the control protocol for the directories that one project shares."""
NAME_ALLOWED = "1 to 31 of a-z, 0-9 and -, not - first"
_NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,30}")


def named_ports() -> Kind:
    """Ports by name."""

    def read(value: object) -> Mapping[str, int]:
        if not isinstance(value, dict) or len(value) > PORTS_MAX:
            raise Refused(Part(found=f"a table of {len(value)}") if isinstance(value, dict) else Part())
        wrong = []
        for name, port in value.items():
            if not _NAME.fullmatch(name):
                wrong.append(Part(found="a name that is not allowed", below=name, allowed=NAME_ALLOWED))
            elif isinstance(port, bool) or not isinstance(port, int) or not 1 <= port <= 65535:
                found = shown(str(port)) if isinstance(port, int) and not isinstance(port, bool) else kind_of(port)
                wrong.append(Part(found=found, below=name, allowed="a whole number from 1 to 65535"))
        if wrong:
            raise Refused(*wrong)
        return dict(value)

    allowed = f"a table of at most {PORTS_MAX}, from a name ({NAME_ALLOWED}) to a port from 1 to 65535"
    return Kind("table of ports", allowed, read)


def names(number_max: int) -> Kind:
    """A list of names, each of which may stand in a path."""

    def read(value: object) -> tuple[str, ...]:
        if not isinstance(value, list) or len(value) > number_max:
            raise Refused(Part(found=kind_of(value) if not isinstance(value, list) else None))
        wrong = [
            Part(found=shown(part) if isinstance(part, str) else kind_of(part), below=f"[{index}]")
            for index, part in enumerate(value)
            if not isinstance(part, str) or not _NAME.fullmatch(part)
        ]
        if wrong:
            raise Refused(*wrong)
        return tuple(dict.fromkeys(value))

    return Kind("list of texts", f"a list of at most {number_max} names, each {NAME_ALLOWED}", read)
