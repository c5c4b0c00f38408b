"""Mux and agents of different age: what was said by earlier ones, and what later ones may say, is understood.

``recorded/`` holds messages as agents and muxes of earlier commits wrote them, one a line. They are never written anew:
whatever is changed, a fleet that runs must go on understanding them.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from ship_agent.protocol import link, messages
from ship_agent.protocol.codec import CodecError, decode_from_mux, decode_from_ship, encode
from ship_agent.protocol.link import BAD_MESSAGES_MAX, PassedOver, Reported, State, WasRefused
from ship_agent.protocol.messages import (
    PROTOCOL_VERSION,
    Challenge,
    Hello,
    Message,
    Observed,
    ProtocolError,
    Refused,
    RegistryLogin,
    RegistryLogins,
    Welcome,
    common_version,
)
from ship_agent.protocol.snapshot import Manifest, read_manifest
from tests.ship_agent.protocol.samples import HELLO, desired, observed
from tests.ship_agent.protocol.test_link import Pair, kinds

RECORDED = Path(__file__).with_name("recorded")
ALL_BUT_LATER: list[Message] = [
    Challenge(nonce="0" * 64),
    Welcome(heartbeat_s=5.0, files_token="f" * 64),
    Refused(code="unknown_ship", reason="no such ship", retry=False),
    ProtocolError(code="not_due", detail="hello is not due"),
    RegistryLogins(logins=[RegistryLogin(registry="hub:5000", username="u", password="p")]),
    desired(),
    HELLO,
    observed(),
]


def recorded(end: str) -> Iterator[tuple[str, str]]:
    """Names and frames that one end said."""
    for path in sorted(RECORDED.glob(f"*-{end}.jsonl")):
        for frame in path.read_text(encoding="utf-8").splitlines():
            yield f"{path.stem} {json.loads(frame)['type']}", frame


def later(value: Any) -> Any:
    """A message as a later version of the code may write it: something is added to every object of it."""
    if isinstance(value, dict):
        added = {"a_later_field": {"nested": [1, "two", None]}, "another": "x" * 500}
        return {**{key: later(each) for key, each in value.items()}, **added}
    return [later(each) for each in value] if isinstance(value, list) else value


@pytest.mark.parametrize(("name", "frame"), list(recorded("mux")))
def test_a_newer_agent_understands_an_older_mux(name: str, frame: str) -> None:
    assert decode_from_mux(frame).type == name.split()[1]


@pytest.mark.parametrize(("name", "frame"), list(recorded("ship")))
def test_a_newer_mux_understands_an_older_agent(name: str, frame: str) -> None:
    assert decode_from_ship(frame).type == name.split()[1]


def test_there_is_something_recorded_of_every_type_that_there_was() -> None:
    types = {name.split()[1] for end in ("mux", "ship") for name, _ in recorded(end)}
    assert types >= {"challenge", "welcome", "refused", "protocol_error", "desired", "hello", "observed"}


@pytest.mark.parametrize("message", ALL_BUT_LATER, ids=lambda message: message.type)
def test_an_older_reader_passes_over_what_a_newer_writer_adds(message: Message) -> None:
    decode: Callable[[str], Message] = decode_from_ship if isinstance(message, Hello | Observed) else decode_from_mux
    frame = json.loads(encode(message))
    if isinstance(message, messages.Desired):
        frame["workspaces"][0]["secrets"] = {}  # a mapping: what is added there is no field but an entry
        frame["projects"][0]["environment"] = {}
    without = decode(json.dumps(frame))
    added = later(frame)
    for workspace in added.get("workspaces", ()) if isinstance(message, messages.Desired) else ():
        workspace["secrets"] = {}
    for project in added.get("projects", ()):
        project["environment"] = {}
    found = decode(json.dumps(added))
    assert found == without
    assert "a_later_field" not in found.model_dump_json(), "nothing of it is kept"


def test_an_older_reader_restores_a_newer_snapshot_by_what_it_knows() -> None:
    body = Manifest(digest="", taken_at=1.0, entries=[], gone=["a"]).body()
    assert read_manifest(json.dumps(later(json.loads(body))).encode()) == read_manifest(body)


@pytest.mark.parametrize("end", ["ship", "mux"])
def test_a_message_of_a_later_type_is_passed_over_once_the_link_stands(end: str) -> None:
    pair = Pair()
    pair.link()
    receiver = pair.ship if end == "ship" else pair.mux
    for _ in range(2 * BAD_MESSAGES_MAX):
        assert kinds(receiver.receive('{"type": "weather", "wind": 3}', pair.now)) == [PassedOver]
    assert receiver.messages_to_send() == []
    assert receiver.state is State.LINKED
    pair.ship.report(observed(), pair.now)
    pair.exchange()
    assert kinds(pair.at_mux) == [Reported]


def test_a_greeting_of_a_later_type_counts_as_bad() -> None:
    pair = Pair()
    events = [pair.mux.receive('{"type": "weather"}', pair.now) for _ in range(BAD_MESSAGES_MAX)]
    assert pair.mux.state is State.CLOSED, events


# --- the version is settled in the greetings ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("theirs", "ours", "chosen"),
    [
        ((1, 0), (1, 1), 1),
        ((2, 1), (1, 1), 1),
        ((2, 0), (1, 1), None),
        ((3, 2), (1, 1), None),
        ((1, 0), (3, 1), 1),
        ((1, 0), (3, 2), None),
        ((3, 2), (4, 1), 3),
        ((4, 3), (3, 1), 3),
    ],
)
def test_the_newest_version_that_both_speak_is_chosen(
    theirs: tuple[int, int], ours: tuple[int, int], chosen: int | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(messages, "PROTOCOL_VERSION", ours[0])
    monkeypatch.setattr(messages, "PROTOCOL_OLDEST", ours[1])
    assert common_version(*theirs) == chosen


def test_a_mux_of_a_later_version_that_still_speaks_this_one_is_linked_to() -> None:
    pair = Pair()
    pair.mux.messages_to_send()
    challenge = later({"type": "challenge", "version": PROTOCOL_VERSION + 1, "oldest": 1, "nonce": "1" * 64})
    assert pair.ship.receive(json.dumps(challenge), pair.now) == []
    (hello,) = pair.ship.messages_to_send()
    assert json.loads(hello)["version"] == PROTOCOL_VERSION
    pair.mux.receive(hello, pair.now)
    pair.mux.accept()
    pair.exchange()
    assert (pair.ship.state, pair.mux.version) == (State.LINKED, PROTOCOL_VERSION)


def test_a_mux_of_a_later_version_alone_is_left_and_dialed_again() -> None:
    pair = Pair()
    challenge = json.dumps({"type": "challenge", "version": PROTOCOL_VERSION + 1, "nonce": "1" * 64})
    (closed,) = pair.ship.receive(challenge, pair.now)
    assert isinstance(closed, link.Closed)
    assert closed.code == "version"


def test_an_agent_that_speaks_later_versions_speaks_the_muxs_own(monkeypatch: pytest.MonkeyPatch) -> None:
    pair = Pair()
    challenge = pair.mux.messages_to_send()
    with monkeypatch.context() as newer:
        newer.setattr(messages, "PROTOCOL_VERSION", PROTOCOL_VERSION + 2)
        pair.ship.receive(challenge[0], pair.now)
    assert pair.ship.version == PROTOCOL_VERSION
    pair.exchange()
    pair.mux.accept()
    pair.exchange()
    assert pair.mux.state is State.LINKED


def test_an_agent_without_a_common_version_is_refused_and_may_come_again() -> None:
    pair = Pair()
    hello = HELLO.model_copy(update={"version": PROTOCOL_VERSION + 1})
    pair.mux.messages_to_send()
    pair.mux.receive(encode(hello), pair.now)
    pair.ship.receive(encode(Challenge(nonce="1" * 64)), pair.now)
    for frame in pair.mux.messages_to_send():
        pair.at_ship += pair.ship.receive(frame, pair.now)
    refusal = pair.at_ship[0]
    assert isinstance(refusal, WasRefused)
    assert (refusal.code, refusal.retry) == ("version", True)


# --- both ends, one of them newer -----------------------------------------------------------------------------------


@pytest.mark.parametrize("newer", ["ship", "mux"])
def test_a_link_of_different_ages_works_from_greeting_to_report(newer: str) -> None:
    pair = Pair()
    plain = {"secrets", "environment"}

    def through(frame: str, end: str) -> list[str]:
        if end != newer:
            return [frame]
        raw = json.loads(frame)
        added = later(raw)
        for name in ("workspaces", "projects"):
            for each, before in zip(added.get(name, ()), raw.get(name, ()), strict=True):
                each.update({key: before[key] for key in plain & before.keys()})
        linked = pair.ship.state is State.LINKED and pair.mux.state is State.LINKED
        return [*(['{"type": "weather"}'] if linked else []), json.dumps(added)]

    def exchange() -> None:
        while (to_ship := pair.mux.messages_to_send()) + (to_mux := pair.ship.messages_to_send()):
            for frame in to_ship:
                for each in through(frame, "mux"):
                    pair.at_ship += pair.ship.receive(each, pair.now)
            for frame in to_mux:
                for each in through(frame, "ship"):
                    pair.at_mux += pair.mux.receive(each, pair.now)

    exchange()
    pair.mux.accept()
    exchange()
    pair.at_ship.clear()
    pair.at_mux.clear()
    for generation in (1, 2):
        pair.mux.send_desired(desired(generation))
        exchange()
        pair.ship.report(observed(generation), pair.now)
        exchange()
    wanted = [event.desired for event in pair.at_ship if isinstance(event, link.DesiredReceived)]
    assert wanted == [desired(1), desired(2)]
    said = [event.observed for event in pair.at_mux if isinstance(event, Reported)]
    assert said == [observed(1, seq=1), observed(2, seq=2)]
    assert not any(isinstance(event, link.BadMessage) for event in (*pair.at_ship, *pair.at_mux))


def test_what_is_tolerated_is_still_bounded() -> None:
    frame = json.loads(encode(observed()))
    frame["workspaces"] *= messages.WORKSPACES_MAX + 1
    with pytest.raises(CodecError):
        decode_from_ship(json.dumps(later(frame)))
    with pytest.raises(CodecError):
        decode_from_ship(json.dumps({**json.loads(encode(observed())), "more": "x" * messages.MESSAGE_BYTES_MAX}))
