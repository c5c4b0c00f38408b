"""Both ends of the link in memory, as transcripts."""

from __future__ import annotations

import hashlib
import itertools
import json
from collections.abc import Callable, Sequence
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ship_agent.protocol.codec import CodecError, decode_from_mux, decode_from_ship, encode
from ship_agent.protocol.link import (
    BAD_MESSAGES_MAX,
    DECISION_S,
    HANDSHAKE_S,
    HELLO_BYTES_MAX,
    RATE_BURST,
    RATE_PER_S,
    BadMessage,
    Closed,
    DesiredReceived,
    Dialed,
    Event,
    Identity,
    LoginsReceived,
    MuxEnd,
    PeerComplained,
    ReportDue,
    Reported,
    ShipEnd,
    State,
    WasRefused,
    Welcomed,
)
from ship_agent.protocol.messages import (
    MESSAGE_BYTES_MAX,
    Challenge,
    Desired,
    Hello,
    Message,
    Observed,
    ProtocolError,
    Refused,
    RegistryLogin,
    RegistryLogins,
    Welcome,
)
from tests.ship_agent.protocol.samples import HELLO, OBSERVED_WORKSPACE, desired, observed

CERTIFICATE = "c" * 64
KEY = "a" * 64
HEARTBEAT_S = 5.0
WHO = Identity(
    ship="ship-0001",
    boot="boot-1",
    public_key=KEY,
    join_token="the-join-token",
    runtime="process",
    agent_version="0.1.0",
)


def sign(payload: bytes) -> bytes:
    """Stands for a signature: 64 bytes that only this payload and the one key give."""
    return hashlib.sha512(bytes.fromhex(KEY) + payload).digest()


def verify(public_key: bytes, payload: bytes, signature: bytes) -> bool:
    return hashlib.sha512(public_key + payload).digest() == signature


class Pair:
    """A ship's end and the mux's, with nothing but a clock between them."""

    def __init__(self, *, who: Identity = WHO, seen_certificate: str = CERTIFICATE, nonce: str = "1" * 64) -> None:
        self.now = 1000.0
        self.ship = ShipEnd(who, sign, seen_certificate, self.now)
        self.mux = MuxEnd(nonce, HEARTBEAT_S, CERTIFICATE, verify, self.now)
        self.at_ship: list[Event] = []
        self.at_mux: list[Event] = []

    def exchange(self) -> None:
        """Carry messages to and fro until both have said all."""
        while (to_ship := self.mux.messages_to_send()) + (to_mux := self.ship.messages_to_send()):
            for frame in to_ship:
                self.at_ship += self.ship.receive(frame, self.now)
            for frame in to_mux:
                self.at_mux += self.mux.receive(frame, self.now)

    def pass_time(self, seconds: float) -> None:
        """Let time pass as shells do: stop at every deadline on the way."""
        until = self.now + seconds
        while True:
            deadlines = [d for d in (self.ship.next_deadline(), self.mux.next_deadline()) if d is not None]
            due = [deadline for deadline in deadlines if deadline <= until]
            if not due:
                break
            self.now = max(self.now, min(due))
            self.at_ship += self.ship.handle_timer(self.now)
            self.at_mux += self.mux.handle_timer(self.now)
            self.exchange()
        self.now = until

    def link(self) -> None:
        """Through the handshake."""
        self.exchange()
        self.mux.accept()
        self.exchange()
        self.at_ship.clear()
        self.at_mux.clear()


def kinds(events: Sequence[Event]) -> list[type]:
    return [type(event) for event in events]


def read(frames: Sequence[str], decode: Callable[[str], Message]) -> list[Message]:
    return [decode(frame) for frame in frames]


# --- the handshake --------------------------------------------------------------------------------------------------


