"""Secret variables of projects, and the passcode: read from files that the event file names.

Owns the CSV format: a header ``attendee,VAR1,VAR2…``; a row whose attendee is ``*`` is for everybody, the others for
the attendee of that name or e-mail address. An empty cell sets nothing.

Rules: nothing that a file holds is ever shown, not even a header (somebody may have left it out): faults name lines
and columns. Names are folded as the roster folds them.
"""

from __future__ import annotations

import csv
import io
import os
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from mux.config.environment import PASSCODE
from mux.config.faults import ConfigError, Fault
from mux.config.kinds import VARIABLE_NAME_ALLOWED, variable_name_ok
from mux.config.reading import decoded, read_bounded
from mux.config.schema import EventFile, resolved
from mux.core.fold import fold
from mux.core.model import ProjectName

SECRETS_BYTES_MAX = 16 * 1024 * 1024
"""Bound of a secrets file: ten thousand attendees with a kilobyte each, and more."""
ROWS_MAX = 20_000
"""Twice the attendees that an event may have."""
VARIABLES_MAX = 64
"""Bound of the control protocol for the secrets of one workspace."""
VALUE_CHARS_MAX = 8192
"""Bound of the control protocol for one secret."""
PASSCODE_CHARS_MIN = 6
"""Shorter ones are guessed."""
PASSCODE_CHARS_MAX = 128
PASSCODE_BYTES_MAX = 4096

EVERYBODY = "*"

ProjectSecrets = Mapping[str, Mapping[str, str]]
"""Attendee's folded name or e-mail address (``*`` for everybody) → variable → value."""
Secrets = Mapping[ProjectName, ProjectSecrets]


def read_secrets(file: EventFile, base: Path) -> Secrets:
    """The secrets of every project that has some, in the shape that the store keeps.

    Args:
        file: the event file.
        base: its directory.

    Raises:
        ConfigError: with every fault of every file, by line.
    """
    secrets: dict[ProjectName, ProjectSecrets] = {}
    faults: list[Fault] = []
    for index, project in enumerate(file.projects):
        if project.secrets is not None:
            try:
                key = f"project[{index}].secrets"
                secrets[ProjectName(project.name)] = read_project_secrets(resolved(base, project.secrets), key=key)
            except ConfigError as error:
                faults.extend(error.faults)
    if faults:
        raise ConfigError(faults)
    return secrets


def secrets_for(secrets: Secrets, project: ProjectName, names: Iterable[str]) -> dict[str, str]:
    """The variables of one attendee's workspace: everybody's, overlaid with their own.

    Args:
        secrets: all of them.
        project: whose workspace.
        names: the attendee's name and e-mail address; empty ones are passed over. Rows of both count, the later wins.
    """
    rows = secrets.get(project, {})
    merged = dict(rows.get(EVERYBODY, {}))
    for name in names:
        folded = fold(name)
        # Nobody becomes everybody by calling themselves so; everybody's are in already.
        if folded and folded != EVERYBODY:
            merged.update(rows.get(folded, {}))
    return merged


def read_project_secrets(path: Path, *, key: str) -> ProjectSecrets:
    """Read one file. ``key`` is what its faults are about. Raises ConfigError with all of them."""
    text = decoded(read_bounded(path, key=key, bytes_max=SECRETS_BYTES_MAX, what="a CSV file of secrets"), key)
    faults: list[Fault] = []
    rows: dict[str, dict[str, str]] = {}
    lines: dict[str, int] = {}
    variables: list[str] | None = None
    for line, cells in _lines(text, key, faults):
        where = f"line {line}"
        if variables is None:
            variables = [cell.strip() for cell in cells[1:]]
            faults.extend(_header_faults(cells, key, where))
            continue
        if len(rows) >= ROWS_MAX:
            faults.append(Fault(key, "more rows", f"at most {ROWS_MAX} rows", None, where))
            break
        if len(cells) != len(variables) + 1:
            faults.append(Fault(key, f"{len(cells)} cells", f"{len(variables) + 1}, as in the header", None, where))
            continue
        attendee = fold(cells[0])
        if not attendee:
            faults.append(Fault(key, "no attendee", "a name, an e-mail address, or * for everybody", None, where))
        elif attendee in rows:
            found = f"the attendee of line {lines[attendee]} again"
            faults.append(Fault(key, found, "one row for each attendee", None, where))
        else:
            faults.extend(_value_faults(cells, key, where))
            lines[attendee] = line
            rows[attendee] = {name: value for name, value in zip(variables, cells[1:], strict=True) if value}
    if variables is None and not faults:
        faults.append(Fault(key, "an empty file", "a header attendee,VAR1,VAR2… and rows"))
    if faults:
        raise ConfigError(faults)
    return rows


