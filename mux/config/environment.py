"""The ``MUX_…`` environment variables: which exist, and what each overrides.

Owns the list. They override listeners, paths and secrets only: what the event is, is written in its file. Relative
paths in variables start at the event file's directory, as those in the file do.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

from mux.config.faults import nearest, shown

PREFIX = "MUX_"
PASSCODE = "MUX_PASSCODE"


@dataclass(frozen=True, slots=True)
class Variable:
    """One variable.

    Args:
        overrides: table and key of the event file; None for a secret, which has no key.
        doc: one line for people.
    """

    overrides: tuple[str, str] | None
    doc: str


VARIABLES: Mapping[str, Variable] = MappingProxyType(
    {
        "MUX_LISTEN_PUBLIC": Variable(("listen", "public"), "Where the proxies listen for attendees."),
        "MUX_LISTEN_ADMIN": Variable(("listen", "admin"), "Where the organizers' pages and the admin API listen."),
        "MUX_LISTEN_CONTROL": Variable(("listen", "control"), "Where ships dial in."),
        "MUX_DATA_DIRECTORY": Variable(("data", "directory"), "Where the mux keeps what it must not lose."),
        "MUX_AUTH_ROSTER": Variable(("auth", "roster"), "The roster that the first start imports."),
        "MUX_AUTH_PASSCODE_FILE": Variable(("auth", "passcode_file"), "The file that holds the passcode."),
        "MUX_REGISTRY_CONFIG": Variable(("registry", "config"), "The file with logins of image registries."),
        "MUX_REGISTRY_AUTH": Variable(None, "Logins of image registries, as such a file holds them; goes before it."),
        PASSCODE: Variable(None, "The passcode itself, for mode passcode; goes before any file."),
    }
)
"""Every variable that the event file knows."""


@dataclass(frozen=True, slots=True)
class UnknownVariable:
    """A ``MUX_…`` variable that nothing reads: probably a slip of the pen. Its value is never shown."""

    name: str
    nearest: str | None

    def __str__(self) -> str:
        meant = f"; did you mean {self.nearest}?" if self.nearest else ""
        return f"the environment variable {shown(self.name)} is not known and has no effect{meant}"


def unknown_variables(environ: Iterable[str], also_known: Collection[str] = ()) -> tuple[UnknownVariable, ...]:
    """``MUX_…`` variables that nothing reads, to be warned about.

    Args:
        environ: names that are set.
        also_known: names that other parts read.
    """
    known = {*VARIABLES, *also_known}
    return tuple(
        UnknownVariable(name, nearest(name, sorted(known)))
        for name in sorted(environ)
        if name.startswith(PREFIX) and name not in known
    )


def overridden(raw: Mapping[str, object], environ: Mapping[str, str]) -> tuple[dict[str, object], dict[str, str]]:
    """A file's tables with the variables put in.

    Returns:
        The new tables, and which dotted keys came from which variable.
    """
    tables = dict(raw)
    sources: dict[str, str] = {}
    for name, variable in VARIABLES.items():
        if variable.overrides is None or name not in environ:
            continue
        table, key = variable.overrides
        old = tables.get(table, {})
        if isinstance(old, dict):  # Anything else is a fault of the file, which is reported as such.
            tables[table] = {**old, key: environ[name]}
            sources[f"{table}.{key}"] = name
    return tables, sources
