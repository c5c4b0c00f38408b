"""Commands against a mux: what they ask of it, what they print, with which exit code they end."""

from __future__ import annotations

import json
import stat
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from mux.cli.client import Api
from mux.config import starter_files
from mux.core.events import (
    BroadcastSet,
    DoorsSet,
    Event,
    FleetCooled,
    FleetParked,
    FleetUnparked,
    LaunchingSet,
    ProjectPushed,
    SeatReleased,
    ShipCordoned,
    ShipDeclaredLost,
    ShipDrained,
    ShipReleased,
    ShipReplaced,
    SpendAllowed,
)
from mux.core.model import Doors, ProjectName, UserId
from mux.core.rollout import Pace
from mux.web.admin_api_deps import Plan, SecretValues
from tests.admin.support import HOSTILE, SHIP, FakeApplier, FakeReaper, room, ship_view
from tests.cli.conftest import Cli

# --- the room ---------------------------------------------------------------------------------------------------------


async def test_status_shows_the_room(cli: Cli) -> None:
    said = await cli("status")
    assert (said.code, said.err) == (0, "")
    assert "event     my-workshop" in said.out
    assert "doors     open (set to auto)" in said.out
    assert "1 assigned, 1 ready, 2 in all, 4 wanted" in said.out
    assert "launching stopped: paused by an organizer" in said.out
    assert "project deep is broken: exited 1" in said.out
    assert "project deep may beyond the rule: root, CAP_SYS_PTRACE" in said.out
    assert "ship-0001  running  up    0/2" in said.out
    assert "warning  ship-0001  a notice" in said.out
    assert "snapshots" not in said.out


async def test_status_says_what_the_loss_of_a_ship_would_cost(cli: Cli) -> None:
    view = ship_view()
    seat = replace(view.seats[0], user=UserId("u-ada"), snapshot_lag_s={ProjectName("intro"): 12.34})
    cli.admin.engine.room = room(replace(view, seats=(seat,)))
    assert "snapshots 1 behind, by 12.3 s at most\n" in (await cli("status")).out
    status = json.loads((await cli("status", "--json")).out)
    assert (status["homes_behind"], status["snapshot_lag_s"]) == (1, 12.34)
    assert status["ships"][0]["seats"][0]["snapshot_lag_s"] == {"intro": 12.34}


async def test_status_says_when_nothing_can_be_stored(cli: Cli) -> None:
    cli.admin.engine.room = replace(cli.admin.engine.room, trouble="the disk is full")
    said = await cli("status")
    assert "stuck: the disk is full; what is shown here is not in force before that\n" in said.out