def _lines(text: str, key: str, faults: list[Fault]) -> Iterator[tuple[int, list[str]]]:
    """Rows that are not empty, each with the number of its first line; a syntax error ends them."""
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    line = 1
    try:
        for cells in reader:
            if any(cell.strip() for cell in cells):
                yield line, cells
            line = reader.line_num + 1
    except csv.Error:
        allowed = "CSV: quotes around a whole cell, doubled within, and closed; cells of at most 131072 characters"
        faults.append(Fault(key, "a broken row", allowed, None, f"line {line}"))


def _header_faults(cells: list[str], key: str, where: str) -> Iterator[Fault]:
    names = [cell.strip() for cell in cells]
    if names[0].casefold() != "attendee":
        yield Fault(key, "a first line that is no header", "a header attendee,VAR1,VAR2…", None, where)
        return
    if not 1 <= len(names) - 1 <= VARIABLES_MAX:
        yield Fault(key, f"{len(names) - 1} variables", f"1 to {VARIABLES_MAX} variables", None, where)
        return
    for column, name in enumerate(names[1:], start=2):
        at = f"{where}, column {column}"
        if not variable_name_ok(name):
            yield Fault(key, "a name that is not allowed", VARIABLE_NAME_ALLOWED, None, at)
        elif name in names[1 : column - 1]:
            yield Fault(key, "a name that another column has", "each variable once", None, at)


def _value_faults(cells: list[str], key: str, where: str) -> Iterator[Fault]:
    for column, value in enumerate(cells[1:], start=2):
        if len(value) > VALUE_CHARS_MAX or "\0" in value:
            allowed = f"at most {VALUE_CHARS_MAX} characters, no NUL"
            yield Fault(key, "a value that is too long or holds a NUL", allowed, None, f"{where}, column {column}")


def read_passcode(file: EventFile, base: Path, environ: Mapping[str, str]) -> str | None:
    """The event's passcode: from ``MUX_PASSCODE``, or else from the file that ``auth.passcode_file`` names.

    Returns:
        None when the mode takes none.

    Raises:
        ConfigError: there is none, or it is no passcode. It is never shown.
    """
    if file.auth.mode != "passcode":
        return None
    allowed = f"a passcode of {PASSCODE_CHARS_MIN} to {PASSCODE_CHARS_MAX} characters on one line"
    if PASSCODE in environ:
        key, text = PASSCODE, environ[PASSCODE]
    elif file.auth.passcode_file is not None:
        key = "auth.passcode_file"
        path = resolved(base, file.auth.passcode_file)
        data = read_bounded(path, key=key, bytes_max=PASSCODE_BYTES_MAX, what="a file with the passcode")
        if os.name == "posix" and path.stat().st_mode & 0o002:
            raise ConfigError([Fault(key, "a file that everybody may write", "a file that only its owner writes")])
        text = decoded(data, key)
    else:
        found = "no passcode, but mode passcode"
        raise ConfigError([Fault("auth.passcode_file", found, f"a file with the passcode, or {PASSCODE} set")])
    passcode = text.strip()
    if not PASSCODE_CHARS_MIN <= len(passcode) <= PASSCODE_CHARS_MAX or not passcode.isprintable():
        raise ConfigError([Fault(key, "a text that is no passcode", allowed)])
    return passcode
