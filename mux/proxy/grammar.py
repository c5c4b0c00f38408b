"""The grammar of HTTP/1.1 heads that requests and responses share, in its narrowest reading.

Sans-I/O. Owns how a head is found in a stream and cut into fields (RFC 9112 sections 2.2 and 5, RFC 9110 section 5).
Rules: what two parsers could read differently is malformed; nothing is repaired; values are kept as sent, without the
optional white space around them.
"""

from __future__ import annotations

import re
from typing import NamedTuple

from mux.proxy.limits import HEAD_BYTES_MAX, HEAD_FIELDS_MAX, LENGTH_DIGITS_MAX, LIST_ITEMS_MAX
from mux.proxy.refusal import Malformed

TCHAR = rb"!#$%&'*+\-.^_`|~0-9A-Za-z"
TOKEN = re.compile(rb"[" + TCHAR + rb"]+")
_BARE = re.compile(rb"\r(?!\n)|(?<!\r)\n")
_BARE_UNFINISHED = re.compile(rb"\r(?=[^\n])|(?<!\r)\n")
# What may stand in a line: HTAB, SP, visible characters and obs-text (RFC 9110 section 5.5).
_LINE_BYTES = bytes([0x09, *range(0x20, 0x7F), *range(0x80, 0x100)])
_LENGTH = re.compile(rb"0|[1-9][0-9]*")


class Field(NamedTuple):
    """One field line: the name as sent, the name in lower case, the value without white space around it."""

    name: bytes
    key: bytes
    value: bytes


def find_head(buffer: bytearray, scanned: int = 0) -> int:
    """Length of the head at the start of ``buffer``, its empty line included; 0 when it is not complete yet.

    Raises Malformed as soon as it is certain, so that a client that waits for an answer gets one.

    Args:
        buffer: bytes from the head's first one on.
        scanned: how many of them an earlier call has seen, so that a head in many pieces is looked at once.
    """
    end = buffer.find(b"\r\n\r\n", max(0, scanned - 3), HEAD_BYTES_MAX)
    if end >= 0:
        return end + 4
    if fault := _BARE_UNFINISHED.search(buffer, max(0, scanned - 1), HEAD_BYTES_MAX):
        raise bare(fault.group()[:1])
    if len(buffer) >= HEAD_BYTES_MAX:
        if buffer.find(b"\r\n", 0, HEAD_BYTES_MAX) < 0:
            raise Malformed("line_too_long", f"the first line is longer than {HEAD_BYTES_MAX} bytes", 414)
        raise Malformed("head_too_large", f"the head is larger than {HEAD_BYTES_MAX} bytes (RFC 6585 section 5)", 431)
    return 0


def bare(byte: bytes) -> Malformed:
    """The fault of a CR without LF, or an LF without CR."""
    name = "CR" if byte == b"\r" else "LF"
    return Malformed(f"bare_{name.lower()}", f"a bare {name} in the head (RFC 9112 section 2.2)")


def split_head(head: bytes) -> list[bytes]:
    """The lines of a complete head, without line ends and without the empty line. Raises Malformed."""
    # Counting is twenty times as fast as searching, and nearly always enough.
    if not head.count(b"\r\n") == head.count(b"\r") == head.count(b"\n") and (fault := _BARE.search(head)):
        raise bare(fault.group())
    if head.translate(None, _LINE_BYTES + b"\r\n"):
        raise Malformed("control_character", "a control character in the head (RFC 9110 section 5.5)")
    return head[:-4].split(b"\r\n")


def parse_fields(lines: list[bytes]) -> list[Field]:
    """Field lines to fields. Raises Malformed."""
    if len(lines) > HEAD_FIELDS_MAX:
        raise Malformed("too_many_fields", f"more than {HEAD_FIELDS_MAX} fields (RFC 6585 section 5)", 431)
    return [parse_field(line) for line in lines]


def parse_field(line: bytes) -> Field:
    """One field line. Raises Malformed for a folded line, white space around the name, or a name that is no token."""
    name, colon, value = line.partition(b":")
    if not TOKEN.fullmatch(name):
        if line[:1] in (b" ", b"\t"):
            raise Malformed("obs_fold", "a folded field line (RFC 9112 section 5.2)")
        if colon and name.rstrip(b" \t") != name:
            raise Malformed("space_before_colon", "white space before a colon (RFC 9112 section 5.1)")
        raise Malformed("bad_field_name", "a field name that is not a token (RFC 9110 section 5.1)")
    if not colon:
        raise Malformed("bad_field_line", "a field line without a colon (RFC 9112 section 5)")
    return Field(name, name.lower(), value.strip(b" \t"))


def values_of(fields: list[Field], key: bytes) -> list[bytes]:
    """Every value of a field, in order."""
    return [field.value for field in fields if field.key == key]


def list_items(values: list[bytes]) -> list[bytes]:
    """Items of a comma list over several field lines, lower case, empty ones left out (RFC 9110 section 5.6.1).

    Raises Malformed if there are too many.
    """
    if sum(value.count(b",") for value in values) >= LIST_ITEMS_MAX:
        raise Malformed("list_too_long", f"a list of more than {LIST_ITEMS_MAX} items (RFC 9110 section 5.6.1)", 431)
    return [item for value in values for part in value.split(b",") if (item := part.strip(b" \t").lower())]


def content_length(values: list[bytes]) -> int:
    """The one Content-Length. Raises Malformed if it is doubled or anything but a plain number."""
    if len(values) > 1:
        raise Malformed("length_doubled", "more than one Content-Length (RFC 9112 section 6.3)")
    value = values[0]
    if not _LENGTH.fullmatch(value) or len(value) > LENGTH_DIGITS_MAX:
        raise Malformed("length_malformed", "a Content-Length that is not a plain number (RFC 9110 section 8.6)")
    return int(value)


def transfer_coding(values: list[bytes], minor: int, *, length: bool) -> None:
    """Check Transfer-Encoding: exactly one ``chunked``, in HTTP/1.1, without Content-Length. Raises Malformed."""
    if minor == 0:
        raise Malformed("coding_in_http_1_0", "a Transfer-Encoding in HTTP/1.0 (RFC 9112 section 6.1)")
    if length:
        raise Malformed("length_with_coding", "Content-Length beside Transfer-Encoding (RFC 9112 section 6.1)")
    if len(values) > 1:
        raise Malformed("coding_doubled", "more than one Transfer-Encoding (RFC 9112 section 6.1)")
    if values[0].lower() != b"chunked":
        if b"chunked" in values[0].lower():
            raise Malformed("coding_malformed", "Transfer-Encoding is not plain chunked (RFC 9112 section 6.1)")
        raise Malformed("coding_unsupported", "a Transfer-Encoding other than chunked (RFC 9112 section 6.1)", 501)
