"""The agent's client against the mux's endpoint, over real TLS on loopback."""

from __future__ import annotations

import asyncio
import stat
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from datetime import timedelta
from pathlib import Path

import pytest
import structlog
from hypothesis import given
from hypothesis import strategies as st
from structlog.typing import EventDict

from mux.config.registry_logins import RegistryLogin
from mux.control import endpoint as endpoint_module
from mux.control.ca import ControlCa
from mux.core.commands import CloseLink, RefuseLink
from mux.core.events import LinkLost, ShipDialed, ShipReported
from mux.core.model import Desired, LinkId
from ship_agent import link_client
from ship_agent.join import Join, JoinError
from ship_agent.link_client import Backoff, LinkClient, LinkRefusedError
from ship_agent.protocol import link as protocol
from ship_agent.protocol.messages import Desired as WireDesired
from ship_agent.protocol.messages import Observed, RegistryLogins
from tests.control.harness import OTHER, SHIP, Mux, now
from tests.ship_agent.protocol.samples import observed

EMPTY = Desired(generation=1, projects=(), workspaces=())
QUICK = Backoff(first_s=0.005, max_s=0.02)


class Ship:
    """An agent with nothing but its link."""

    def __init__(self, join: Join, key_path: Path, observe: Callable[[], Awaitable[Observed]] | None = None) -> None:
        self.desired: asyncio.Queue[WireDesired] = asyncio.Queue()
        self.logins: asyncio.Queue[RegistryLogins] = asyncio.Queue()
        self.observed = 0
        self.client = LinkClient(
            join,
            key_path=key_path,
            on_desired=self.desired.put_nowait,
            on_logins=self.logins.put_nowait,
            observe=observe or self._observe,
            backoff=QUICK,
        )
        self.task = asyncio.create_task(self.client.run(), name=f"client of {join.ship}")

    async def _observe(self) -> Observed:
        self.observed += 1
        return observed(self.observed)

    async def stop(self) -> None:
        self.task.cancel()
        await asyncio.gather(self.task, return_exceptions=True)


MakeShip = Callable[..., Ship]


@pytest.fixture
async def ship(tmp_path: Path) -> AsyncIterator[MakeShip]:
    """Makes ships from join information; one key file each."""
    made: list[Ship] = []

    def make(join: Join, key: str = "agent.key", **given: Callable[[], Awaitable[Observed]]) -> Ship:
        made.append(Ship(join, tmp_path / key, **given))
        return made[-1]

    yield make
    for each in made:
        await each.stop()


@pytest.fixture
def logs() -> Iterator[list[EventDict]]:
    with structlog.testing.capture_logs() as captured:
        yield captured


async def logged(logs: list[EventDict], event: str, code: str = "") -> EventDict:
    """The log entry, once it is there."""
    while True:
        for entry in logs:
            if entry["event"] == event and code in ("", entry.get("code")):
                return entry
        await asyncio.sleep(0.005)


# --- the way it goes ------------------------------------------------------------------------------------------------


async def test_a_ship_links_reports_at_once_and_receives_what_is_desired(mux: Mux, ship: MakeShip) -> None:
    one = ship(mux.join())
    first = await mux.core.seen(ShipReported)
    assert (first.report.seq, first.report.generation) == (1, 1)
    await mux.send(SHIP, EMPTY)
    assert await one.desired.get() == WireDesired(generation=1, projects=[], workspaces=[])


async def test_a_ship_gets_the_logins_of_registries_and_nothing_logs_them(
    mux: Mux, ship: MakeShip, logs: list[EventDict]
) -> None:
    mux.logins = (RegistryLogin("hub:5000", "puller", "the-password"), RegistryLogin("no host", "u", "the-password"))
    one = ship(mux.join())
    wire = (await one.logins.get()).logins
    assert [(login.registry, login.username, login.password) for login in wire] == [
        ("hub:5000", "puller", "the-password")
    ]
    mux.logins = ()
    mux.endpoint.tell_logins()
    assert (await one.logins.get()).logins == []
    assert any("cannot be sent" in entry["event"] for entry in logs)
    assert "the-password" not in str(logs)


