"""The roster as CSV: reading what organizers' spreadsheets write, and writing what they read. Pure.

Owns the file's form: columns, separators, and what is wrong with a row by itself. What is wrong with a row beside the
roster is `roster.py`'s to say.

Rules: every fault at once, each with its line; every bound has a name; a cell that a spreadsheet would run as a formula
is written with an apostrophe before it, and read without.
"""

from __future__ import annotations

import csv
import difflib
import io
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from mux.auth.codes import acceptable
from mux.auth.names import clean, email_fault, name_fault
from mux.auth.passwords import PASSWORD_CHARS_MAX
from mux.core.fold import fold
from mux.core.model import Role

ROWS_MAX = 20_000
"""Twenty times the largest event; a file beyond it is some other file."""
FILE_CHARS_MAX = 8_000_000
"""ROWS_MAX rows of the longest name, address and password that people really have."""
FAULTS_MAX = 200
"""Faults that are collected; a file with more is wrong as a whole."""
FAULTS_SHOWN_MAX = 50
PASSWORD_CHARS_MIN = 8
"""NIST SP 800-63B, section 5.1.1.1."""
PASSWORDS_MAX = 2_000
"""Chosen passwords in one import: each takes 0.1 CPU-seconds to hash. More people are better served with codes."""

COLUMNS = ("name", "email", "role", "code", "password")
_ALIASES = {
    "fullname": "name",
    "attendee": "name",
    "mail": "email",
    "emailaddress": "email",
    "logincode": "code",
    "passwd": "password",
}
_SEPARATORS = ",;\t"
_FORMULA = re.compile(r"[=+\-@\t\r]")


@dataclass(frozen=True, slots=True)
class RosterFault:
    """One thing that is wrong with a roster file. ``line`` counts from 1; 0 is the file as a whole."""

    line: int
    text: str

    def __str__(self) -> str:
        return f"line {self.line}: {self.text}" if self.line else self.text


class RosterFaultsError(Exception):
    """A roster file was refused, with everything that is wrong with it. Nothing was changed."""

    def __init__(self, faults: Sequence[RosterFault]) -> None:
        self.faults = tuple(sorted(faults, key=lambda fault: fault.line))
        shown = [str(fault) for fault in self.faults[:FAULTS_SHOWN_MAX]]
        if len(self.faults) > FAULTS_SHOWN_MAX:
            shown.append(f"and {len(self.faults) - FAULTS_SHOWN_MAX} more")
        super().__init__("\n".join(shown))


@dataclass(frozen=True, slots=True)
class RosterRow:
    """One person of a roster file, checked by itself. ``role`` is None where the file says nothing."""

    line: int
    name: str
    email: str
    role: Role | None
    code: str = field(default="", repr=False)
    password: str = field(default="", repr=False)


def decode(data: bytes) -> str:
    """A file's text: UTF-8, or UTF-16 with its mark as spreadsheets also write it.

    Raises:
        RosterFaultsError: it is neither; says in which line.
    """
    encoding = "utf-16" if data[:2] in (b"\xff\xfe", b"\xfe\xff") else "utf-8-sig"
    try:
        return data.decode(encoding)
    except UnicodeDecodeError as error:
        line = data[: error.start].count(b"\n") + 1 if encoding == "utf-8-sig" else 0
        raise RosterFaultsError([RosterFault(line, "not UTF-8; save the file as CSV UTF-8")]) from error


def parse(text: str) -> list[RosterRow]:
    """The rows of a roster file.

    Args:
        text: with a header line; comma, semicolon or tab between cells; any line ends.

    Raises:
        RosterFaultsError: with everything that is wrong.
    """
    if len(text) > FILE_CHARS_MAX:
        raise RosterFaultsError([RosterFault(0, f"the file is longer than {FILE_CHARS_MAX:,} characters")])
    text = text.removeprefix("\ufeff")
    separator = _separator(text)
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=separator, strict=True)
    faults: list[RosterFault] = []
    rows: list[RosterRow] = []
    header: list[str] | None = None
    line = 1
    try:
        for cells in reader:
            start, line = line, reader.line_num + 1
            if not any(cell.strip() for cell in cells):
                continue
            if header is None:
                header, faults = _header(cells, start)
                if "name" not in header:
                    break
                continue
            if len(rows) >= ROWS_MAX or len(faults) >= FAULTS_MAX:
                bound = f"more than {ROWS_MAX:,} rows" if len(rows) >= ROWS_MAX else "too many faults to go on"
                faults.append(RosterFault(start, f"{bound}; the rest was not read"))
                break
            row, found = _row(header, cells, start)
            faults.extend(found)
            rows.append(row)
    except csv.Error as error:
        faults.append(RosterFault(line, f"cannot be read as CSV: {error}"))
    if header is None and not faults:
        faults.append(RosterFault(0, f"the file is empty; its first line names the columns: {','.join(COLUMNS)}"))
    faults.extend(_doubles(rows))
    if sum(1 for row in rows if row.password) > PASSWORDS_MAX:
        faults.append(RosterFault(0, f"more than {PASSWORDS_MAX:,} passwords; leave them out and codes are made"))
    if faults:
        raise RosterFaultsError(faults)
    return rows