def test_challenge_hello_welcome_desired_observed() -> None:
    now = 0.0
    ship = ShipEnd(WHO, sign, CERTIFICATE, now)
    mux = MuxEnd("1" * 64, HEARTBEAT_S, CERTIFICATE, verify, now)
    assert ship.messages_to_send() == []

    challenge = mux.messages_to_send()
    assert read(challenge, decode_from_mux) == [Challenge(nonce="1" * 64)]
    assert ship.receive(challenge[0], now) == []

    (hello,) = ship.messages_to_send()
    said = decode_from_ship(hello)
    assert isinstance(said, Hello)
    assert mux.receive(hello, now) == [Dialed(said)]
    assert mux.messages_to_send() == []

    mux.accept()
    (welcome,) = mux.messages_to_send()
    assert ship.receive(welcome, now) == [Welcomed(HEARTBEAT_S)]

    mux.send_desired(desired(7))
    (wanted,) = mux.messages_to_send()
    assert ship.receive(wanted, now) == [DesiredReceived(desired(7))]

    ship.report(observed(7), now)
    (report,) = ship.messages_to_send()
    assert mux.receive(report, now) == [Reported(observed(7, seq=1))]


def test_a_refusal_reaches_the_ship_and_ends_both() -> None:
    pair = Pair()
    pair.exchange()
    assert kinds(pair.at_mux) == [Dialed]
    closed = pair.mux.refuse("key_mismatch", "another key is bound", retry=False)
    assert kinds(closed) == [Closed]
    pair.exchange()
    assert kinds(pair.at_ship) == [WasRefused, Closed]
    assert pair.at_ship[0] == WasRefused("key_mismatch", "another key is bound", False)
    assert pair.ship.state is pair.mux.state is State.CLOSED


@pytest.mark.parametrize(
    "pair",
    [
        Pair(seen_certificate="d" * 64),
        Pair(who=replace(WHO, public_key="b" * 64)),
    ],
    ids=["another server's certificate", "another key"],
)
def test_a_signature_for_something_else_is_refused(pair: Pair) -> None:
    pair.exchange()
    assert Dialed not in kinds(pair.at_mux)
    assert isinstance(pair.at_ship[0], WasRefused)
    assert (pair.at_ship[0].code, pair.at_ship[0].retry) == ("bad_signature", True)


@pytest.mark.parametrize("field", ["ship", "boot", "join_token"])
def test_a_hello_that_was_altered_on_its_way_is_refused(field: str) -> None:
    pair = Pair()
    pair.ship.receive(pair.mux.messages_to_send()[0], pair.now)
    (hello,) = pair.ship.messages_to_send()
    raw = {**json.loads(hello), field: "ship-0002"}
    assert kinds(pair.mux.receive(json.dumps(raw), pair.now)) == [Closed]


def test_a_hello_replayed_on_another_connection_is_refused() -> None:
    first, second = Pair(nonce="1" * 64), Pair(nonce="2" * 64)
    first.ship.receive(first.mux.messages_to_send()[0], first.now)
    (hello,) = first.ship.messages_to_send()
    assert kinds(first.mux.receive(hello, first.now)) == [Dialed]
    assert kinds(second.mux.receive(hello, second.now)) == [Closed]


def test_another_version_that_cannot_be_read_is_refused() -> None:
    pair = Pair()
    raw = {**json.loads(encode(HELLO)), "version": 2, "colour": "red"}
    del raw["runtime"]
    pair.at_mux += pair.mux.receive(json.dumps(raw), pair.now)
    pair.exchange()
    assert pair.at_ship[0] == WasRefused("version", "another version of the protocol; this side speaks 1", True)


@pytest.mark.parametrize("extra", [{}, {"colour": "red"}], ids=["same shape", "other shape"])
def test_a_mux_of_another_version_ends_the_ships_link(extra: dict[str, str]) -> None:
    ship = Pair().ship
    events = ship.receive(json.dumps({"type": "challenge", "version": 2, "nonce": "0" * 64, **extra}), 0.0)
    assert kinds(events) == [Closed]
    assert isinstance(events[0], Closed)
    assert events[0].code == "version"


def test_a_hello_of_another_version_and_the_same_shape_is_refused() -> None:
    mux = Pair().mux
    events = mux.receive(encode(HELLO.model_copy(update={"version": 2})), 0.0)
    assert kinds(events) == [Closed]
    refused = decode_from_mux(mux.messages_to_send()[-1])
    assert isinstance(refused, Refused)
    assert (refused.code, refused.retry) == ("version", True)


