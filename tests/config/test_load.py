from __future__ import annotations

import os
from pathlib import Path

import pytest

from mux.config import Address, ConfigError, Listener, load, parse, read_text
from mux.config.faults import FAULTS_MAX, Fault
from mux.config.load import DOTS_MAX, FILE_BYTES_MAX
from tests.config.files import VALID, changed, event_directory, faults_in, faults_of, parsed


def test_a_valid_file_gives_its_values_and_the_defaults_of_the_rest(tmp_path: Path) -> None:
    event_directory(tmp_path)
    (tmp_path / "event.toml").write_text(VALID, encoding="utf-8")
    file = load(tmp_path / "event.toml", {})
    assert file.event.public_address == Address("http", "localhost", 8000)
    assert [project.memory_bytes for project in file.projects] == [2 << 30, 1 << 30]
    assert file.fleet.ships_wanted == 4
    assert file.fleet.effective_ready_seats == 6
    assert file.listen.control == Listener("127.0.0.1", 8002)
    assert file.data_directory == tmp_path / "data"
    assert file.base == tmp_path


def test_every_fault_is_reported_at_once() -> None:
    text = """
        nmae = "x"
        [event]
        name = "two words"
        public_address = "localhost:8000"
        admin_address = "http://127.0.0.1:8001/pages"
        [[project]]
        name = "Intro Course"
        image = "images/intro"
        memory = "2GB"
        memroy = "2GiB"
        [[project]]
        name = "b"
        kind = "jupiter"
        path = "/b/"
        [[project]]
        name = "b"
        image = "images/intro"
        cpu = "two"
        pids = true
        command = ["python3", 3]
        [fleet]
        seat_per_ship = 3
        ready_seats = 0
        heartbeat_s = 30
        [auth]
        mode = "rooster"
        [listen]
        public = 8000
        [volumes]
    """
    faults = faults_in(text)
    nearest = {key: fault.nearest for key, fault in faults.items()}
    assert nearest == {
        "nmae": "event.name",
        "event.name": None,
        "event.public_address": '"http://localhost:8000"',
        "event.admin_address": '"http://127.0.0.1:8001"',
        "project[0].name": '"intro-course"',
        "project[0].memory": '"2GiB"',
        "project[0].memroy": "memory",
        "project[1].image": None,
        "project[1].kind": '"jupyter"',
        "project[1].path": '"/camp/b/"',
        "project[2].name": None,
        "project[2].cpu": None,
        "project[2].pids": None,
        "project[2].command[1]": None,
        "fleet.attendees": None,
        "fleet.seats_per_ship": None,
        "fleet.seat_per_ship": "seats_per_ship",
        "fleet.ready_seats": None,
        "fleet.heartbeat_grace_s": None,
        "auth.mode": '"roster"',
        "listen.public": '"127.0.0.1:8000"',
        "volumes": None,
    }
    assert "1 to 64" in faults["fleet.seats_per_ship"].allowed
    assert faults["fleet.ready_seats"].found == "0"
    assert faults["project[1].kind"].where == 'project "b"'


def test_a_fault_is_one_clear_sentence() -> None:
    fault = faults_in(changed('kind = "http"', 'kind = "htpp"'))["project[1].kind"]
    assert str(fault) == (
        'project[1].kind (project "streaming"): found "htpp"; '
        'allowed: "jupyter" or "camp" or "http"; did you mean "http"?'
    )


