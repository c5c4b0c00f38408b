"""The control endpoint over real TLS on loopback: honest ships, strangers and hostile ones."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable, Iterator
from pathlib import Path

import aiohttp
import pytest
import structlog
from structlog.typing import EventDict

from mux.control import endpoint as endpoint_module
from mux.core.allowance import Allowance
from mux.core.commands import AcceptLink, CloseLink, RefuseLink, SendDesired
from mux.core.events import LinkLost, ShipDialed, ShipReported
from mux.core.model import Desired, DesiredWorkspace, LinkId, ProjectName, ShipId, UserId, WorkspaceId
from ship_agent.protocol import link as protocol
from ship_agent.protocol.messages import MESSAGE_BYTES_MAX, Challenge, ProtocolError, Refused, Welcome
from ship_agent.protocol.messages import Desired as WireDesired
from tests.control.harness import OTHER, SHIP, Mux, RawShip, as_json
from tests.ship_agent.protocol.samples import DIGEST, observed

MakeShip = Callable[[], RawShip]
EMPTY = Desired(generation=1, projects=(), workspaces=())


def full(count: int) -> Desired:
    """A desired state of so many bound workspaces."""
    return Desired(
        generation=2,
        projects=(),
        workspaces=tuple(
            DesiredWorkspace(
                id=WorkspaceId(f"ship-0001.{number}.intro.1"),
                seat=number,
                project=ProjectName("intro"),
                digest=DIGEST,
                port=20_000,
                wanted="bound",
                user=UserId("u"),
                epoch=1,
            )
            for number in range(count)
        ),
    )


@pytest.fixture
def logs() -> Iterator[list[EventDict]]:
    with structlog.testing.capture_logs() as captured:
        yield captured


# --- who gets in ----------------------------------------------------------------------------------------------------


async def test_a_ship_dials_is_accepted_told_and_heard(mux: Mux, raw_ship: MakeShip) -> None:
    ship = raw_ship()
    assert await ship.link() == Welcome(heartbeat_s=5.0)
    dialed = await mux.core.seen(ShipDialed)
    assert (dialed.ship, dialed.boot, dialed.token_ok) == (SHIP, "boot-1", True)
    assert len(dialed.key) == 64
    await mux.send(SHIP, EMPTY)
    assert await ship.receive() == WireDesired(generation=1, projects=[], workspaces=[])
    await ship.say(observed(1, seq=1))
    reported = await mux.core.seen(ShipReported)
    assert (reported.ship, reported.link, reported.report.generation) == (SHIP, dialed.link, 1)
    await ship.websocket.close()
    assert await mux.core.seen(LinkLost) == LinkLost(SHIP, dialed.link)


async def test_a_second_claimant_with_another_key_is_refused_and_reported(mux: Mux, raw_ship: MakeShip) -> None:
    first, second = raw_ship(), raw_ship()
    await first.link()
    answer = await second.link()
    assert answer == Refused(code="key_mismatch", reason="refused: key_mismatch", retry=False)
    await second.ended()
    assert mux.core.notices == ["second claimant of ship-0001"]
    await first.say(observed(1, seq=1))
    await mux.core.seen(ShipReported)
    assert (await mux.core.seen(LinkLost)).link != mux.core.links[SHIP]


async def test_the_bound_key_may_come_back_without_a_good_token(mux: Mux, raw_ship: MakeShip) -> None:
    ship = raw_ship()
    await ship.link()
    await ship.websocket.close()
    assert isinstance(await ship.link(join_token="forgotten"), Welcome)
    assert [event.token_ok for event in mux.core.of(ShipDialed)] == [True, False]


async def test_the_join_token_of_one_ship_is_no_good_for_another(mux: Mux, raw_ship: MakeShip) -> None:
    ship = raw_ship()
    answer = await ship.link(OTHER, join_token=mux.keys.join_token(SHIP))
    assert isinstance(answer, Refused)
    assert answer.code == "bad_token"
    assert OTHER not in mux.core.keys


async def test_a_hello_replayed_from_another_connection_is_refused_and_never_reaches_the_core(
    mux: Mux, raw_ship: MakeShip
) -> None:
    honest, thief = raw_ship(), raw_ship()
    await honest.connect()
    challenge = await honest.receive()
    assert isinstance(challenge, Challenge)
    hello = honest.hello(challenge)
    await honest.say(hello)
    await mux.core.seen(ShipDialed)
    await thief.connect()
    other = await thief.receive()
    assert isinstance(other, Challenge)
    assert other.nonce != challenge.nonce
    await thief.say(hello)
    answer = await thief.receive()
    assert isinstance(answer, Refused)
    assert answer.code == "bad_signature"
    await thief.ended()
    assert len(mux.core.of(ShipDialed)) == 1


async def test_a_signature_for_another_servers_certificate_is_refused(mux: Mux, raw_ship: MakeShip) -> None:
    """Somebody in the middle with a certificate of their own cannot pass a ship's Hello on."""
    ship = raw_ship()
    await ship.connect()
    challenge = await ship.receive()
    assert isinstance(challenge, Challenge)
    hello = ship.hello(challenge)
    mux.endpoint._server_certificate_sha256 = "0" * 64
    relayed = raw_ship()
    await relayed.connect()
    challenge = await relayed.receive()
    assert isinstance(challenge, Challenge)
    await relayed.say(relayed.hello(challenge))
    answer = await relayed.receive()
    assert isinstance(answer, Refused)
    assert answer.code == "bad_signature"
    await ship.say(hello)
    assert isinstance(await ship.receive(), Welcome)