# --- order ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("linked", "message"),
    [
        (False, Welcome(heartbeat_s=1.0)),
        (False, desired()),
        (True, Challenge(nonce="0" * 64)),
        (True, Welcome(heartbeat_s=1.0)),
        (True, Refused(code="busy", reason="", retry=True)),
    ],
    ids=lambda value: getattr(value, "type", value),
)
def test_a_message_that_is_not_due_at_the_ship_is_answered_and_changes_nothing(linked: bool, message: Message) -> None:
    pair = Pair()
    if linked:
        pair.link()
    before = pair.ship.state
    assert kinds(pair.ship.receive(encode(message), pair.now)) == [BadMessage]
    assert pair.ship.state is before
    (answer,) = read(pair.ship.messages_to_send(), decode_from_ship)
    assert isinstance(answer, ProtocolError)
    assert answer.code == "not_due"


@pytest.mark.parametrize(
    ("linked", "message"), [(False, observed()), (True, HELLO)], ids=lambda value: getattr(value, "type", value)
)
def test_a_message_that_is_not_due_at_the_mux_is_answered_and_changes_nothing(linked: bool, message: Message) -> None:
    pair = Pair()
    if linked:
        pair.link()
    else:
        pair.exchange()
        pair.at_mux.clear()
    before = pair.mux.state
    assert kinds(pair.mux.receive(encode(message), pair.now)) == [BadMessage]
    assert pair.mux.state is before
    (answer,) = read(pair.mux.messages_to_send(), decode_from_mux)
    assert isinstance(answer, ProtocolError)
    assert answer.code == "not_due"


def test_a_second_hello_is_not_due() -> None:
    pair = Pair()
    pair.ship.receive(pair.mux.messages_to_send()[0], pair.now)
    (hello,) = pair.ship.messages_to_send()
    assert kinds(pair.mux.receive(hello, pair.now)) == [Dialed]
    assert kinds(pair.mux.receive(hello, pair.now)) == [BadMessage]


def test_nothing_is_said_out_of_turn() -> None:
    pair = Pair()
    pair.mux.accept()
    pair.mux.send_desired(desired())
    pair.ship.report(observed(), pair.now)
    assert read(pair.mux.messages_to_send(), decode_from_mux) == [Challenge(nonce="1" * 64)]
    assert pair.ship.messages_to_send() == []


def test_only_the_newest_desired_and_report_are_sent() -> None:
    pair = Pair()
    pair.link()
    for generation in (1, 2, 3):
        pair.mux.send_desired(desired(generation))
        pair.ship.report(observed(generation), pair.now)
    pair.exchange()
    assert pair.at_ship == [DesiredReceived(desired(3))]
    assert pair.at_mux == [Reported(observed(3, seq=1))]


def test_a_desired_that_a_newer_one_has_overtaken_is_dropped() -> None:
    pair = Pair()
    pair.link()
    frames = []
    for generation in (8, 12):
        pair.mux.send_desired(desired(generation))
        frames += pair.mux.messages_to_send()
    late, newer = frames

    for frame in (newer, late, newer):
        pair.at_ship += pair.ship.receive(frame, pair.now)

    assert pair.at_ship == [DesiredReceived(desired(12)), DesiredReceived(desired(12))]


def test_a_new_link_may_go_on_from_an_older_generation() -> None:
    for generation in (12, 8):
        pair = Pair()
        pair.link()
        pair.mux.send_desired(desired(generation))
        pair.exchange()
        assert pair.at_ship == [DesiredReceived(desired(generation))]


def test_logins_go_before_what_needs_them_and_only_the_newest() -> None:
    pair = Pair()
    pair.link()
    old, new = (
        RegistryLogins(logins=[RegistryLogin(registry="hub:5000", username="u", password=word)]) for word in "ab"
    )

    pair.mux.send_desired(desired(2))
    pair.mux.send_logins(old)
    pair.mux.send_logins(new)
    pair.exchange()

    assert pair.at_ship[-2:] == [LoginsReceived(new), DesiredReceived(desired(2))]
    assert "password" not in repr(new)


def test_reports_are_numbered_by_the_link() -> None:
    pair = Pair()
    pair.link()
    for _ in range(3):
        pair.ship.report(observed(seq=77), pair.now)
        pair.exchange()
    assert [event.observed.seq for event in pair.at_mux if isinstance(event, Reported)] == [1, 2, 3]