@pytest.mark.parametrize(
    ("old", "new", "key"),
    [
        ('public_address = "http://localhost:8000"', 'public_address = "http://127.0.0.1:8000"', "event.admin_address"),
        ('public_address = "http://localhost:8000"', 'public_address = "http://camp.example"', "event.public_address"),
        ("spare_seats = 1", "spare_seats = 1\nready_seats = 8", "fleet.ready_seats"),
        ("spare_seats = 1", "spare_seats = 1\nheartbeat_s = 15", "fleet.heartbeat_grace_s"),
        ("spare_seats = 1", "spare_seats = 1\nlaunch_backoff_s = 200", "fleet.launch_backoff_max_s"),
        ("spare_seats = 1", 'spare_seats = 1\nports = "20000-20010"', "fleet.ports"),
        ("[fleet]", '[listen]\nadmin = "127.0.0.1:8000"\n[fleet]', "listen.admin"),
        ("[fleet]", '[listen]\nadmin = "localhost:8000"\n[fleet]', "listen.admin"),
        ("[fleet]", '[listen]\ncontrol = "[::1]:20001"\n[fleet]', "listen.control"),
        ("[fleet]", '[listen]\npublic = "192.0.2.1:8000"\n[fleet]', "listen.public"),
        ('kind = "http"', 'kind = "camp"', "project[1].kind"),
        ('name = "streaming"', 'name = "intro"', "project[1].name"),
        ('name = "streaming"', 'name = "static"', "project[1].name"),
        ('memory = "2GiB"', 'memory = "1GiB"\nshm = "2GiB"', "project[0].shm"),
        ('memory = "2GiB"', 'path = "/camp/other/"', "project[0].path"),
        ('command = ["python3", "-m", "http.server", "{port}"]', "", "project[1].command"),
    ],
)
def test_keys_that_contradict_each_other_are_one_fault(old: str, new: str, key: str) -> None:
    assert list(faults_in(changed(old, new))) == [key]


@pytest.mark.parametrize(
    "public", ["http://LOCALHOST:9", "http://localhost", "https://localhost:8443", "http://localhost:8001"]
)
def test_organizers_need_another_host_name_and_not_only_another_port(public: str) -> None:
    text = changed("http://127.0.0.1:8001", "http://localhost:8001")
    fault = faults_in(changed("http://localhost:8000", public, text))["event.admin_address"]
    assert "cookies ignore ports" in fault.allowed


def test_a_rule_between_keys_is_passed_over_when_one_of_them_is_wrong_by_itself() -> None:
    text = changed("attendees = 6", "attendees = 0").replace("spare_seats = 1", "spare_seats = 1\nready_seats = 9000")
    assert list(faults_in(text)) == ["fleet.attendees"]


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("[event]\nname = \n", "line 2, column 8"),
        ("[event\n", "line 1"),
        ("[event]\nname = 'a'\nname = 'b'\n", "line 3"),
        ("a = " + "[" * 50_000, "nested too deeply"),
        ("a = " + "9" * 5_000, "too long"),
    ],
)
def test_broken_toml_is_reported_with_its_place(text: str, found: str) -> None:
    assert found in faults_in(text)["event file"].found


@pytest.mark.parametrize("start", ["", "[event]\n", "[[project]]\nname = 'b'\nenvironment."])
@pytest.mark.parametrize("depth", [DOTS_MAX, 50_000])
def test_tables_nested_without_end_are_a_fault(start: str, depth: int) -> None:
    assert faults_in(start + "a" + ".a" * (depth - 1) + " = 1\n")


def test_a_table_that_is_no_table_is_a_fault() -> None:
    assert set(faults_in("event = 3\nproject = {}\nfleet = []\n")) == {"event", "project", "fleet"}
    assert set(faults_in("")) == {"event", "project", "fleet"}
    assert "[[project]]" in faults_in("")["project"].allowed


def test_a_file_that_cannot_be_read_is_a_fault(tmp_path: Path) -> None:
    big, pipe, latin = tmp_path / "big.toml", tmp_path / "pipe", tmp_path / "latin.toml"
    big.write_bytes(b"#" * (FILE_BYTES_MAX + 1))
    os.mkfifo(pipe)
    latin.write_bytes(b"# fine\n# \xe9\n")
    found = {
        path.name: next(iter(faults_of(lambda path=path: read_text(path)).values())).found  # type: ignore[misc]
        for path in (big, pipe, latin, tmp_path, tmp_path / "gone.toml")
    }
    assert found == {
        "big.toml": "a larger file",
        "pipe": "something that is not a file",
        "latin.toml": "bytes that are not UTF-8 in line 2",
        tmp_path.name: "something that is not a file",
        "gone.toml": "no such file",
    }