async def test_heartbeats_come_without_being_asked_for(tmp_path: Path, ship: MakeShip) -> None:
    mux = Mux(tmp_path / "quick")
    await mux.start(heartbeat_s=0.02)
    try:
        ship(mux.join())
        await mux.core.seen(ShipReported, SHIP, 4)
        assert [event.report.seq for event in mux.core.of(ShipReported)][:4] == [1, 2, 3, 4]
    finally:
        await mux.close()


async def test_many_wishes_to_report_make_few_reports(mux: Mux, ship: MakeShip) -> None:
    one = ship(mux.join())
    await mux.core.seen(ShipReported)
    for _ in range(1000):
        one.client.report_soon()
    await mux.core.reports(SHIP)
    one.client.report_soon()
    await mux.core.reports(SHIP)
    assert one.observed == len(mux.core.of(ShipReported)) == 3


async def test_a_wish_to_report_before_the_link_stands_is_not_lost(mux: Mux, ship: MakeShip) -> None:
    await mux.stop()
    one = ship(mux.join())
    one.client.report_soon()
    await mux.start()
    await mux.core.seen(ShipReported)


async def test_the_agents_key_is_its_own_and_lasts(mux: Mux, ship: MakeShip, tmp_path: Path) -> None:
    one = ship(mux.join())
    await mux.core.seen(ShipDialed)
    await one.stop()
    assert stat.S_IMODE((tmp_path / "agent.key").stat().st_mode) == 0o600
    ship(mux.join())
    second = await mux.core.seen(ShipDialed, count=2)
    assert {event.key for event in mux.core.of(ShipDialed)} == {second.key}


# --- refused --------------------------------------------------------------------------------------------------------


async def test_a_second_claimant_learns_why_and_stops_dialing(mux: Mux, ship: MakeShip) -> None:
    ship(mux.join())
    await mux.core.seen(ShipReported)
    claimant = ship(mux.join(), key="another.key")
    with pytest.raises(LinkRefusedError) as caught:
        await claimant.task
    assert (caught.value.code, caught.value.reason) == ("key_mismatch", "refused: key_mismatch")
    assert mux.core.notices == ["second claimant of ship-0001"]
    await mux.core.seen(LinkLost)
    assert len(mux.core.of(LinkLost)) == 1


async def test_another_ships_join_token_is_refused(mux: Mux, ship: MakeShip) -> None:
    wrong = ship(mux.join(OTHER, join_token=mux.keys.join_token(SHIP)))
    with pytest.raises(LinkRefusedError) as caught:
        await wrong.task
    assert caught.value.code == "bad_token"


async def test_a_refusal_with_retry_is_dialed_again(mux: Mux, ship: MakeShip) -> None:
    mux.core.refuse_with = RefuseLink(SHIP, LinkId(0), "not_yet", "", retry=True)
    ship(mux.join())
    await mux.core.seen(ShipReported)
    assert len(mux.core.of(ShipDialed)) == 2


async def test_a_mux_with_another_ca_is_not_talked_to(
    mux: Mux, ship: MakeShip, tmp_path: Path, logs: list[EventDict]
) -> None:
    foreign = ControlCa.open(tmp_path / "foreign", now())
    ship(mux.join(ca_pem=foreign.pem))
    entry = await logged(logs, "no link")
    assert entry["code"] == "ClientConnectorCertificateError"
    assert mux.core.events == []


async def test_a_mux_whose_certificate_has_ended_is_not_talked_to(
    tmp_path: Path, ship: MakeShip, logs: list[EventDict]
) -> None:
    mux = Mux(tmp_path / "old")
    await mux.start(issued=now() - timedelta(days=120))
    try:
        ship(mux.join())
        assert "expired" in (await logged(logs, "no link"))["detail"]
        assert mux.core.events == []
    finally:
        await mux.close()


async def test_a_mux_under_another_name_is_not_talked_to(tmp_path: Path, ship: MakeShip, logs: list[EventDict]) -> None:
    mux = Mux(tmp_path / "named")
    await mux.start(names=("mux.example", "127.0.0.2"))
    try:
        ship(mux.join())
        assert (await logged(logs, "no link"))["code"] == "ClientConnectorCertificateError"
        assert mux.core.events == []
    finally:
        await mux.close()


