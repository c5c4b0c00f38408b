"""Messages to frames and back, and what is said of a frame that is none."""

from __future__ import annotations

import json
import traceback
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ship_agent.protocol.codec import (
    DETAIL_CHARS_MAX,
    CodecError,
    clean_text,
    decode_from_mux,
    decode_from_ship,
    encode,
)
from ship_agent.protocol.messages import (
    MESSAGE_BYTES_MAX,
    Challenge,
    Message,
    ProtocolError,
    Refused,
    Welcome,
)
from tests.ship_agent.protocol.samples import HELLO, OBSERVED_WORKSPACE, desired, observed

FROM_MUX: list[Message] = [
    Challenge(nonce="0" * 64),
    Welcome(heartbeat_s=5.0),
    Refused(code="unknown_ship", reason="no such ship", retry=False),
    ProtocolError(code="not_due", detail="hello is not due"),
    desired(),
]
FROM_SHIP: list[Message] = [HELLO, observed(), ProtocolError(code="not_json", detail="not JSON")]
CODES = {"binary", "not_utf8", "too_large", "not_json", "version", "unknown", "invalid"}

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda children: st.lists(children, max_size=4) | st.dictionaries(st.text(), children, max_size=4),
    max_leaves=12,
)


@pytest.mark.parametrize("message", FROM_MUX, ids=lambda message: message.type)
def test_what_the_mux_says_arrives_as_it_was_sent(message: Message) -> None:
    assert decode_from_mux(encode(message)) == message


@pytest.mark.parametrize("message", FROM_SHIP, ids=lambda message: message.type)
def test_what_a_ship_says_arrives_as_it_was_sent(message: Message) -> None:
    assert decode_from_ship(encode(message)) == message


@pytest.mark.parametrize("message", [m for m in FROM_MUX if m not in FROM_SHIP and not isinstance(m, ProtocolError)])
def test_a_ship_may_not_say_what_the_mux_says(message: Message) -> None:
    with pytest.raises(CodecError) as caught:
        decode_from_ship(encode(message))
    assert caught.value.code == "invalid"


@pytest.mark.parametrize(
    ("frame", "code"),
    [
        (b"\x00\xff", "binary"),
        (encode(HELLO).encode(), "binary"),
        ("\ud800", "not_utf8"),
        ("", "not_json"),
        ("{", "not_json"),
        ("[" * 100_000, "not_json"),
        ('{"type": "hello", "ship": "\\ud800"}', "not_json"),
        ("null", "invalid"),
        ("[]", "invalid"),
        ("{}", "invalid"),
        ('{"type": "shutdown"}', "unknown"),
        ('{"type": 1}', "invalid"),
        ('{"type": "challenge"}', "invalid"),
        (" " * (MESSAGE_BYTES_MAX + 1), "too_large"),
        ('"' + "é" * (MESSAGE_BYTES_MAX // 2) + '"', "too_large"),
    ],
    ids=lambda value: None if isinstance(value, str) and len(value) > 40 else repr(value),
)
def test_a_frame_that_is_no_message_is_refused(frame: str | bytes, code: str) -> None:
    with pytest.raises(CodecError) as caught:
        decode_from_ship(frame)
    assert caught.value.code == code


def altered(message: Message, *path: str | int, to: Any) -> str:
    """The message's JSON with one value replaced or added."""
    raw = json.loads(encode(message))
    inner = raw
    for part in path[:-1]:
        inner = inner[part]
    inner[path[-1]] = to
    return json.dumps(raw)


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (["ship"], ""),
        (["ship"], "../../etc"),
        (["ship"], "a" * 129),
        (["ship"], None),
        (["boot"], "b\nc"),
        (["public_key"], "A" * 64),
        (["public_key"], "a" * 63),
        (["signature"], "b" * 127 + "\n"),
        (["join_token"], "t" * 129),
        (["agent_version"], 1),
        (["runtime"], "Process"),
    ],
)
def test_a_hello_out_of_bounds_is_refused(path: list[str], value: object) -> None:
    with pytest.raises(CodecError) as caught:
        decode_from_ship(altered(HELLO, *path, to=value))
    assert caught.value.code == "invalid"


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (["seq"], -1),
        (["seq"], 2**53),
        (["seq"], "1"),
        (["seq"], True),
        (["seq"], 1.5),
        (["generation"], None),
        (["phase"], "p" * 501),
        (["resources", "load_1m"], float("nan")),
        (["resources", "load_1m"], float("inf")),
        (["resources", "load_1m"], -0.1),
        (["resources", "cpus"], 10**400),
        (["limits"], ["x"] * 17),
        (["workspaces"], [json.loads(OBSERVED_WORKSPACE.model_dump_json())] * 1025),
        (["workspaces", 0, "state"], "exploded"),
        (["workspaces", 0, "seat"], 1024),
        (["workspaces", 0, "log_tail"], "l" * 16_385),
        (["workspaces", 0, "exit_code"], 256),
        (["workspaces", 0, "reason"], "Not A Code"),
    ],
)
def test_a_report_out_of_bounds_is_refused(path: list[str | int], value: object) -> None:
    with pytest.raises(CodecError) as caught:
        decode_from_ship(altered(observed(), *path, to=value))
    assert caught.value.code in ("invalid", "not_json")