async def test_status_of_a_mux_that_runs_on_from_before_an_upgrade(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    get = Api.get

    def from_before(api: Api, path: str) -> dict[str, Any]:
        return {name: value for name, value in get(api, path).items() if name not in ("trouble", "homes_behind")}

    monkeypatch.setattr(Api, "get", from_before)
    said = await cli("status")
    assert (said.code, said.err) == (0, "")


async def test_status_as_json_is_the_apis_answer(cli: Cli) -> None:
    said = await cli("status", "--json")
    assert said.code == 0
    assert json.loads(said.out) == (await cli.admin.local("GET", "/status")).json


@pytest.mark.parametrize("command", [["status"], ["fleet", "status"]])
async def test_what_a_ship_says_cannot_reach_the_terminal(cli: Cli, command: list[str]) -> None:
    said = await cli(*command)
    assert "\x1b" not in said.out + said.err
    assert "\x07" not in said.out
    assert HOSTILE.replace("\x1b", "\\x1b") in said.out


async def test_reaping_waits_until_nothing_is_left_and_tells_of_others(
    cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mux.cli.reaping.LOOK_S", 0.01)
    reaper = cli.admin.deps.reaper
    assert isinstance(reaper, FakeReaper)
    said = await cli("fleet", "reap", "--yes")
    assert (said.code, said.err) == (0, "")
    assert "3 machines ended, 1 other thing deleted" in said.out
    assert "Another mux has 2 machines of this event's name" in said.out
    assert reaper.asked == [False]
    await cli("fleet", "reap", "--foreign", "--yes")
    assert reaper.asked == [False, True]


async def test_reaping_that_fails_says_what_to_do(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mux.cli.reaping.LOOK_S", 0.01)
    reaper = cli.admin.deps.reaper
    assert isinstance(reaper, FakeReaper)
    reaper.error = "mux may not call TerminateInstances."
    said = await cli("fleet", "reap", "--yes")
    assert said.code != 0
    assert "mux may not call TerminateInstances. Run `mux fleet reap` again." in said.err


async def test_reaping_is_asked_for_first(cli: Cli) -> None:
    said = await cli("fleet", "reap")
    assert said.code == 2
    assert cli.admin.engine.events == []


async def test_fleet_status_shows_what_failed(cli: Cli) -> None:
    said = await cli("fleet", "status")
    assert "ship-0001, seat 1, project deep failed:" in said.out
    assert "    exited 1\n    boom\\x07" in said.out
    found = json.loads((await cli("fleet", "status", "--json")).out)
    assert [ship["id"] for ship in found["ships"]] == ["ship-0001"]


async def test_an_empty_fleet_says_so(cli: Cli) -> None:
    cli.admin.engine.room = replace(room(), projects_broken={})
    assert (await cli("fleet", "status")).out == "There are no ships.\n"


PUSHED = ProjectPushed(ProjectName("intro"), "/images/fix", "sha256:" + "f" * 64, Pace(count=5, idle=True))


@pytest.mark.parametrize(
    ("command", "event"),
    [
        (["doors", "open"], DoorsSet(Doors.OPEN)),
        (["broadcast", "Lunch is ready"], BroadcastSet("Lunch is ready")),
        (["broadcast", "--clear"], BroadcastSet("")),
        (["doors", "close"], DoorsSet(Doors.CLOSED)),
        (["doors", "auto"], DoorsSet(Doors.AUTO)),
        (["fleet", "park", "--yes"], FleetParked()),
        (["fleet", "unpark"], FleetUnparked()),
        (["fleet", "cool"], FleetCooled()),
        (["fleet", "replace", SHIP, "--yes"], ShipReplaced(SHIP)),
        (["fleet", "drain", SHIP], ShipDrained(SHIP)),
        (["spend", "allow", "12.5"], SpendAllowed(12.5)),
        (["push", "intro", "fix", "--no-watch", "--yes", "--max-unavailable", "5", "--when", "idle"], PUSHED),
        (["fleet", "pause"], LaunchingSet(enabled=False)),
        (["fleet", "resume"], LaunchingSet(enabled=True)),
        (["ship", "cordon", SHIP], ShipCordoned(SHIP, cordoned=True)),
        (["ship", "uncordon", SHIP], ShipCordoned(SHIP, cordoned=False)),
        (["ship", "drain", SHIP], ShipDrained(SHIP)),
        (["ship", "drain", SHIP, "--evict", "--yes"], ShipDrained(SHIP, evict=True)),
        (["ship", "lost", SHIP, "--yes"], ShipDeclaredLost(SHIP)),
        (["ship", "release", SHIP, "--yes"], ShipReleased(SHIP)),
    ],
)
async def test_a_command_becomes_one_event_and_says_what_follows(cli: Cli, command: list[str], event: Event) -> None:
    said = await cli(*command)
    assert (said.code, said.err) == (0, "")
    assert said.out.count("\n") == 1
    assert cli.admin.engine.events == [event]
    assert json.loads((await cli(*command, "--json")).out)["ok"] is True


@pytest.mark.parametrize(
    "command",
    [
        ["fleet", "park"],
        ["ship", "drain", SHIP, "--evict"],
        ["ship", "lost", SHIP],
        ["ship", "release", SHIP],
        ["seat", "release", "ada"],
        ["roster", "remove", "ada"],
        ["roster", "remove", "--all"],
        ["roster", "slips"],
    ],
)
async def test_what_cannot_be_undone_needs_a_yes(cli: Cli, command: list[str]) -> None:
    said = await cli(*command)
    assert said.code == 2
    assert "say --yes" in said.err
    assert said.out == ""
    assert cli.admin.engine.events == []


async def test_a_ship_that_nobody_knows_is_one_line_on_stderr(cli: Cli) -> None:
    said = await cli("ship", "cordon", "ship-0002")
    assert (said.code, said.out) == (1, "")
    assert said.err == "mux: there is no ship “ship-0002”; did you mean ship-0001?\n"


async def test_a_seat_is_released_by_name(cli: Cli) -> None:
    await cli("roster", "add", "Ada Lovelace")
    user = await cli.admin.store.find_user("ada lovelace")
    assert user is not None
    cli.admin.engine.room = room(ship_view(user=user.id))
    assert (await cli("seat", "release", "ada lovelace", "--yes")).code == 0
    assert cli.admin.engine.events == [SeatReleased(UserId(user.id))]


# --- people -----------------------------------------------------------------------------------------------------------


@pytest.fixture
def csv(tmp_path: Path) -> Path:
    path = tmp_path / "roster.csv"
    path.write_bytes(b"\xef\xbb\xbf" + "name,email,role\nAda,ada@example.org,\nÉmile,,helper\n".encode())
    return path


async def test_an_import_shows_codes_once(cli: Cli, csv: Path) -> None:
    said = await cli("roster", "import", str(csv))
    assert said.code == 0
    assert "2 created, 0 updated, 0 unchanged." in said.out
    assert "Émile" in said.out
    codes = [line.split()[-1] for line in said.out.splitlines()[2:4]]
    assert all(len(code.replace("-", "")) == 14 for code in codes)
    again = await cli("roster", "import", str(csv))
    assert again.out == "0 created, 0 updated, 2 unchanged.\n"
    listed = await cli("roster", "list")
    assert "ada@example.org" in listed.out
    assert not any(code in listed.out for code in codes)


async def test_slips_are_a_file_that_only_its_owner_reads(cli: Cli, csv: Path, tmp_path: Path) -> None:
    sheet = tmp_path / "slips.html"
    said = await cli("roster", "import", str(csv), "--slips", str(sheet))
    assert said.code == 0
    assert "2 slips are in" in said.out
    assert stat.S_IMODE(sheet.stat().st_mode) == 0o600
    text = sheet.read_text()
    assert "Émile" in text
    assert "http://localhost:8000" in text
    # The code is on the sheet, and not also on the terminal.
    assert "-" not in said.out.splitlines()[0]
    assert not any(word in text for word in said.out.split() if word.count("-") == 3)


async def test_a_sheet_that_exists_is_refused_before_codes_are_made(cli: Cli, csv: Path, tmp_path: Path) -> None:
    sheet = tmp_path / "slips.html"
    sheet.write_text("the old one")
    said = await cli("roster", "import", str(csv), "--slips", str(sheet))
    assert said.code == 1
    assert "exists already" in said.err
    assert await cli.admin.store.users() == []
    assert sheet.read_text() == "the old one"


async def test_a_wrong_roster_shows_every_fault(cli: Cli, tmp_path: Path) -> None:
    path = tmp_path / "wrong.csv"
    path.write_text("name,role\nAda,emperor\n,attendee\n")
    said = await cli("roster", "import", str(path))
    assert (said.code, said.out) == (1, "")
    lines = said.err.splitlines()
    assert len(lines) == 3
    assert lines[1].startswith("  line 2: ")


@pytest.mark.parametrize("content", [b"", b"\xff\xfe\x00", b"name\n" + b"x" * 8_000_001])
async def test_a_file_that_is_no_roster_is_refused_here(cli: Cli, tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "wrong.csv"
    path.write_bytes(content)
    said = await cli("roster", "import", str(path))
    assert said.code == 1
    assert said.err.count("\n") == 1


async def test_everybody_is_removed_at_once(cli: Cli) -> None:
    for name in ("Ada", "Bob"):
        await cli("roster", "add", name)
    cli.admin.engine.room = replace(room(ship_view()), seats_assigned=2)
    refused = await cli("roster", "remove", "--all", "--yes")
    assert (refused.code, refused.out, refused.err.count("\n")) == (1, "", 1)
    assert "2 people still have seats" in refused.err
    cli.admin.engine.room = replace(room(), seats_assigned=0)
    said = await cli("roster", "remove", "--all", "--yes")
    assert (said.code, said.out) == (0, "Removed 2 people: no name and no e-mail address is kept any more.\n")
    assert (await cli("roster", "list")).out.startswith("The roster is empty")


async def test_whom_to_remove_is_said_clearly_or_nobody_goes(cli: Cli) -> None:
    await cli("roster", "add", "Ada")
    cli.admin.engine.room = replace(room(), seats_assigned=0)
    for words in ([], ["ada", "--all"], ["--all", "--release"], [""]):
        assert (await cli("roster", "remove", *words, "--yes")).code != 0
    assert "Ada" in (await cli("roster", "list")).out


async def test_the_life_of_a_roster_entry(cli: Cli) -> None:
    added = await cli("roster", "add", "Ada Lovelace", "--email", "ada@example.org", "--role", "helper", "--json")
    [made] = json.loads(added.out)["codes"]
    assert made["role"] == "helper"
    reset = await cli("roster", "reset", "ada@example.org")
    assert "Ada Lovelace" in reset.out
    assert made["code"] not in reset.out
    removed = await cli("roster", "remove", "Ada Lovelace", "--yes")
    assert removed.out.startswith("Removed Ada Lovelace. The seat is kept")
    assert (await cli("roster", "list")).out.startswith("The roster is empty")


async def test_slips_are_made_again_after_a_yes(cli: Cli, csv: Path) -> None:
    await cli("roster", "import", str(csv))
    said = await cli("roster", "slips", "--yes", "--json")
    assert [one["name"] for one in json.loads(said.out)["codes"]] == ["Ada"]  # helpers keep theirs


async def test_a_name_with_everything_in_it_is_found_again(cli: Cli) -> None:
    name = "Ada/Lovelace? #1 & 50%"
    assert (await cli("roster", "add", name)).code == 0
    assert (await cli("roster", "reset", name)).code == 0
    assert (await cli("roster", "remove", name, "--yes", "--release")).code == 0


async def test_the_life_of_a_token(cli: Cli) -> None:
    assert "no tokens" in (await cli("token", "list")).out
    made = await cli("token", "add", "grafana", "--scope", "read", "--scope", "fleet")
    token = made.out.strip()
    assert (await cli.admin.remote("GET", "/status", token=token)).status == 200
    listed = await cli("token", "list")
    assert "grafana" in listed.out
    assert "read, fleet" in listed.out
    assert token not in listed.out
    assert (await cli("token", "remove", "grafana")).code == 0
    assert (await cli("token", "remove", "grafana")).code == 1


# --- the event file ---------------------------------------------------------------------------------------------------


@pytest.fixture
def event_file(tmp_path: Path) -> Path:
    path = tmp_path / "event.toml"
    path.write_text(starter_files()[Path("event.toml")])
    return path


async def test_apply_shows_the_difference_and_refuses_without_a_yes(cli: Cli, event_file: Path) -> None:
    said = await cli("apply", str(event_file))
    assert said.code == 2
    assert "fleet.attendees  4       8      2 more" in said.out
    assert "say --yes" in said.err
    assert applied(cli) == []


async def test_apply_with_a_yes_applies_what_was_planned(cli: Cli, event_file: Path) -> None:
    said = await cli("apply", str(event_file), "--yes")
    assert said.code == 0
    assert said.out.endswith("Applied.\n")
    assert applied(cli) == [(event_file.read_text(), {})]


async def test_apply_as_json_says_whether_it_applied(cli: Cli, event_file: Path) -> None:
    said = json.loads((await cli("apply", str(event_file), "--yes", "--json")).out)
    assert said["applied"] is True
    assert [change["key"] for change in said["changes"]] == ["fleet.attendees"]


async def test_apply_finds_the_file_by_config(cli: Cli, event_file: Path) -> None:
    assert (await cli("apply", "--config", str(event_file), "--yes")).code == 0


async def test_apply_sends_the_secrets_that_the_file_names_and_shows_none(cli: Cli, event_file: Path) -> None:
    event_file.write_text(event_file.read_text().replace("# secrets = ", "secrets = "))
    (event_file.parent / "secrets.csv").write_text("attendee,KEY\nAda,s3cret\n")
    said = await cli("apply", str(event_file), "--yes")
    assert said.code == 0
    assert "s3cret" not in said.out
    assert applied(cli)[0][1] == {"intro": {"ada": {"KEY": "s3cret"}}}


async def test_a_wrong_file_is_refused_with_every_fault(cli: Cli, event_file: Path) -> None:
    text = event_file.read_text().replace("attendees = 4", "attendees = 0").replace('mode = "roster"', 'mode = "no"')
    event_file.write_text(text)
    said = await cli("apply", str(event_file), "--yes")
    assert said.code == 1
    assert [line.split(":")[0] for line in said.err.splitlines()[1:]] == ["  fleet.attendees", "  auth.mode"]
    assert applied(cli) == []


async def test_nothing_to_change_is_said_and_not_asked(cli: Cli, event_file: Path) -> None:
    class Same(FakeApplier):
        """Nothing ever differs."""

        async def plan(self, text: str, secrets: SecretValues | None) -> Plan:
            return replace(await super().plan("same", None), warnings=())

    object.__setattr__(cli.admin.deps, "applier", Same())
    said = await cli("apply", str(event_file))
    assert (said.code, said.out) == (0, "Nothing changes.\n")


def applied(cli: Cli) -> list[tuple[str, SecretValues | None]]:
    """What was put in force."""
    applier = cli.admin.deps.applier
    assert isinstance(applier, FakeApplier)
    return list(applier.applied)
