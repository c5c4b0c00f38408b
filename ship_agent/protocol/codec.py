"""Messages to text frames and back.

Owns the bound on a message's size and what may be said about a message that cannot be read. Knows nothing of order,
time or connections: that is the link.

Rules: an error's detail is short and made of our own words and field names alone. Neither a value nor an unknown key
of the other side is quoted: it may be huge, hostile or secret, and the detail goes into logs and back on the wire.
"""

from __future__ import annotations

import unicodedata
from typing import Literal, TypeVar

from pydantic import BaseModel, ConfigDict, TypeAdapter, ValidationError

from ship_agent.protocol import messages
from ship_agent.protocol.messages import (
    MESSAGE_BYTES_MAX,
    MUX_MESSAGES,
    PROTOCOL_VERSION,
    SHIP_MESSAGES,
    Challenge,
    Desired,
    Hello,
    Message,
    Observed,
    ProtocolError,
    Refused,
    RegistryLogins,
    Welcome,
)

DETAIL_CHARS_MAX = 200
"""Bound of an error's detail: a path of field names and a reason."""
PATH_PARTS_MAX = 6
"""Messages nest no deeper than this; a longer path is somebody's invention."""

_ALWAYS = {"type", "version"}
"""By these a message is told; they are defaults all the same."""
_T = TypeVar("_T")
_FIELD_NAMES = frozenset(
    name
    for model in vars(messages).values()
    if isinstance(model, type) and issubclass(model, Message)
    for name in model.model_fields
)
# Characters that reorder text where it is shown: an "error" in a log could be made to read as something else.
_BIDI_CONTROLS = frozenset("\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")
_LINE_BREAKS = frozenset("\u2028\u2029")


class CodecError(Exception):
    """A message that cannot be read, or is too large to be sent.

    Args:
        code: ``binary``, ``not_utf8``, ``too_large``, ``not_json``, ``version``, ``unknown`` (a message of a type that
            this side does not know) or ``invalid``.
        detail: one bounded sentence, free of the other side's content.
    """

    def __init__(self, code: str, detail: str) -> None:
        super().__init__(f"{code}: {detail}")
        self.code = code
        self.detail = detail[:DETAIL_CHARS_MAX]


class _Versioned(BaseModel):
    """Just enough of a greeting to see which version the other side speaks."""

    model_config = ConfigDict(extra="ignore", strict=True)
    type: Literal["hello", "challenge"]
    version: int


class _Typed(BaseModel):
    """Just enough of a message to see of which type it is."""

    model_config = ConfigDict(extra="ignore", strict=True)
    type: str


def encode(message: Message) -> str:
    """One text frame. Raises CodecError (``too_large``) above MESSAGE_BYTES_MAX.

    Fields that are as they are by default are left out: whoever does not know a new one yet understands the rest.
    """
    rest = message.model_dump_json(exclude_defaults=True)
    first = message.model_dump_json(include=_ALWAYS)
    text = first if rest == "{}" else first if first == rest else f"{first[:-1]},{rest[1:]}"
    size = len(text.encode())
    if size > MESSAGE_BYTES_MAX:
        raise CodecError("too_large", f"a message of {size} bytes; at most {MESSAGE_BYTES_MAX} are allowed")
    return text


def decode_from_mux(frame: str | bytes) -> Challenge | Welcome | Refused | ProtocolError | RegistryLogins | Desired:
    """A message that the mux sent; ``bytes`` stand for a binary frame. Raises CodecError."""
    return _decode(MUX_MESSAGES, frame)


def decode_from_ship(frame: str | bytes) -> Hello | Observed | ProtocolError:
    """A message that a ship sent; ``bytes`` stand for a binary frame. Raises CodecError."""
    return _decode(SHIP_MESSAGES, frame)


def clean_text(text: str, *, chars_max: int, lines: bool = False) -> str:
    """The other side's text without control, reordering and line-breaking characters, cut to ``chars_max``.

    Args:
        text: hostile.
        chars_max: bound of the result, in characters; the end of a longer text is dropped.
        lines: keep newlines and tabs (log tails).
    """
    kept = (
        character
        for character in text[: 2 * chars_max]
        if (lines and character in "\n\t")
        or (
            unicodedata.category(character) not in ("Cc", "Cs")
            and character not in _BIDI_CONTROLS
            and character not in _LINE_BREAKS
        )
    )
    return "".join(kept)[:chars_max]


def _decode(adapter: TypeAdapter[_T], frame: str | bytes) -> _T:
    if isinstance(frame, bytes):
        raise CodecError("binary", "a binary frame; messages are text frames")
    if len(frame) > MESSAGE_BYTES_MAX:
        raise CodecError("too_large", f"more than {MESSAGE_BYTES_MAX} bytes")
    try:
        body = frame.encode()
    except UnicodeEncodeError:
        raise CodecError("not_utf8", "not UTF-8") from None
    if len(body) > MESSAGE_BYTES_MAX:
        raise CodecError("too_large", f"more than {MESSAGE_BYTES_MAX} bytes")
    try:
        return adapter.validate_json(body)
    except ValidationError as error:
        # Not chained: a validation error carries the input, and a traceback would print it.
        raise _refusal(body, error) from None


def _refusal(body: bytes, error: ValidationError) -> CodecError:
    first = error.errors(include_url=False, include_context=False, include_input=False)[0]
    if first["type"] == "json_invalid":
        return CodecError("not_json", "not JSON")
    try:
        version = _Versioned.model_validate_json(body).version
    except ValidationError:
        version = PROTOCOL_VERSION
    if version != PROTOCOL_VERSION:
        return CodecError("version", f"another version of the protocol; this side speaks {PROTOCOL_VERSION}")
    if first["type"] == "union_tag_invalid" and _of_unknown_type(body):
        return CodecError("unknown", "a message of a type that this side does not know")
    path = ".".join(_path_part(part) for part in first["loc"][:PATH_PARTS_MAX]) or "message"
    return CodecError("invalid", f"{path}: {first['type']}")


def _of_unknown_type(body: bytes) -> bool:
    try:
        return _Typed.model_validate_json(body).type not in _TYPES
    except ValidationError:
        return False


def _path_part(part: int | str) -> str:
    return str(part) if isinstance(part, int) or part in _FIELD_NAMES or part in _TYPES else "?"


_TYPES = frozenset(
    {"challenge", "hello", "welcome", "refused", "protocol_error", "registry_logins", "desired", "observed"}
)