def test_files_that_are_named_must_be_there(tmp_path: Path) -> None:
    event_directory(tmp_path)
    (tmp_path / "images" / "empty").mkdir()
    (tmp_path / "rooster.csv").write_text("", encoding="utf-8")
    (tmp_path / "taken").write_text("", encoding="utf-8")
    text = changed('image = "images/intro"', 'image = "images/intr"\nsecrets = "none.csv"')
    text = changed('"images/intro"', '"images/empty"', text)
    text += '[auth]\nroster = "roster.csv"\n[data]\ndirectory = "taken/data"\n'
    faults = faults_of(lambda: parse(text, base=tmp_path, environ={}))
    assert {key: fault.nearest for key, fault in faults.items()} == {
        "project[0].image": '"images/intro"',
        "project[0].secrets": None,
        "project[1].image": None,
        "auth.roster": '"rooster.csv"',
        "data.directory": None,
    }
    assert parse(text, base=tmp_path, environ={}, files=False)


@pytest.mark.parametrize("key", ["passcode", "password", "Passcode"])
def test_a_secret_in_the_file_is_refused_and_not_shown(key: str) -> None:
    fault = faults_in(VALID + f'[auth]\n{key} = "sailing-otter"\n')[f"auth.{key}"]
    assert "MUX_PASSCODE" in fault.allowed
    assert "otter" not in str(fault)


def test_values_that_may_be_secret_are_shown_neither_in_faults_nor_in_reprs(tmp_path: Path) -> None:
    text = changed('LEVEL = "three"', 'LEVEL = "three", "BAD NAME" = "hunter-1", HOME = "hunter-2", N = 31337')
    text += '[auth]\npasscode_file = "hunter\\n4"\n[event.extra]\ntoken = "hunter-5"\n'
    text = changed("http://127.0.0.1:8001", "http://me:hunter-6@127.0.0.1:8001", text)
    faults = faults_in(text)
    assert {'project[1].environment."BAD NAME"', "project[1].environment.HOME", "project[1].environment.N"} <= set(
        faults
    )
    shown = "\n".join(map(str, faults.values()))
    assert "hunter" not in shown
    assert "31337" not in shown
    assert "2026" not in repr(parsed(VALID)).replace("camp-2026", "")


def test_the_passcode_file_is_not_named_in_a_fault(tmp_path: Path) -> None:
    event_directory(tmp_path)
    text = VALID + '[auth]\nmode = "passcode"\npasscode_file = "sailing-otter"\n'
    faults = faults_of(lambda: parse(text, base=tmp_path, environ={}))
    assert faults["auth.passcode_file"].found == "no such file"


def test_hostile_names_and_values_are_cut_and_made_printable() -> None:
    name = "\\u001b[31m" + "x" * 5000
    text = changed('"camp-2026"', f'"{name}"') + f'["{name}"]\n'
    for fault in faults_in(text).values():
        assert len(str(fault)) < 400
        assert str(fault).isprintable()


def test_many_faults_are_counted_beyond_a_bound() -> None:
    text = VALID + "".join(f"extra_{number} = 1\n" for number in range(FAULTS_MAX + 40))
    with pytest.raises(ConfigError) as refused:
        parsed(text)
    assert len(refused.value.faults) == FAULTS_MAX + 1
    assert refused.value.faults[-1].found == "40 more faults"


def test_the_error_says_every_fault_on_a_line_of_its_own() -> None:
    faults = [Fault("a", "b", "c"), Fault("d", "e", "f", "g")]
    assert str(ConfigError(faults)) == "a: found b; allowed: c\nd: found e; allowed: f; did you mean g?"
