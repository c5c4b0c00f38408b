"""A new machine sees its agent to its start: what keeps it is told, and what keeps it for long is the end."""

from __future__ import annotations

import pytest

from mux.providers import ship_stub

ACTIVE, FAILED, AGAIN = {"ActiveState": "active"}, {"ActiveState": "failed"}, {"ActiveState": "activating"}
DOCKER, JOIN, AGENT = ship_stub.ENGINE_UNIT, *ship_stub.UNITS
Look = dict[str, dict[str, str]]


class Machine(ship_stub.Teller):
    """A machine whose units are as told, look by look; the last look lasts. Remembers what is said."""

    def __init__(self) -> None:
        super().__init__({})
        self.words: list[str] = []
        self.looks: list[Look] = [{}]
        self.journal: dict[str, str] = {}
        self.joined_after = 1_000_000
        self.now = 0.0
        self.waits = 0

    def say(self, doing: str, failed: bool = False) -> None:
        self.words.append(doing)

    @property
    def over(self) -> bool:
        return self.waits >= self.joined_after

    def sleep(self, seconds: float) -> None:
        self.now += seconds
        self.waits += 1
        if len(self.looks) > 1:
            self.looks.pop(0)

    def output(self, *words: str, loud: bool = True) -> tuple[int, str]:
        assert not loud, "it is asked again and again, and is not the console's"
        if words[0] == "journalctl":
            return 0, self.journal.get(words[-1].partition("=")[2], "")
        state = {"ActiveState": "inactive", "Result": "success", "NRestarts": "0"} | self.looks[0].get(words[-1], {})
        return 0, "".join(f"{name}={value}\n" for name, value in state.items())


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> Machine:
    made = Machine()
    monkeypatch.setattr(ship_stub, "output", made.output)
    monkeypatch.setattr("time.sleep", made.sleep)
    monkeypatch.setattr("time.monotonic", lambda: made.now)
    return made


def look(*states: dict[str, str]) -> Look:
    """The engine's unit, the one that joins, the agent's; those that are not told do nothing so far."""
    return dict(zip((DOCKER, JOIN, AGENT), states, strict=False))


def again(times: int) -> dict[str, str]:
    """A unit that has failed so often, and is started again."""
    return AGAIN | {"Result": "exit-code", "NRestarts": str(times)}


def test_an_agent_that_starts_is_left_to_itself(machine: Machine) -> None:
    machine.looks = [
        look(AGAIN),
        look(ACTIVE, AGAIN),
        look(ACTIVE, ACTIVE, AGAIN),
        look(*[ACTIVE] * 3),
    ]
    ship_stub.watch("docker", machine)
    assert machine.words == [
        "Docker is starting; see journalctl -u docker.service", ship_stub.AGENT_STARTS, ship_stub.AGENT_RUNS,
    ]  # fmt: skip


def test_one_that_has_joined_is_watched_no_more(machine: Machine) -> None:
    machine.joined_after = 3
    machine.looks = [look(ACTIVE, ACTIVE, AGAIN)]
    ship_stub.watch("docker", machine)
    assert machine.words == []
    assert machine.waits == 3


@pytest.mark.parametrize(
    ("looks", "journal", "why"),
    [
        (
            look(FAILED | {"Result": "exit-code"}),
            {DOCKER: "unable to configure the Docker daemon with file /etc/docker/daemon.json: invalid character\n"},
            "Docker does not start: unable to configure the Docker daemon with file /etc/docker/daemon.json: invalid "
            "character",
        ),
        (
            look(again(2)),
            {DOCKER: 'time="2026-01-01T00:00:00Z" level=fatal msg="Error starting daemon: no overlay"\n'},
            "Docker does not start: Error starting daemon: no overlay",
        ),
        (
            look(ACTIVE, FAILED),
            {JOIN: "ship-agent: 10.0.0.1: there is no way to the mux (Network is unreachable)\n"},
            "the agent does not start: 10.0.0.1: there is no way to the mux (Network is unreachable)",
        ),
        (
            look(ACTIVE, ACTIVE, again(7)),
            {AGENT: '{"event": "agent starts"}\nship-agent: the packet filter does not work\n{"event": "x"}\n\n'},
            "the agent does not start: the packet filter does not work",
        ),
        (look(ACTIVE, ACTIVE, FAILED | {"Result": "timeout"}), {AGENT: "{}\n"}, "the agent does not start: timeout"),
    ],
)
def test_what_keeps_the_agent_is_told_at_once_and_ends_it_when_it_lasts(
    machine: Machine, looks: Look, journal: dict[str, str], why: str
) -> None:
    machine.looks, machine.journal = [looks], journal
    with pytest.raises(ship_stub.StubError) as given_up:
        ship_stub.watch("docker", machine)
    assert str(given_up.value) == why
    assert machine.words == [why], "told once, before it is given up"
    assert machine.now > ship_stub.TROUBLE_S_MAX


def test_trouble_that_passes_is_no_end(machine: Machine) -> None:
    machine.journal = {AGENT: "ship-agent: the engine does not answer\n"}
    bad, good = look(ACTIVE, ACTIVE, again(1)), look(ACTIVE, ACTIVE, AGAIN)
    machine.looks = [*[bad] * 30, *[good] * 2, *[bad] * 30, look(*[ACTIVE] * 3)]
    ship_stub.watch("docker", machine)
    trouble = "the agent does not start: the engine does not answer"
    assert machine.words == [trouble, ship_stub.AGENT_STARTS, trouble, ship_stub.AGENT_RUNS]


def test_a_start_that_takes_for_ever_is_left_to_the_muxs_deadline(machine: Machine) -> None:
    machine.looks = [look(AGAIN)]
    ship_stub.watch("docker", machine)
    assert machine.now >= ship_stub.WATCH_S_MAX
    assert machine.words == ["Docker is starting; see journalctl -u docker.service"]


def test_a_ship_without_containers_waits_for_no_docker(machine: Machine) -> None:
    machine.looks = [look(FAILED, ACTIVE, ACTIVE)]
    ship_stub.watch("process", machine)
    assert machine.words == [ship_stub.AGENT_RUNS]
