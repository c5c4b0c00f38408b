from __future__ import annotations

from pathlib import Path

import pytest

from mux.config import ConfigError, parse, read_passcode, read_secrets, secrets_for
from mux.config.secrets import ROWS_MAX, VALUE_CHARS_MAX
from mux.core.model import ProjectName
from tests.config.files import VALID, changed, event_directory, faults_of, parsed

INTRO = ProjectName("intro")
WITH_SECRETS = changed('memory = "2GiB"', 'secrets = "secrets.csv"')
HUNTER = "hunter-secret-value"


def secrets_file(directory: Path, text: str) -> Path:
    (directory / "secrets.csv").write_bytes(text.encode())
    return directory


def found_in(directory: Path, text: str) -> list[str]:
    """What is found where, for a secrets file; checked to hold nothing of the file."""
    secrets_file(directory, text)
    with pytest.raises(ConfigError) as refused:
        read_secrets(parsed(WITH_SECRETS), directory)
    assert "hunter" not in str(refused.value)
    assert {fault.key for fault in refused.value.faults} == {"project[0].secrets"}
    return [f"{fault.where}: {fault.found}" for fault in refused.value.faults]


def test_everybodys_row_is_overlaid_with_the_attendees_own(tmp_path: Path) -> None:
    text = "attendee,KEY,REGION\n*,shared,eu\nAda Lovelace,hers,\nbob@example.org,his,us\n"
    secrets = read_secrets(parsed(WITH_SECRETS), secrets_file(tmp_path, text))
    assert secrets == {
        "intro": {
            "*": {"KEY": "shared", "REGION": "eu"},
            "ada lovelace": {"KEY": "hers"},
            "bob@example.org": {"KEY": "his", "REGION": "us"},
        }
    }
    assert secrets_for(secrets, INTRO, ["ada lovelace", ""]) == {"KEY": "hers", "REGION": "eu"}
    assert secrets_for(secrets, INTRO, ["Bob", "BOB@example.org"]) == {"KEY": "his", "REGION": "us"}
    assert secrets_for(secrets, INTRO, ["eve"]) == {"KEY": "shared", "REGION": "eu"}
    assert secrets_for(secrets, ProjectName("other"), ["ada lovelace"]) == {}


def test_an_attendee_called_like_everybody_gets_what_everybody_gets(tmp_path: Path) -> None:
    secrets = read_secrets(parsed(WITH_SECRETS), secrets_file(tmp_path, "attendee,KEY\nada,hers\n"))
    assert secrets_for(secrets, INTRO, ["*"]) == {}


def test_quoted_cells_may_hold_commas_quotes_and_lines(tmp_path: Path) -> None:
    text = '\ufeffAttendee, KEY \r\n\r\nada,"a,""b""\nc"\r\nbob, spaced \r\n'
    secrets = read_secrets(parsed(WITH_SECRETS), secrets_file(tmp_path, text))
    assert secrets[INTRO] == {"ada": {"KEY": 'a,"b"\nc'}, "bob": {"KEY": " spaced "}}


def test_every_fault_is_reported_with_its_line_and_without_values(tmp_path: Path) -> None:
    text = (
        "attendee,KEY,OTHER\n"
        f"ada,{HUNTER},\n"
        f"\n,{HUNTER},x\n"
        f"ADA ,{HUNTER},y\n"
        f"bob,{HUNTER}\n"
        f"eve,{HUNTER}{'x' * VALUE_CHARS_MAX},z\n"
    )
    assert found_in(tmp_path, text) == [
        "line 4: no attendee",
        "line 5: the attendee of line 2 again",
        "line 6: 2 cells",
        "line 7, column 2: a value that is too long or holds a NUL",
    ]


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("", ": an empty file"),
        ("\n\n", ": an empty file"),
        (f"ada,{HUNTER}\n", "line 1: a first line that is no header"),
        ("attendee\nada\n", "line 1: 0 variables"),
        (f"attendee,{HUNTER}\n", "line 1, column 2: a name that is not allowed"),
        ("attendee,MUX_TOKEN\n", "line 1, column 2: a name that is not allowed"),
        ("attendee,KEY,B,KEY\n", "line 1, column 4: a name that another column has"),
        ("attendee," + ",".join(f"V{number}" for number in range(65)), "line 1: 65 variables"),
        (f'attendee,KEY\nada,"{HUNTER}', "line 2: a broken row"),
        (f'attendee,KEY\nada,x\nbob,"a"{HUNTER}', "line 3: a broken row"),
        ("attendee,KEY\n" + "\n".join(f"a{n},x" for n in range(ROWS_MAX + 1)), f"line {ROWS_MAX + 2}: more rows"),
    ],
)
def test_what_is_no_secrets_file_is_refused(tmp_path: Path, text: str, found: str) -> None:
    assert found_in(tmp_path, text) == [found]


def test_bytes_that_are_no_text_are_refused_by_line(tmp_path: Path) -> None:
    (tmp_path / "secrets.csv").write_bytes(b"attendee,KEY\nada,\xff\xfe\n")
    fault = faults_of(lambda: read_secrets(parsed(WITH_SECRETS), tmp_path))["project[0].secrets"]
    assert fault.found == "bytes that are not UTF-8 in line 2"


def test_faults_of_a_secrets_file_are_faults_of_the_event_file(tmp_path: Path) -> None:
    secrets_file(event_directory(tmp_path), "attendee,KEY\nada\n")
    faults = faults_of(lambda: parse(WITH_SECRETS, base=tmp_path, environ={}))
    assert faults["project[0].secrets"].where == "line 2"


PASSCODE = VALID + '[auth]\nmode = "passcode"\npasscode_file = "passcode.txt"\n'


def test_the_passcode_comes_from_the_variable_or_else_from_the_file(tmp_path: Path) -> None:
    (tmp_path / "passcode.txt").write_text("sailing-otter\n", encoding="utf-8")
    assert read_passcode(parsed(PASSCODE), tmp_path, {}) == "sailing-otter"
    assert read_passcode(parsed(PASSCODE), tmp_path, {"MUX_PASSCODE": "rowing-otter"}) == "rowing-otter"
    assert read_passcode(parsed(VALID), tmp_path, {"MUX_PASSCODE": "rowing-otter"}) is None


@pytest.mark.parametrize("passcode", ["", "otter", "x" * 200, "two\nlines", "bell\aring"])
def test_a_passcode_that_is_none_is_refused_and_not_shown(tmp_path: Path, passcode: str) -> None:
    (tmp_path / "passcode.txt").write_text(passcode, encoding="utf-8")
    file = parsed(PASSCODE)
    from_file = faults_of(lambda: read_passcode(file, tmp_path, {}))["auth.passcode_file"]
    from_variable = faults_of(lambda: read_passcode(file, tmp_path, {"MUX_PASSCODE": passcode}))["MUX_PASSCODE"]
    assert from_file.found == from_variable.found == "a text that is no passcode"


def test_mode_passcode_needs_one(tmp_path: Path) -> None:
    text = PASSCODE.replace('passcode_file = "passcode.txt"\n', "")
    assert "MUX_PASSCODE" in faults_of(lambda: read_passcode(parsed(text), tmp_path, {}))["auth.passcode_file"].allowed


def test_a_passcode_file_that_anybody_may_write_is_refused(tmp_path: Path) -> None:
    (tmp_path / "passcode.txt").write_text("sailing-otter", encoding="utf-8")
    (tmp_path / "passcode.txt").chmod(0o646)
    faults = faults_of(lambda: read_passcode(parsed(PASSCODE), tmp_path, {}))
    assert "everybody" in faults["auth.passcode_file"].found