def test_another_version_is_told_apart_from_nonsense() -> None:
    raw = json.loads(encode(HELLO))
    raw.update(version=2, something_new=True)
    del raw["public_key"]
    with pytest.raises(CodecError) as caught:
        decode_from_ship(json.dumps(raw))
    assert caught.value.code == "version"
    for nonsense in (-1, 10**400, 10**4000):
        with pytest.raises(CodecError) as caught:
            decode_from_ship(altered(HELLO, "version", to=nonsense))
        assert caught.value.code == "version"
    with pytest.raises(CodecError) as caught:
        decode_from_mux('{"type": "challenge", "version": 2, "proof_of_work": 1}')
    assert caught.value.code == "version"


@pytest.mark.parametrize(
    "frame",
    [
        altered(HELLO, "join_token", to="the-secret" * 100),
        altered(HELLO, "type", to="the-secret"),
        '{"type": "hello", "join_token": "the-secret',
        altered(observed(), "workspaces", 0, "state", to="the-secret"),
    ],
)
def test_an_error_quotes_nothing_of_the_message(frame: str) -> None:
    with pytest.raises(CodecError) as caught:
        decode_from_ship(frame)
    error = caught.value
    assert "the-secret" not in "".join(traceback.format_exception(error)).replace(repr(frame), "")
    assert "the-secret" not in error.detail
    assert len(error.detail) <= DETAIL_CHARS_MAX


def test_an_error_names_the_field() -> None:
    with pytest.raises(CodecError) as caught:
        decode_from_ship(altered(observed(), "workspaces", 0, "seat", to=-1))
    assert "workspaces.0.seat" in caught.value.detail


def test_the_key_of_a_secret_is_not_named_either() -> None:
    with pytest.raises(CodecError) as caught:
        decode_from_mux(altered(desired(), "workspaces", 0, "secrets", "THE_SECRET", to=1))
    assert "THE_SECRET" not in caught.value.detail


def test_secrets_do_not_show_in_a_messages_repr() -> None:
    shown = repr(desired()) + repr(HELLO)
    for secret in ("the-workspace-token", "the-api-key", "the-join-token", HELLO.signature):
        assert secret not in shown


def test_a_message_that_is_too_large_is_not_encoded() -> None:
    huge = OBSERVED_WORKSPACE.model_copy(update={"log_tail": "é" * 16_384})
    with pytest.raises(CodecError) as caught:
        encode(observed(workspaces=[huge] * 1024))
    assert caught.value.code == "too_large"


@pytest.mark.parametrize("decode", [decode_from_mux, decode_from_ship])
@given(frame=st.text() | st.binary() | json_values.map(json.dumps))
def test_whatever_arrives_is_a_message_or_a_codec_error(
    decode: Callable[[str | bytes], Message], frame: str | bytes
) -> None:
    try:
        message = decode(frame)
    except CodecError as error:
        assert error.code in CODES
        assert len(error.detail) <= DETAIL_CHARS_MAX
    else:
        assert isinstance(message, Message)


@given(
    st.sampled_from([*FROM_SHIP]),
    st.lists(st.tuples(st.integers(0, 10_000), st.integers(0, 3), st.text(max_size=3)), min_size=1, max_size=4),
)
def test_a_damaged_message_is_a_message_or_a_codec_error(message: Message, cuts: list[tuple[int, int, str]]) -> None:
    frame = encode(message)
    for position, length, instead in cuts:
        at = position % (len(frame) + 1)
        frame = frame[:at] + instead + frame[at + length :]
    try:
        decode_from_ship(frame)
    except CodecError as error:
        assert error.code in CODES


@given(st.text(), st.integers(0, 50), st.booleans())
def test_cleaned_text_is_bounded_and_shows_only_what_it_says(text: str, chars_max: int, lines: bool) -> None:
    cleaned = clean_text(text, chars_max=chars_max, lines=lines)
    assert len(cleaned) <= chars_max
    assert lines or not set(cleaned) & set("\n\t")
    assert not set(cleaned) & set("\0\x07\r\x1b\x7f\x85\x9b\u2028\u202e\u2066")
    assert clean_text(cleaned, chars_max=chars_max, lines=lines) == cleaned


def test_cleaned_text_keeps_what_people_write() -> None:
    assert clean_text("Zoë, 山田: a\tb\nc\x1b[31m 👩‍🔬", chars_max=100) == "Zoë, 山田: abc[31m 👩‍🔬"
    assert clean_text("a\tb\nc\rd", chars_max=100, lines=True) == "a\tb\ncd"


def test_what_is_as_it_is_by_default_is_not_sent() -> None:
    told = json.loads(encode(desired()))
    assert told["type"] == "desired"
    assert not {"restore_shared", "start_over", "shared"} & set(told["workspaces"][0])
    assert decode_from_mux(encode(desired())) == desired()
    said = json.loads(encode(observed(workspaces=[OBSERVED_WORKSPACE])))
    assert "saved" not in said["workspaces"][0]
    assert json.loads(encode(HELLO))["version"] == HELLO.version
    assert decode_from_ship(encode(HELLO)) == HELLO