def test_a_report_that_is_too_large_goes_without_its_log_tails() -> None:
    pair = Pair()
    pair.link()
    failed = OBSERVED_WORKSPACE.model_copy(update={"state": "failed", "log_tail": "l" * 16_384})
    pair.ship.report(observed(workspaces=[failed] * 1024), pair.now)
    pair.exchange()
    (event,) = pair.at_mux
    assert isinstance(event, Reported)
    assert [each.log_tail for each in event.observed.workspaces] == [""] * 1024


def test_the_largest_report_without_log_tails_fits() -> None:
    worst = OBSERVED_WORKSPACE.model_copy(update={"id": "i" * 128, "detail": "\x01" * 500, "reason": "r" * 48})
    report = observed(workspaces=[worst] * 1024, phase="\x01" * 500)
    assert len(encode(report).encode()) <= MESSAGE_BYTES_MAX


def test_a_desired_that_is_too_large_is_the_callers_to_see_and_the_link_goes_on() -> None:
    pair = Pair()
    pair.link()
    workspace = desired().workspaces[0]
    huge = workspace.model_copy(update={"secrets": {f"S{number}": "s" * 8192 for number in range(64)}})
    with pytest.raises(CodecError):
        pair.mux.send_desired(desired(1, workspaces=[huge] * 10))
    pair.mux.send_desired(desired(2))
    pair.exchange()
    assert pair.at_ship == [DesiredReceived(desired(2))]


# --- bad messages ---------------------------------------------------------------------------------------------------


def test_a_bad_message_is_answered_once_and_the_link_goes_on() -> None:
    pair = Pair()
    pair.link()
    pair.at_mux += pair.mux.receive("rubbish", pair.now)
    pair.exchange()
    assert pair.at_mux == [BadMessage("not_json", "not JSON")]
    assert pair.at_ship == [PeerComplained("not_json", "not JSON")]
    pair.ship.report(observed(), pair.now)
    pair.exchange()
    assert kinds(pair.at_mux) == [BadMessage, Reported]


@pytest.mark.parametrize("end", ["ship", "mux"])
def test_too_many_bad_messages_end_the_link(end: str) -> None:
    pair = Pair()
    pair.link()
    receiver = pair.ship if end == "ship" else pair.mux
    events = [receiver.receive("rubbish", pair.now) for _ in range(BAD_MESSAGES_MAX + 5)]
    assert [kinds(each) for each in events[: BAD_MESSAGES_MAX - 1]] == [[BadMessage]] * (BAD_MESSAGES_MAX - 1)
    assert kinds(events[BAD_MESSAGES_MAX - 1]) == [BadMessage, Closed]
    assert events[BAD_MESSAGES_MAX:] == [[]] * 5
    assert len(receiver.messages_to_send()) == BAD_MESSAGES_MAX


@pytest.mark.parametrize("end", ["ship", "mux"])
def test_complaints_are_not_answered_but_counted(end: str) -> None:
    pair = Pair()
    pair.link()
    receiver = pair.ship if end == "ship" else pair.mux
    complaint = encode(ProtocolError(code="what", detail="?"))
    events = list(itertools.chain.from_iterable(receiver.receive(complaint, pair.now) for _ in range(BAD_MESSAGES_MAX)))
    assert kinds(events) == [PeerComplained] * BAD_MESSAGES_MAX + [Closed]
    assert receiver.messages_to_send() == []


def test_a_stranger_may_not_send_a_large_message() -> None:
    pair = Pair()
    (event,) = pair.mux.receive("x" * (HELLO_BYTES_MAX + 1), pair.now)
    assert event == BadMessage("too_large", f"more than {HELLO_BYTES_MAX} bytes before the welcome")


def test_the_largest_hello_fits() -> None:
    largest = HELLO.model_copy(
        update={
            "ship": "s" * 128,
            "boot": "b" * 128,
            "join_token": "\x01" * 128,
            "agent_version": "\x01" * 64,
            "runtime": "r" * 31,
        }
    )
    assert len(encode(largest).encode()) <= HELLO_BYTES_MAX


# --- time -----------------------------------------------------------------------------------------------------------


