"""Rules between a project's own port, its further ports, and what is said of them."""

from __future__ import annotations

from collections.abc import Iterator

from mux.config.faults import Fault, shown
from mux.config.schema import EventFile, ProjectTable

Rule = tuple[tuple[str, ...], Fault]
"""The keys that are involved, and the fault."""


def port_rules(file: EventFile) -> Iterator[Rule]:
    """Faults of every project's further ports."""
    for index, project in enumerate(file.projects):
        yield from _ports(project, f"project[{index}]", f"project {shown(project.name)}")


def _ports(project: ProjectTable, key: str, where: str) -> Iterator[Rule]:
    taken = {project.effective_port: "the project's own"}
    for name, port in project.ports.items():
        if port in taken:
            allowed = "a port that no other of the project's has: what listens there is already found"
            found = f"{port}, which is {taken[port]}"
            yield (f"{key}.ports", f"{key}.port"), Fault(f"{key}.ports.{name}", found, allowed, None, where)
        taken.setdefault(port, f"that of {shown(name)}")
    for number, name in enumerate(project.ports_with_prefix):
        if name not in project.ports:
            allowed = "a name of the project's ports"
            yield (
                (f"{key}.ports_with_prefix", f"{key}.ports"),
                Fault(f"{key}.ports_with_prefix[{number}]", shown(name), allowed, None, where),
            )