async def test_a_key_that_is_no_key_is_refused(mux: Mux, raw_ship: MakeShip) -> None:
    ship = raw_ship()
    await ship.connect()
    challenge = await ship.receive()
    assert isinstance(challenge, Challenge)
    await ship.say(ship.hello(challenge).model_copy(update={"public_key": "f" * 64}))
    answer = await ship.receive()
    assert isinstance(answer, Refused)
    assert answer.code == "bad_signature"


async def test_a_newer_link_of_the_same_ship_replaces_the_older_one(mux: Mux, raw_ship: MakeShip) -> None:
    older = raw_ship()
    await older.link()
    newer = raw_ship()
    newer.key = older.key
    assert isinstance(await newer.link(), Welcome)
    await older.ended()
    lost = await mux.core.seen(LinkLost)
    assert lost.link == mux.core.of(ShipDialed)[0].link
    assert len(mux.core.of(LinkLost)) == 1


async def test_plain_requests_get_no_link(mux: Mux) -> None:
    context = ssl.create_default_context(cadata=mux.ca.pem)
    base = mux.url.replace("wss", "https")
    async with aiohttp.ClientSession() as session:
        async with session.get(base, ssl=context) as answer:
            assert answer.status == 400
        async with session.post(base, ssl=context) as answer:
            assert answer.status == 405
        async with session.get(base + "/../status", ssl=context) as answer:
            assert answer.status == 404
    assert mux.core.events == []


# --- bad and hostile ------------------------------------------------------------------------------------------------


