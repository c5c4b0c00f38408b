"""From the text of an event file to an `EventFile`, or to every fault in it at once.

Owns reading (bounded), TOML's errors, the translation of pydantic's errors into `Fault`s, and the order: syntax, then
keys one by one together with the rules that span keys, then the files that it names. Rules that involve a key which is
wrong by itself are passed over, so that one slip is not reported twice.

The text is what is kept when a file is applied; parsing it again gives the same `EventFile`.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from mux.config.checks import PROJECTS_ALLOWED, checked_files, checked_keys
from mux.config.environment import PREFIX, overridden
from mux.config.faults import ConfigError, Fault, Part, Refused, dotted, kind_of, nearest, shown
from mux.config.reading import decoded, read_bounded
from mux.config.schema import TABLES, EventFile
from mux.config.tables import Key

FILE_BYTES_MAX = 256 * 1024
"""Bound of an event file: sixteen projects with all variables that they may have stay below it."""
DOTS_MAX = 200
"""Dots in one line: a key of many parts takes the parser time that grows with their square."""

Location = tuple[str | int, ...]

_INDEX = re.compile(r"\[[0-9]+\]")
_SECRET_KEYS = frozenset({"passcode", "password", "secret", "token"})
"""Keys that people may try: what belongs there is said instead of a list of keys."""


def load(path: Path, environ: Mapping[str, str]) -> EventFile:
    """Read and check an event file and the files that it names.

    Args:
        path: of the file.
        environ: environment variables; those called ``MUX_…`` may override listeners, paths and secrets.

    Raises:
        ConfigError: with every fault.
    """
    return parse(read_text(path), base=path.parent, environ=environ)


def read_text(path: Path) -> str:
    """The text of an event file, which is what is kept when it is applied. Raises ConfigError."""
    key = shown(path.name)
    return decoded(read_bounded(path, key=key, bytes_max=FILE_BYTES_MAX, what="an event file"), key)


def parse(text: str, *, base: Path, environ: Mapping[str, str], files: bool = True) -> EventFile:
    """Check the text of an event file.

    Args:
        text: TOML.
        base: directory that relative paths start at.
        environ: see `load`.
        files: also check the files that it names. False for a text that was applied earlier: what it named then has
            been taken in, and may be gone.

    Raises:
        ConfigError: with every fault.
    """
    tables, sources = overridden(_toml(text), environ)
    faults: list[Fault] = []
    wrong: set[str] = set()
    try:
        file = EventFile.model_validate(tables)
    except ValidationError as error:
        details = error.errors(include_url=False)
        for detail in details:
            faults.extend(_faults(detail, tables, sources))
            wrong.add(dotted(detail["loc"]))
        salvaged = _salvaged(tables, [detail["loc"] for detail in details])
        if salvaged is None:
            raise ConfigError(faults) from None
        file = salvaged
    faults.extend(_sourced(fault, sources) for fault in checked_keys(file, wrong))
    if files:
        faults.extend(_sourced(fault, sources) for fault in checked_files(file, base, environ, wrong))
    if faults:
        raise ConfigError(faults)
    return file.based(base)


def _toml(text: str) -> dict[str, Any]:
    if len(text) > FILE_BYTES_MAX:
        raise ConfigError([Fault("event file", "a longer text", f"at most {FILE_BYTES_MAX} characters")])
    for number, line in enumerate(text.split("\n"), 1):
        if line.count(".") > DOTS_MAX:
            raise ConfigError(
                [Fault("event file", f"more dots in line {number}", f"at most {DOTS_MAX} dots in a line")]
            )
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        # The message names line and column, and quotes single characters and names of keys at most.
        raise ConfigError([Fault("event file", f"no TOML: {_short(str(error))}", "TOML 1.0")]) from None
    except (ValueError, RecursionError) as error:
        found = (
            "tables or lists nested too deeply" if isinstance(error, RecursionError) else "a number that is too long"
        )
        raise ConfigError([Fault("event file", found, "TOML 1.0 within bounds")]) from None


def _short(message: str) -> str:
    return "".join(character if character.isprintable() else " " for character in message)[:200]


def _sourced(fault: Fault, sources: Mapping[str, str]) -> Fault:
    """The fault under the variable's name, if the value came from one."""
    name = sources.get(fault.key)
    return fault if name is None else Fault(name, fault.found, fault.allowed, fault.nearest, f"for {fault.key}")