def test_a_ship_reports_at_once_and_then_every_heartbeat() -> None:
    pair = Pair()
    pair.link()
    start = pair.now
    due: list[float] = []
    while pair.now < start + 3 * HEARTBEAT_S:
        deadline = pair.ship.next_deadline()
        assert deadline is not None
        pair.now = deadline
        assert pair.ship.handle_timer(pair.now) == [ReportDue()]
        due.append(pair.now - start)
        pair.ship.report(observed(), pair.now)
    assert due == [0.0, HEARTBEAT_S, 2 * HEARTBEAT_S, 3 * HEARTBEAT_S]


def test_a_report_puts_the_next_heartbeat_off() -> None:
    pair = Pair()
    pair.link()
    pair.ship.report(observed(), pair.now + 3.0)
    assert pair.ship.next_deadline() == pair.now + 3.0 + HEARTBEAT_S


def test_a_heartbeat_that_is_not_answered_with_a_report_comes_again() -> None:
    pair = Pair()
    pair.link()
    pair.pass_time(2.5 * HEARTBEAT_S)
    assert pair.at_ship == [ReportDue()] * 3


def test_an_accepted_link_lives_on_in_silence() -> None:
    pair = Pair()
    pair.link()
    pair.pass_time(24 * 3600.0)
    assert pair.mux.state is pair.ship.state is State.LINKED
    assert pair.at_mux == []


def test_who_says_nothing_is_refused_after_the_handshake_time() -> None:
    mux = Pair().mux
    assert mux.handle_timer(1000.0 + HANDSHAKE_S - 0.001) == []
    assert kinds(mux.handle_timer(1000.0 + HANDSHAKE_S)) == [Closed]
    assert isinstance(decode_from_mux(mux.messages_to_send()[-1]), Refused)


def test_a_mux_that_says_nothing_is_left_after_the_handshake_time() -> None:
    ship = Pair().ship
    (event,) = ship.handle_timer(1000.0 + HANDSHAKE_S)
    assert event == Closed("handshake_timeout", "the mux did not answer in time")


def test_a_decision_that_does_not_come_in_time_is_a_refusal_with_retry() -> None:
    pair = Pair()
    pair.exchange()
    pair.pass_time(DECISION_S)
    assert kinds(pair.at_mux) == [Dialed, Closed]
    assert isinstance(pair.at_ship[0], WasRefused)
    assert (pair.at_ship[0].code, pair.at_ship[0].retry) == ("busy", True)


def test_bad_messages_do_not_put_the_handshake_deadline_off() -> None:
    mux = Pair().mux
    deadline = mux.next_deadline()
    mux.receive("rubbish", 1005.0)
    assert mux.next_deadline() == deadline


def test_a_late_decision_is_ignored() -> None:
    pair = Pair()
    pair.exchange()
    pair.pass_time(DECISION_S + 1)
    pair.mux.accept()
    assert pair.mux.refuse("late", "", retry=False) == []
    assert pair.mux.close("late", "") == []
    assert pair.mux.messages_to_send() == []


def test_a_ship_that_keeps_to_the_rate_is_not_slowed() -> None:
    pair = Pair()
    pair.link()
    report = encode(observed())
    for _ in range(int(20 * RATE_PER_S)):
        pair.now += 1 / RATE_PER_S
        pair.mux.receive(report, pair.now)
        assert pair.mux.pause_s() == 0.0


def test_a_flood_is_slowed_to_the_rate_and_nothing_of_it_is_lost() -> None:
    pair = Pair()
    pair.link()
    start = pair.now
    report = encode(observed())
    for _ in range(1000):
        assert kinds(pair.mux.receive(report, pair.now)) == [Reported]
        pair.now += pair.mux.pause_s()
    assert pair.now - start >= (1000 - RATE_BURST - 10) / RATE_PER_S


# --- whatever comes -------------------------------------------------------------------------------------------------

frames_from_mux: list[str | bytes] = [
    encode(message)
    for message in (
        Challenge(nonce="0" * 64),
        Welcome(heartbeat_s=2.0),
        Refused(code="busy", reason="later", retry=True),
        ProtocolError(code="what", detail="?"),
        desired(3),
    )
]
frames_from_ship: list[str | bytes] = [
    encode(message) for message in (HELLO, observed(), ProtocolError(code="what", detail="?"))
]


