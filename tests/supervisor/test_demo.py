"""The demo says in one line why it cannot run, and never touches what another demo is running on."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from mux import demo
from mux.child import say
from mux.logfile import last_words, logged_to
from mux.supervisor import SupervisorError, lock


def test_a_second_demo_on_one_directory_changes_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    demo.lay_out(tmp_path, 8000)
    before = (tmp_path / "event.toml").read_text()
    held = lock(tmp_path / "data")
    try:
        assert demo.run(tmp_path, port=9000) == 1
    finally:
        os.close(held)
    assert "already running" in capsys.readouterr().err
    assert (tmp_path / "event.toml").read_text() == before
    assert not (tmp_path / "data" / "mux.db").exists()


@pytest.mark.parametrize("roster", ["name,email,role,code\nada\n", "name,email,role,code\n\n", "", "a,b,attendee,c\n"])
def test_a_roster_that_was_changed_beyond_use_is_said(roster: str, tmp_path: Path) -> None:
    (tmp_path / "roster.csv").write_text(roster)
    with pytest.raises(SupervisorError, match=r"roster\.csv.*delete the file"):
        demo.lay_out(tmp_path, 8000)


def test_a_directory_that_cannot_be_written_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "demo").write_text("a file")
    assert demo.run(tmp_path / "demo") == 1
    error = capsys.readouterr().err
    assert error.startswith("mux: ")
    assert len(error.splitlines()) == 1


def test_what_is_started_logs_to_a_file_and_what_is_said_stays(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    log = tmp_path / "mux.log"
    program = "import sys; sys.stderr.write('a line of the log\\nmux: why it ended\\n')"
    with logged_to(log):
        subprocess.run([sys.executable, "-c", program], check=True)
        say("how far it is")
    say("afterwards")
    assert capfd.readouterr().err == "mux: how far it is\nmux: afterwards\n"
    assert log.read_text() == "a line of the log\nmux: why it ended\n"
    assert last_words(log) == ["why it ended"]
    assert last_words(tmp_path / "none") == []


def test_the_people_stay_the_same_from_start_to_start(tmp_path: Path) -> None:
    assert demo.lay_out(tmp_path, 8000) == demo.lay_out(tmp_path, 9000)