def _faults(detail: ErrorDetails, tables: Mapping[str, Any], sources: Mapping[str, str]) -> list[Fault]:
    location = detail["loc"]
    key, where = dotted(location), _where(location, tables)
    said = _said(location)
    if detail["type"] == "extra_forbidden":
        return [_unknown(location, where)]
    missing = detail["type"] == "missing"
    if said is None:
        return [Fault(key, "nothing" if missing else shown(detail["input"]), _table_allowed(location))]
    if missing:
        return [Fault(key, "nothing", f"{said.kind.allowed} (this key must be given)", None, where)]
    error = detail.get("ctx", {}).get("error")
    parts = error.parts if isinstance(error, Refused) else (Part(),)
    found = (kind_of if said.kind.quiet else shown)(detail["input"])
    source = sources.get(key)
    return [
        Fault(
            source or key + _below(part.below),
            part.found or found,
            part.allowed or said.kind.allowed,
            part.nearest,
            f"for {key}" if source else where,
        )
        for part in parts
    ]


def _table_allowed(location: Location) -> str:
    if location == ("project",):
        return PROJECTS_ALLOWED
    return f"a table [[{location[0]}]]" if len(location) > 1 else f"a table [{dotted(location)}]"


def _below(path: str) -> str:
    return path if not path or _INDEX.fullmatch(path) else f".{dotted([path])}"


def _where(location: Location, tables: Mapping[str, Any]) -> str:
    """The project that a key belongs to, by name: people do not count tables."""
    projects = tables.get("project")
    if location[:1] == ("project",) and len(location) > 2 and location[2] != "name" and isinstance(projects, list):
        index = location[1]
        project = projects[index] if isinstance(index, int) else None
        if isinstance(project, dict) and isinstance(project.get("name"), str):
            return f"project {shown(project['name'])}"
    return ""


def _said(location: Location) -> Key | None:
    """What the schema says of the key at ``location``; None for a table, and for a key that it does not know."""
    table = TABLES.get(str(location[0]))
    names = [step for step in location[1:] if isinstance(step, str)]
    if table is None or not names:
        return None
    return next((entry.said for entry in table.entries() if entry.name == names[0]), None)


def _unknown(location: Location, where: str) -> Fault:
    """A key or table that does not exist. Its value is never shown: it may be a secret in the wrong place."""
    name, own = str(location[-1]), str(location[0])
    key, found = dotted(location), "a key that is not known"
    if len(location) == 1:
        near = nearest(name, TABLES) or _elsewhere(name)
        return Fault(key, "a key or table that is not known", f"the tables {', '.join(TABLES)}", near, where)
    if own == "auth" and name.casefold() in _SECRET_KEYS:
        allowed = f"no secret in this file: name a file with passcode_file, or set {PREFIX}PASSCODE"
        return Fault(key, found, allowed, "passcode_file", where)
    known = _names(own)
    return Fault(key, found, f"the keys {', '.join(known)}", nearest(name, known) or _elsewhere(name), where)


def _elsewhere(name: str) -> str | None:
    """The key of any table that is most like ``name``, with its table."""
    tables = {known: f"{table}.{known}" for table in reversed(list(TABLES)) for known in _names(table)}
    near = nearest(name, tables)
    return tables[near] if near else None


def _names(table: str) -> list[str]:
    return [entry.name for entry in TABLES[table].entries()]


def _salvaged(tables: Mapping[str, Any], locations: list[Location]) -> EventFile | None:
    """The file with each wrong key replaced by its example, so that rules that span other keys can be checked too.

    None when that is not enough, because a table is no table.
    """
    patched = {name: _copied(table) for name, table in tables.items()}
    for location in locations:
        said = _said(location)
        parent: Any = patched
        try:
            for step in location[:-1]:
                parent = parent[step]
            if said is not None:
                parent[location[-1]] = said.example
            elif len(location) == 1 and location[0] in TABLES:
                parent[location[0]] = _example(str(location[0]))
            elif len(location) == 2 and location[0] == "project":
                parent[location[1]] = _example("project")[0]
            else:
                parent.pop(location[-1], None)
        except (LookupError, TypeError, AttributeError):
            return None
    try:
        return EventFile.model_validate(patched)
    except ValidationError:
        return None


def _copied(table: Any) -> Any:
    """A copy as deep as keys are replaced; the rest may be nested without end by dotted keys."""
    if isinstance(table, list):
        return [dict(part) if isinstance(part, dict) else part for part in table]
    return dict(table) if isinstance(table, dict) else table


def _example(table: str) -> Any:
    keys = {entry.name: entry.said.example for entry in TABLES[table].entries() if entry.required}
    return [keys] if table == "project" else keys