def check(end: ShipEnd | MuxEnd, events: Sequence[Event], decode: Callable[[str], Message]) -> None:
    for frame in end.messages_to_send():
        decode(frame)
        assert len(frame.encode()) <= MESSAGE_BYTES_MAX
    if any(isinstance(event, Closed) for event in events):
        assert isinstance(events[-1], Closed)
        assert end.state is State.CLOSED
        assert end.next_deadline() is None
    if end.state is not State.CLOSED and end.state is not State.LINKED:
        assert end.next_deadline() is not None


steps = st.lists(
    st.tuples(
        st.sampled_from(["frame", "frame", "frame", "noise", "time", "own"]),
        st.integers(0, 10),
        st.text(max_size=20) | st.binary(max_size=20),
        st.floats(0, 30),
    ),
    max_size=60,
)


@given(steps)
def test_no_messages_whatever_bring_the_ships_end_down(script: list[tuple[str, int, str | bytes, float]]) -> None:
    now = 0.0
    ship = ShipEnd(WHO, sign, CERTIFICATE, now)
    closed = 0
    for kind, number, noise, seconds in script:
        now += seconds / 10
        match kind:
            case "frame":
                events = ship.receive(frames_from_mux[number % len(frames_from_mux)], now)
            case "noise":
                events = ship.receive(noise, now)
            case "time":
                now += seconds
                events = ship.handle_timer(now)
            case _:
                ship.report(observed(number), now)
                events = []
        check(ship, events, decode_from_ship)
        closed += kinds(events).count(Closed)
    assert closed == (ship.state is State.CLOSED)


@given(steps)
def test_no_messages_whatever_bring_the_muxs_end_down(script: list[tuple[str, int, str | bytes, float]]) -> None:
    now = 0.0
    mux = MuxEnd("1" * 64, HEARTBEAT_S, CERTIFICATE, verify, now)
    helper = ShipEnd(WHO, sign, CERTIFICATE, now)
    helper.receive(mux.messages_to_send()[0], now)
    frames = [*frames_from_ship, *helper.messages_to_send()]
    closed = dialed = 0
    for kind, number, noise, seconds in script:
        now += seconds / 10
        match kind:
            case "frame":
                events = mux.receive(frames[number % len(frames)], now)
            case "noise":
                events = mux.receive(noise, now)
            case "time":
                now += seconds
                events = mux.handle_timer(now)
            case _:
                events = []
                if number < 4:
                    mux.accept()
                elif number < 9:
                    mux.send_desired(desired(number))
                else:
                    events = mux.refuse("no", "", retry=False)
        check(mux, events, decode_from_mux)
        closed += kinds(events).count(Closed)
        dialed += kinds(events).count(Dialed)
        assert dialed or Reported not in kinds(events)
        assert mux.pause_s() >= 0
    assert dialed <= 1
    assert closed == (mux.state is State.CLOSED)


@given(st.lists(st.tuples(st.sampled_from(["desired", "report", "exchange", "time"]), st.integers(1, 50)), max_size=40))
def test_the_last_word_of_each_side_arrives(script: list[tuple[str, int]]) -> None:
    pair = Pair()
    pair.link()
    wanted: Desired | None = None
    said: Observed | None = None
    generation = 0
    for kind, number in script:
        match kind:
            case "desired":
                generation += number
                wanted = desired(generation)
                pair.mux.send_desired(wanted)
            case "report":
                said = observed(number)
                pair.ship.report(said, pair.now)
            case "exchange":
                pair.exchange()
            case _:
                pair.pass_time(float(number))
    pair.exchange()
    arrived = [event.desired for event in pair.at_ship if isinstance(event, DesiredReceived)]
    reports = [event.observed for event in pair.at_mux if isinstance(event, Reported)]
    assert arrived[-1:] == ([wanted] if wanted else [])
    assert [report.generation for report in reports[-1:]] == ([said.generation] if said else [])
    assert [report.seq for report in reports] == list(range(1, len(reports) + 1))
    assert BadMessage not in kinds(pair.at_ship) + kinds(pair.at_mux)