def _separator(text: str) -> str:
    head = next((line for line in text[:10_000].splitlines() if line.strip()), "")
    return max(_SEPARATORS, key=head.count)


def _header(cells: Sequence[str], line: int) -> tuple[list[str], list[RosterFault]]:
    """The column that each cell belongs to, and what is wrong. Case, spaces, dashes and underscores do not matter."""
    faults: list[RosterFault] = []
    columns: list[str] = []
    for cell in cells:
        plain = re.sub(r"[\s_.-]", "", fold(cell[:100]))
        column = _ALIASES.get(plain, plain)
        if not plain and cell is cells[-1]:
            column = ""
        elif column not in COLUMNS:
            near = difflib.get_close_matches(plain, [*COLUMNS, *_ALIASES], n=1)
            hint = f"; did you mean {_ALIASES.get(near[0], near[0])}?" if near else ""
            faults.append(RosterFault(line, f"unknown column {_shown(cell)}{hint} Columns are {', '.join(COLUMNS)}."))
        elif column in columns:
            faults.append(RosterFault(line, f"the column {column} is there twice"))
        columns.append(column)
    if "name" not in columns:
        faults.append(RosterFault(line, "there is no column name; the first line of the file names the columns"))
    return columns, faults


def _row(header: Sequence[str], cells: Sequence[str], line: int) -> tuple[RosterRow, list[RosterFault]]:
    faults: list[RosterFault] = []
    if any(cell.strip() for cell in cells[len(header) :]):
        faults.append(RosterFault(line, f"{len(cells)} cells, but {len(header)} columns; quote cells with separators"))
    values = {column: _unguarded(cell) for column, cell in zip(header, cells, strict=False)}
    name, email = clean(values.get("name", "")), values.get("email", "").strip()
    code, password = values.get("code", "").strip(), values.get("password", "")
    if not name:
        faults.append(RosterFault(line, "the name is missing"))
    elif text := name_fault(name):
        faults.append(RosterFault(line, text))
    if email and (text := email_fault(email)):
        faults.append(RosterFault(line, text))
    role, text = role_of(values.get("role", ""))
    if text:
        faults.append(RosterFault(line, text))
    if code and password:
        faults.append(RosterFault(line, "a code and a password; give one of them, or none to have a code made"))
    if code and not acceptable(code):
        text = "this cannot be one of mux's codes; leave it empty to have one made, or use the column password"
        faults.append(RosterFault(line, text))
    if password and (text := password_fault(password)):
        faults.append(RosterFault(line, text))
    return RosterRow(line, name, email, role, code, password), faults


def role_of(text: str) -> tuple[Role | None, str]:
    """The role that a cell names (None when it is empty), and what is wrong with it."""
    folded = fold(text[:100])
    if not folded:
        return None, ""
    names = [role.value for role in Role]
    if folded in names:
        return Role(folded), ""
    near = difflib.get_close_matches(folded, names, n=1)
    hint = f"; did you mean {near[0]}?" if near else ";"
    return None, f"unknown role {_shown(text)}{hint} Roles are {', '.join(names)}."


def password_fault(password: str) -> str:
    """Why this cannot be somebody's password; empty when it can."""
    if len(password) < PASSWORD_CHARS_MIN:
        return f"a password has at least {PASSWORD_CHARS_MIN} characters"
    if len(password) > PASSWORD_CHARS_MAX:
        return f"a password has at most {PASSWORD_CHARS_MAX} characters"
    return ""


def _doubles(rows: Iterable[RosterRow]) -> list[RosterFault]:
    """Names and addresses that two rows share: both are logins, so they share one space."""
    first: dict[str, int] = {}
    return [
        RosterFault(row.line, f"{_shown(text)} is in line {line} already")
        for row in rows
        for text in sorted({fold(row.name), fold(row.email)} - {""})
        if (line := first.setdefault(text, row.line)) != row.line
    ]


def _shown(text: str) -> str:
    """A cell in a message: bounded, and with its invisible characters made visible."""
    return repr(text if len(text) <= 60 else text[:57] + "...")


# --- codes --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class IssuedCode:
    """A code that was just made, with whose it is. The only moment at which it can be printed."""

    name: str
    email: str
    role: Role
    code: str = field(repr=False)


def _unguarded(cell: str) -> str:
    return cell[1:] if cell.startswith("'") and _FORMULA.match(cell[1:]) else cell
