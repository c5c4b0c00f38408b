"""Reading what spreadsheets write, and writing what they read."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mux.auth import roster_csv
from mux.auth.codes import new_code
from mux.auth.roster_csv import (
    IssuedCode,
    RosterFaultsError,
    RosterRow,
    decode,
    parse,
)
from mux.core.model import Role


def _faults(text: str) -> list[str]:
    with pytest.raises(RosterFaultsError) as refused:
        parse(text)
    return [str(fault) for fault in refused.value.faults]


ADA = RosterRow(2, "Ada", "ada@example.org", Role.HELPER)


@pytest.mark.parametrize(
    "text",
    [
        "name,email,role\nAda,ada@example.org,helper\n",
        "\ufeffname,email,role\r\nAda,ada@example.org,helper\r\n",
        "Name;E-Mail;ROLE\r\nAda;ada@example.org;Helper",
        "role\te_mail\tfull name\nhelper\tada@example.org\tAda\n",
        'name,email,role\n"Ada","ada@example.org"," helper "\n\n,,\n',
        "name,email,role,\nAda,ada@example.org,helper,\n",
        "name,mail,role,password,code\n  Ada ,ada@example.org ,helper,,\n",
    ],
)
def test_what_spreadsheets_write_is_read(text: str) -> None:
    assert parse(text) == [ADA]


def test_a_cell_may_hold_separators_quotes_and_line_ends_and_lines_count_right() -> None:
    rows = parse('name,password\n"Lovelace, Ada","a ""quoted"" one"\n\nBob,"two\nlines long"\nCyd,\n')
    assert [(row.line, row.name, row.password) for row in rows] == [
        (2, "Lovelace, Ada", 'a "quoted" one'),
        (4, "Bob", "two\nlines long"),
        (6, "Cyd", ""),
    ]


def test_a_row_without_a_role_says_nothing_about_it() -> None:
    assert parse("name\nAda\n")[0].role is None


def test_every_fault_is_told_at_once_with_its_line() -> None:
    text = (
        "name,emial,role,code,password\n"
        "Ada,,atendee,,\n"
        ",x@example.org,,,\n"
        "Bob,,,1234,\n"
        "Cyd,,,,short\n"
        f"Dan,,,{new_code()},long enough\n"
        "a\u202eb,,,,\n"
        "ada,,,,\n"
    )
    faults = _faults(text)
    expected = [
        ("line 1", "'emial'; did you mean email?"),
        ("line 2", "'atendee'; did you mean attendee?"),
        ("line 3", "the name is missing"),
        ("line 4", "cannot be one of mux's codes"),
        ("line 5", "at least 8 characters"),
        ("line 6", "a code and a password"),
        ("line 7", "U+202E"),
        ("line 8", "'ada' is in line 2 already"),
    ]
    assert len(faults) == len(expected)
    for fault, (line, part) in zip(faults, expected, strict=True):
        assert fault.startswith(line + ":") and part in fault


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ("", "the file is empty"),
        ("\n\n", "the file is empty"),
        ("Ada,ada@example.org\n", "no column name"),
        ("name,Name\nx,y\n", "there twice"),
        ('name\n"Ada\n', "cannot be read as CSV"),
        ("name,email\nAda,not-an-address\n", "name@example.org"),
        ("name,email\nLovelace, Ada, ada@example.org\n", "3 cells, but 2 columns"),
        ("name,email\nAda,bob\nBob,ada@example.org\n", "name@example.org"),
        ("name,email\nx@example.org,\nBob,X@example.org\n", "is in line 2 already"),
        ("name,code\nAda,AAAA-AAAA-AAAA-AA\n", "cannot be one of mux's codes"),
        ("name,password\nAda," + "x" * 300 + "\n", "at most 256"),
    ],
)
def test_a_wrong_file_is_refused(text: str, part: str) -> None:
    assert any(part in fault for fault in _faults(text))


def test_no_fault_shows_a_secret() -> None:
    text = "name,code,password\nAda,my-own-code,\nBob,,s3cret!\nCyd,my-own-code-2,s3cret!!!\n"
    shown = "\n".join(_faults(text))
    assert "my-own-code" not in shown and "s3cret" not in shown


def test_a_file_is_bounded_in_rows_size_and_faults(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(roster_csv, "ROWS_MAX", 10)
    assert len(parse("name\n" + "".join(f"n{n}\n" for n in range(10)))) == 10
    assert _faults("name\n" + "".join(f"n{n}\n" for n in range(11))) == [
        "line 12: more than 10 rows; the rest was not read"
    ]
    monkeypatch.setattr(roster_csv, "ROWS_MAX", 20_000)
    assert len(_faults("name,role\n" + "x,wrong\n" * 5000)) < 3 * roster_csv.FAULTS_MAX
    assert _faults("name\n" + "x" * roster_csv.FILE_CHARS_MAX) == ["the file is longer than 8,000,000 characters"]
    monkeypatch.setattr(roster_csv, "PASSWORDS_MAX", 2)
    assert any(
        "more than 2 passwords" in fault
        for fault in _faults("name,password\n" + "".join(f"n{n},long enough\n" for n in range(3)))
    )


def test_a_long_list_of_faults_is_cut_for_people() -> None:
    with pytest.raises(RosterFaultsError) as refused:
        parse("name,role\n" + "".join(f"n{n},wrong\n" for n in range(80)))
    assert len(refused.value.faults) == 80
    lines = str(refused.value).splitlines()
    assert len(lines) == roster_csv.FAULTS_SHOWN_MAX + 1 and lines[-1] == "and 30 more"


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_files_are_unicode(encoding: str) -> None:
    assert parse(decode("name\nZoë\n".encode(encoding)))[0].name == "Zoë"


def test_a_file_in_another_encoding_is_refused_with_its_line() -> None:
    with pytest.raises(RosterFaultsError, match="line 3: not UTF-8"):
        decode("name\nAda\nZoë\n".encode("latin-1"))


@settings(deadline=None)
@given(st.text(max_size=400))
def test_any_text_is_rows_or_faults(text: str) -> None:
    for head in ("", "name,email,role,code,password\n"):
        try:
            rows = parse(head + text)
        except RosterFaultsError as error:
            assert error.faults
        else:
            assert all(row.name for row in rows)


@settings(deadline=None)
@given(st.binary(max_size=200))
def test_any_bytes_are_text_or_a_fault(data: bytes) -> None:
    try:
        decode(data)
    except RosterFaultsError as error:
        assert error.faults


@pytest.mark.parametrize("name", ["=1+1", "+1", "-1 Ada", "@sum", "=cmd|' /C calc'!A0"])
def test_a_cell_that_a_spreadsheet_was_kept_from_running_is_read_as_it_was(name: str) -> None:
    assert parse(f'name\n"\'{name}"\n')[0].name == name


def test_a_code_shows_in_no_repr() -> None:
    code = new_code()
    assert code not in repr(IssuedCode("Ada", "", Role.ATTENDEE, code))
    assert code not in repr(parse(f"name,code\nAda,{code}\n"))
    assert "long enough" not in repr(parse("name,password\nAda,long enough\n"))