async def test_rubbish_of_every_kind_brings_nothing_down(
    mux: Mux, raw_ship: MakeShip, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(protocol, "RATE_PER_S", 1000.0)  # a flood is read to its end within this test
    honest = raw_ship()
    await honest.link()

    async def binary(ship: RawShip) -> None:
        await ship.websocket.send_bytes(b"\x00\xff" * 100)

    async def garbage(ship: RawShip) -> None:
        await ship.websocket.send_str("{" * 1000)

    async def huge(ship: RawShip) -> None:
        await ship.websocket.send_str("x" * (MESSAGE_BYTES_MAX + 1))

    async def not_utf8(ship: RawShip) -> None:
        await ship.websocket.send_frame(b"\xff\xfe", aiohttp.WSMsgType.TEXT)

    async def ping_flood(ship: RawShip) -> None:
        for _ in range(200):
            await ship.websocket.ping(b"p" * 125)

    async def cut_off(ship: RawShip) -> None:
        transport = ship.websocket._response.connection.transport  # type: ignore[union-attr]
        transport.write(b"\x81\xff\x00\x00\x00\x00\x00\x10\x00\x00half a frame")  # type: ignore[union-attr]
        transport.close()  # type: ignore[union-attr]

    async def early_report(ship: RawShip) -> None:
        await ship.say(observed(1, seq=1))

    for hostile in (binary, garbage, huge, not_utf8, ping_flood, cut_off, early_report):
        stranger, insider = raw_ship(), raw_ship()
        await stranger.connect()
        await hostile(stranger)
        insider.key = honest.key
        assert isinstance(await insider.link(OTHER), Welcome)
        await hostile(insider)
        await honest.say(observed(1, seq=1))
        await stranger.websocket.close()
        await insider.websocket.close()
        mux.core.keys.pop(OTHER)
    await mux.core.seen(ShipReported, SHIP, 7)
    assert mux.core.of(LinkLost, SHIP) == []


async def test_a_bad_message_is_answered_and_logged_once_for_each_link_and_code(
    mux: Mux, raw_ship: MakeShip, logs: list[EventDict]
) -> None:
    ship = raw_ship()
    await ship.link()
    for _ in range(5):
        await ship.websocket.send_str('{"type": "observed", "the-secret": 1}')
        answer = await ship.receive()
        assert isinstance(answer, ProtocolError)
        assert answer.code == "invalid"
    await ship.websocket.send_bytes(b"x")
    await ship.receive()
    await ship.say(observed(1, seq=1))
    await mux.core.seen(ShipReported)
    bad = [entry for entry in logs if entry["event"] == "bad message from a ship"]
    assert [entry["code"] for entry in bad] == ["invalid", "binary"]
    assert "the-secret" not in str(logs)


async def test_a_ship_that_sends_nothing_but_rubbish_is_dropped(mux: Mux, raw_ship: MakeShip) -> None:
    ship = raw_ship()
    await ship.link()
    for _ in range(protocol.BAD_MESSAGES_MAX):
        await ship.websocket.send_str("rubbish")
    await ship.ended()
    assert await mux.core.seen(LinkLost)
    assert mux.core.of(ShipReported) == []


async def test_control_characters_in_a_ships_complaint_do_not_reach_the_log(
    mux: Mux, raw_ship: MakeShip, logs: list[EventDict]
) -> None:
    ship = raw_ship()
    await ship.link()
    await ship.say(ProtocolError(code="what", detail="\x1b[2J\nforged line"))
    await ship.say(observed(1, seq=1))
    await mux.core.seen(ShipReported)
    (entry,) = [entry for entry in logs if entry["event"] == "a ship could not read a message"]
    assert entry["detail"] == "[2Jforged line"


async def test_who_is_silent_is_let_go_after_the_handshake_time(
    mux: Mux, raw_ship: MakeShip, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(protocol, "HANDSHAKE_S", 0.05)
    ship = raw_ship()
    await ship.connect()
    assert isinstance(await ship.receive(), Challenge)
    answer = await ship.receive()
    assert isinstance(answer, Refused)
    assert answer.code == "handshake_timeout"
    await ship.ended()
    assert mux.core.events == []


async def test_a_core_that_does_not_decide_costs_the_ship_a_retry(
    mux: Mux, raw_ship: MakeShip, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(protocol, "DECISION_S", 0.05)
    mux.core.decides = False
    ship = raw_ship()
    answer = await ship.link()
    assert answer == Refused(code="busy", reason="the mux could not decide in time; dial again", retry=True)
    await ship.ended()
    dialed = await mux.core.seen(ShipDialed)
    assert await mux.core.seen(LinkLost) == LinkLost(SHIP, dialed.link)
    await mux.endpoint.carry_out(AcceptLink(SHIP, dialed.link))


async def test_a_ship_that_does_not_read_is_dropped(
    mux: Mux, raw_ship: MakeShip, monkeypatch: pytest.MonkeyPatch, logs: list[EventDict]
) -> None:
    monkeypatch.setattr(endpoint_module, "SEND_S", 0.2)
    mux.secrets = {f"S{number}": "s" * 8192 for number in range(64)}
    deaf, honest = raw_ship(), raw_ship()
    await deaf.link()
    await honest.link(OTHER)
    link = mux.core.links[SHIP]
    desired = full(6)
    while not mux.core.of(LinkLost, SHIP):
        await mux.endpoint.carry_out(SendDesired(SHIP, link, desired))
        await asyncio.sleep(0.01)
    assert "ship reads too slowly" in [entry["event"] for entry in logs]
    await honest.say(observed(1, seq=1))
    await mux.core.seen(ShipReported, OTHER)
    deaf.websocket._response.close()


async def test_only_the_newest_desired_waits_for_a_ship_that_reads_slowly(mux: Mux, raw_ship: MakeShip) -> None:
    mux.secrets = {f"S{number}": "s" * 8192 for number in range(64)}
    slow = raw_ship()
    await slow.link()
    sent = 40
    for generation in range(1, sent + 1):
        await mux.send(SHIP, Desired(generation, (), full(6).workspaces))
        await asyncio.sleep(0)
    generations: list[int] = []
    while not generations or generations[-1] != sent:
        message = await slow.receive()
        assert isinstance(message, WireDesired)
        generations.append(message.generation)
    assert len(generations) < sent
    assert generations == sorted(generations)


async def test_a_flood_of_reports_is_slowed_and_none_of_it_is_lost(
    mux: Mux, raw_ship: MakeShip, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(protocol, "RATE_PER_S", 1000.0)
    pauses: list[float] = []
    pause_s = protocol.MuxEnd.pause_s

    def noted(end: protocol.MuxEnd) -> float:
        pauses.append(pause_s(end))
        return pauses[-1]

    monkeypatch.setattr(protocol.MuxEnd, "pause_s", noted)
    ship = raw_ship()
    await ship.link()
    for number in range(1, 501):
        await ship.say(observed(1, seq=number))
    await mux.core.seen(ShipReported, SHIP, 500)
    assert [event.report.seq for event in mux.core.of(ShipReported)] == list(range(1, 501))
    assert max(pauses) > 0


async def test_pings_are_answered_at_the_pace_of_messages(
    mux: Mux, raw_ship: MakeShip, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(protocol, "RATE_PER_S", 1000.0)
    pauses: list[float] = []
    pause_s = protocol.MuxEnd.pause_s

    def noted(end: protocol.MuxEnd) -> float:
        pauses.append(pause_s(end))
        return pauses[-1]

    monkeypatch.setattr(protocol.MuxEnd, "pause_s", noted)
    ship = raw_ship()
    ship.autoping = False
    await ship.link()
    for number in range(300):
        await ship.websocket.ping(b"%d" % number)
    answers = [await ship.websocket.receive() for _ in range(300)]
    assert [(answer.type, answer.data) for answer in answers] == [
        (aiohttp.WSMsgType.PONG, b"%d" % number) for number in range(300)
    ]
    assert max(pauses) > 0


async def test_a_message_of_a_newer_ship_is_passed_over_and_the_link_goes_on(
    mux: Mux, raw_ship: MakeShip, logs: list[EventDict]
) -> None:
    ship = raw_ship()
    await ship.link()
    for _ in range(protocol.BAD_MESSAGES_MAX + 5):
        await ship.websocket.send_str('{"type": "weather", "wind": "the-secret"}')
    await ship.say(observed(1, seq=1))
    await mux.core.seen(ShipReported)
    assert [entry["code"] for entry in logs if "passed over" in entry["event"]] == ["unknown"]
    assert "the-secret" not in str(logs)


async def test_a_ship_that_dials_without_end_is_put_off_and_nobody_else_is(
    mux: Mux, raw_ship: MakeShip, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(endpoint_module, "DIALS_BURST", 3)
    monkeypatch.setattr(endpoint_module, "DIALS_PER_S", 1e-6)
    first = raw_ship()
    assert isinstance(await first.link(), Welcome)
    for _ in range(3):
        again = raw_ship()
        again.key = first.key
        assert isinstance(await again.link(), Welcome)
    tired = raw_ship()
    tired.key = first.key
    refused = await tired.link()
    assert isinstance(refused, Refused)
    assert (refused.code, refused.retry) == ("too_often", True)
    await tired.ended()
    assert len(mux.core.of(ShipDialed, SHIP)) == 4, "the core does not hear of it"
    claimant = raw_ship()
    refused = await claimant.link()
    assert isinstance(refused, Refused)
    assert refused.code == "key_mismatch"
    other = raw_ship()
    assert isinstance(await other.link(OTHER), Welcome)


async def test_strangers_do_not_fill_the_log_nor_use_up_what_a_ship_may_have_logged(
    mux: Mux, raw_ship: MakeShip, logs: list[EventDict], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(endpoint_module, "LINES_BURST", 4)
    monkeypatch.setattr(mux.endpoint, "_strangers", Allowance(4, 1e-6, 0.0))
    honest = raw_ship()
    await honest.link()
    for _ in range(10):
        stranger = await raw_ship().connect()
        await stranger.receive()
        await stranger.websocket.send_str("rubbish")
        assert isinstance(await stranger.receive(), ProtocolError)
        await stranger.websocket.close()
    assert len([entry for entry in logs if entry["event"] == "bad message from a ship"]) == 4
    await honest.websocket.send_str("rubbish")
    assert isinstance(await honest.receive(), ProtocolError)
    assert [entry["ship"] for entry in logs if entry["event"] == "bad message from a ship"][4:] == [SHIP]


# --- bounds of undecided links --------------------------------------------------------------------------------------


async def test_silent_strangers_make_room_for_an_honest_ship(tmp_path: Path) -> None:
    mux = Mux(tmp_path / "small")
    await mux.start(pending_max=3)
    try:
        async with aiohttp.ClientSession() as session:
            strangers = [await RawShip(mux, session).connect() for _ in range(5)]
            assert isinstance(await RawShip(mux, session).link(), Welcome)
            await asyncio.gather(*(stranger.ended() for stranger in strangers[:3]))
            assert not strangers[-1].websocket.closed
    finally:
        await mux.close()


async def test_when_all_undecided_links_wait_for_the_core_a_further_ship_is_asked_to_come_back(tmp_path: Path) -> None:
    mux = Mux(tmp_path / "small")
    await mux.start(pending_max=2)
    mux.core.decides = False
    try:
        async with aiohttp.ClientSession() as session:
            waiting = [await RawShip(mux, session).connect() for _ in range(2)]
            for raw, ship in zip(waiting, (SHIP, OTHER), strict=True):
                challenge = await raw.receive()
                assert isinstance(challenge, Challenge)
                await raw.say(raw.hello(challenge, ship))
            await mux.core.seen(ShipDialed, count=2)
            with pytest.raises(aiohttp.WSServerHandshakeError) as caught:
                await RawShip(mux, session).connect()
            assert caught.value.status == 503
            for dialed in mux.core.of(ShipDialed):
                await mux.endpoint.carry_out(AcceptLink(dialed.ship, dialed.link))
            assert [await raw.receive() for raw in waiting] == [Welcome(heartbeat_s=5.0)] * 2
            assert isinstance(await (await RawShip(mux, session).connect()).receive(), Challenge)
    finally:
        await mux.close()


# --- effects --------------------------------------------------------------------------------------------------------


async def test_effects_for_links_that_are_gone_or_anothers_change_nothing(mux: Mux, raw_ship: MakeShip) -> None:
    ship = raw_ship()
    await ship.link()
    link = mux.core.links[SHIP]
    for target, number in ((SHIP, LinkId(999)), (OTHER, link), (ShipId("nobody"), LinkId(0))):
        await mux.endpoint.carry_out(AcceptLink(target, number))
        await mux.endpoint.carry_out(RefuseLink(target, number, "no", "no", retry=False))
        await mux.endpoint.carry_out(CloseLink(target, number))
        await mux.endpoint.carry_out(SendDesired(target, number, EMPTY))
    await ship.say(observed(1, seq=1))
    await mux.core.seen(ShipReported)


async def test_a_refusal_with_a_long_reason_is_cut_and_arrives(mux: Mux, raw_ship: MakeShip) -> None:
    mux.core.decides = False
    ship = raw_ship()
    await ship.connect()
    challenge = await ship.receive()
    assert isinstance(challenge, Challenge)
    await ship.say(ship.hello(challenge))
    dialed = await mux.core.seen(ShipDialed)
    await mux.endpoint.carry_out(RefuseLink(SHIP, dialed.link, "no", "why\n" * 1000, retry=False))
    answer = await ship.receive()
    assert isinstance(answer, Refused)
    assert len(answer.reason) == 500


@pytest.mark.parametrize("secret", ["the-secret" * 1000, "the-secret"])
async def test_a_desired_that_cannot_be_sent_is_logged_without_secrets_and_the_link_goes_on(
    mux: Mux, raw_ship: MakeShip, logs: list[EventDict], secret: str
) -> None:
    ship = raw_ship()
    await ship.link()
    mux.secrets = {f"S{number}": secret + "s" * 8000 for number in range(64)}
    await mux.send(SHIP, full(10))
    (entry,) = [entry for entry in logs if entry["event"] == "desired cannot be sent"]
    assert entry["log_level"] == "error"
    assert "the-secret" not in str(logs)
    mux.secrets = {}
    await mux.send(SHIP, EMPTY)
    assert isinstance(await ship.receive(), WireDesired)


async def test_neither_tokens_nor_secrets_reach_the_log(mux: Mux, raw_ship: MakeShip, logs: list[EventDict]) -> None:
    mux.secrets = {"API_KEY": "the-secret"}
    ship = raw_ship()
    await ship.link()
    await mux.send(SHIP, full(1))
    message = await ship.receive()
    assert isinstance(message, WireDesired)
    await ship.websocket.close()
    await mux.core.seen(LinkLost)
    text = str(logs)
    for secret in (mux.keys.join_token(SHIP), message.workspaces[0].token, "the-secret"):
        assert secret not in text


# --- the end --------------------------------------------------------------------------------------------------------


async def test_closing_ends_every_link_once_and_lets_nobody_in(mux: Mux, raw_ship: MakeShip) -> None:
    linked, greeting = raw_ship(), raw_ship()
    await linked.link()
    await greeting.connect()
    ended = asyncio.gather(linked.ended(), greeting.ended())
    await mux.endpoint.close()
    await ended
    await mux.core.seen(LinkLost)
    assert len(mux.core.of(LinkLost)) == 1
    with pytest.raises(aiohttp.WSServerHandshakeError) as caught:
        await raw_ship().connect()
    assert caught.value.status == 503


async def test_closing_does_not_wait_for_ever_for_a_ship_that_does_not_answer(
    mux: Mux, raw_ship: MakeShip, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(endpoint_module, "CLOSE_S", 0.1)
    ship = raw_ship()
    await ship.link()
    await mux.endpoint.close()
    await mux.core.seen(LinkLost)


async def test_every_dial_has_one_loss(mux: Mux, raw_ship: MakeShip) -> None:
    for _ in range(3):
        ship = raw_ship()
        await ship.connect()
        challenge = await ship.receive()
        assert isinstance(challenge, Challenge)
        await ship.say(ship.hello(challenge, join_token="wrong"))
        await ship.ended()
    for _ in range(3):
        ship = raw_ship()
        await ship.link(OTHER)
        mux.core.keys.clear()
        transport = ship.websocket._response.connection.transport  # type: ignore[union-attr]
        transport.abort()  # type: ignore[union-attr]
    await mux.core.seen(LinkLost, count=6)
    dialed = sorted((event.ship, event.link) for event in mux.core.of(ShipDialed))
    assert sorted((event.ship, event.link) for event in mux.core.of(LinkLost)) == dialed


async def test_a_report_says_only_what_its_ship_says(mux: Mux, raw_ship: MakeShip) -> None:
    """A report names no ship: whose it is comes from the link's authentication."""
    ship = raw_ship()
    await ship.link()
    assert "ship" not in as_json(observed())
    await ship.websocket.send_json({**as_json(observed(1, seq=1)), "ship": OTHER})
    assert (await mux.core.seen(ShipReported)).ship == SHIP