async def test_the_certificate_of_the_system_is_not_trusted_beside_the_muxs_own(mux: Mux, tmp_path: Path) -> None:
    context = link_client.client_context(mux.ca.pem)
    assert len(context.get_ca_certs()) == 1
    assert context.check_hostname


@pytest.mark.parametrize("pem", ["", "rubbish", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"])
async def test_a_ca_that_is_no_certificate_is_one_clear_line(mux: Mux, tmp_path: Path, pem: str) -> None:
    async def nothing() -> Observed:
        return observed()

    with pytest.raises(JoinError, match="ca_pem is not a certificate"):
        LinkClient(mux.join(ca_pem=pem), key_path=tmp_path / "key", on_desired=lambda _: None, observe=nothing)


# --- comes and goes -------------------------------------------------------------------------------------------------


async def test_a_ship_comes_back_after_a_restart_of_the_mux(mux: Mux, ship: MakeShip, logs: list[EventDict]) -> None:
    one = ship(mux.join())
    await mux.core.seen(ShipReported)
    await mux.stop()
    await mux.core.seen(LinkLost)
    await logged(logs, "no link", "ClientConnectorError")
    await mux.start()
    await mux.core.seen(ShipDialed, count=2)
    await mux.core.reports(SHIP)
    await mux.send(SHIP, EMPTY)
    await one.desired.get()
    assert mux.core.of(ShipDialed)[0].key == mux.core.of(ShipDialed)[1].key


async def test_a_mux_that_is_away_for_long_is_one_line_in_the_log(
    mux: Mux, ship: MakeShip, logs: list[EventDict], monkeypatch: pytest.MonkeyPatch
) -> None:
    tries = 0
    pause_s = Backoff.pause_s

    def counted(backoff: Backoff, failures: int) -> float:
        nonlocal tries
        tries += 1
        assert failures == tries
        return pause_s(backoff, failures)

    monkeypatch.setattr(Backoff, "pause_s", counted)
    await mux.stop()
    ship(mux.join())
    while tries < 8:
        await asyncio.sleep(0.005)
    assert [entry["event"] for entry in logs] == ["no link"]


async def test_a_link_that_the_core_closes_is_dialed_again(mux: Mux, ship: MakeShip) -> None:
    ship(mux.join())
    dialed = await mux.core.seen(ShipDialed)
    await mux.core.seen(ShipReported)
    await mux.endpoint.carry_out(CloseLink(SHIP, dialed.link))
    await mux.core.seen(ShipDialed, count=2)
    assert mux.core.of(LinkLost) == [LinkLost(SHIP, dialed.link)]


async def test_a_mux_that_takes_the_connection_and_says_nothing_is_left(
    mux: Mux, ship: MakeShip, monkeypatch: pytest.MonkeyPatch, logs: list[EventDict]
) -> None:
    monkeypatch.setattr(link_client, "CONNECT_S", 0.05)

    async def mute(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await _reader.read()
        writer.close()

    server = await asyncio.start_server(mute, "127.0.0.1", 0, ssl=mux.tls.context)
    async with server:
        port = server.sockets[0].getsockname()[1]
        one = ship(mux.join(control_url=f"wss://127.0.0.1:{port}/control"))
        await logged(logs, "no link")
        await one.stop()


async def test_a_mux_that_never_greets_is_left_and_dialed_again(
    mux: Mux, ship: MakeShip, monkeypatch: pytest.MonkeyPatch, logs: list[EventDict]
) -> None:
    monkeypatch.setattr(protocol.MuxEnd, "messages_to_send", lambda _: [])
    with monkeypatch.context() as patch:
        patch.setattr(protocol, "HANDSHAKE_S", 0.05)
        ship(mux.join())
        await logged(logs, "link closed", "handshake_timeout")
    monkeypatch.undo()
    await mux.core.seen(ShipReported)


class Relay:
    """A TCP relay that can go dead without a word, as a network does."""

    def __init__(self, port: int) -> None:
        self._dead = False
        self._port = port
        self._tasks: set[asyncio.Task[None]] = set()
        self._server: asyncio.Server

    async def start(self) -> int:
        self._server = await asyncio.start_server(self._connected, "127.0.0.1", 0)
        port: int = self._server.sockets[0].getsockname()[1]
        return port

    def go_dead(self) -> None:
        """Swallow what comes, and take no new connection."""
        self._dead = True
        self._server.close()

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        far_reader, far_writer = await asyncio.open_connection("127.0.0.1", self._port)
        self._tasks |= {
            asyncio.create_task(self._pump(reader, far_writer)),
            asyncio.create_task(self._pump(far_reader, writer)),
        }

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(65_536):
            if not self._dead:
                writer.write(data)
        if not self._dead:
            writer.close()

    async def stop(self) -> None:
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)


async def test_a_connection_that_goes_dead_without_a_word_is_noticed_at_both_ends(
    mux: Mux, ship: MakeShip, monkeypatch: pytest.MonkeyPatch, logs: list[EventDict]
) -> None:
    monkeypatch.setattr(endpoint_module, "PING_S", 0.1)
    monkeypatch.setattr(link_client, "PING_S", 0.1)
    relay = Relay(mux.port)
    try:
        ship(mux.join(control_url=f"wss://127.0.0.1:{await relay.start()}/control"))
        await mux.core.seen(ShipReported)
        relay.go_dead()
        await mux.core.seen(LinkLost)
        await logged(logs, "no link")
        assert len(mux.core.of(ShipDialed)) == 1
    finally:
        await relay.stop()


async def test_a_ship_that_is_stopped_leaves_no_link(mux: Mux, ship: MakeShip) -> None:
    one = ship(mux.join())
    await mux.core.seen(ShipReported)
    await one.stop()
    await mux.core.seen(LinkLost)
    assert one.task.cancelled()


async def test_a_failing_observe_costs_reports_but_not_the_link(
    tmp_path: Path, ship: MakeShip, logs: list[EventDict]
) -> None:
    mux = Mux(tmp_path / "quick")
    await mux.start(heartbeat_s=0.02)
    answers: list[Observed | Exception] = [OSError("no runtime"), ValueError("no runtime"), observed(5)]

    async def observe() -> Observed:
        answer = answers.pop(0) if len(answers) > 1 else answers[0]
        if isinstance(answer, Exception):
            raise answer
        return answer

    try:
        one = ship(mux.join(), observe=observe)
        reported = await mux.core.seen(ShipReported)
        assert reported.report.generation == 5
        assert len(mux.core.of(ShipDialed)) == 1
        await mux.send(SHIP, EMPTY)
        await one.desired.get()
        assert [entry["event"] for entry in logs if entry["log_level"] == "error"] == ["observing failed"]
    finally:
        await mux.close()


async def test_fifty_ships_link_at_once(mux: Mux, ship: MakeShip) -> None:
    names = [f"ship-{number:04}" for number in range(50)]
    for name in names:
        ship(mux.join(name), key=f"{name}.key")  # type: ignore[arg-type] # a plain name will do
    await mux.core.until(lambda: len({event.ship for event in mux.core.of(ShipReported)}) == 50)
    assert len(mux.core.keys) == 50


async def test_the_join_token_does_not_reach_the_agents_log(mux: Mux, ship: MakeShip, logs: list[EventDict]) -> None:
    join = mux.join(OTHER, join_token=mux.keys.join_token(SHIP))
    wrong = ship(join)
    with pytest.raises(LinkRefusedError) as caught:
        await wrong.task
    assert join.join_token not in str(logs) + repr(join) + str(caught.value)


@given(st.integers(1, 10_000), st.floats(0.001, 10), st.floats(0.001, 100))
def test_pauses_grow_from_nothing_to_the_longest(failures: int, first_s: float, max_s: float) -> None:
    backoff = Backoff(first_s=first_s, max_s=max_s)
    ceiling_s = backoff.ceiling_s(failures)
    assert 0 <= backoff.pause_s(failures) <= ceiling_s <= max_s
    assert backoff.ceiling_s(1) == min(first_s, max_s)
    assert backoff.ceiling_s(failures + 1) == min(max_s, 2 * ceiling_s) or ceiling_s == max_s or failures > 30


def test_pauses_are_spread_over_their_whole_range() -> None:
    pauses = [Backoff(first_s=1.0, max_s=1.0).pause_s(1) for _ in range(500)]
    assert min(pauses) < 0.2
    assert max(pauses) > 0.8
