"""Cookies at the border: which are the mux's, and what a workspace may set.

Sans-I/O. Owns the reading of Cookie and Set-Cookie (RFC 6265). Rules: the mux's cookies never reach a workspace; what
a workspace sets stays inside its own path, has no Domain, and never bears one of the mux's names; every other cookie
is passed on byte for byte; nobody can make a field cost more by filling it with semicolons.
"""

from __future__ import annotations

import functools
import re

from mux.proxy.limits import COOKIE_ATTRIBUTES_MAX

MUX_PREFIXES = (b"mux_", b"mux-", b"__host-mux", b"__secure-mux")
"""Names that begin so are the mux's, in any case."""


def is_mux_cookie(name: bytes, session_cookie: bytes) -> bool:
    """Whether a cookie of that name is the mux's own."""
    key = name.lower()
    return key == session_cookie.lower() or key.startswith(MUX_PREFIXES)


# Both are matched against a field that was given a semicolon in front: each cookie then begins with one.
@functools.lru_cache(maxsize=16)
def _values_of(name: bytes) -> re.Pattern[bytes]:
    return re.compile(rb";[ \t]*+%b[ \t]*+=([^;]*+)" % re.escape(name))


@functools.lru_cache(maxsize=16)
def _muxs(session_cookie: bytes) -> re.Pattern[bytes]:
    """Each cookie that ``is_mux_cookie`` means."""
    names = [re.escape(session_cookie) + rb"[ \t]*(?=[=;]|\Z)", *map(re.escape, MUX_PREFIXES)]
    return re.compile(rb";[ \t]*+(?:%b)[^;]*+" % b"|".join(names), re.IGNORECASE)


def cookie_values(headers: list[bytes], name: bytes) -> set[bytes]:
    """The different values that a cookie has in all Cookie fields of a request."""
    find = _values_of(name).findall
    return {value.strip(b" \t") for header in headers for value in find(b";" + header)}


def without_mux_cookies(header: bytes, session_cookie: bytes) -> bytes:
    """A Cookie value without the mux's cookies; the others byte for byte; empty if none is left."""
    kept, removed = _muxs(session_cookie).subn(b"", b";" + header)
    return kept[1:].strip(b" \t") if removed else header


def confined_set_cookie(
    value: bytes, session_cookie: bytes, prefix: bytes, path: bytes, *, below: bool = False
) -> bytes | None:
    """A workspace's Set-Cookie as browsers may see it, or None if they may not.

    Args:
        value: as the workspace sent it.
        session_cookie: name of the session cookie.
        prefix: ``/camp/<project>``, or that of a further port; empty for no confinement.
        path: path of the request, from which browsers take the default (RFC 6265 section 5.1.4).
        below: paths of the workspace that are not inside the prefix are put below it; else they are widened to it.
    """
    if value.count(b";") > COOKIE_ATTRIBUTES_MAX:
        return None
    pair, *attributes = value.split(b";")
    name, equals, _ = pair.partition(b"=")
    name = name.strip(b" \t")
    # Browsers send a nameless cookie as its bare value, which may then read as a name and a value.
    if not equals or not name or is_mux_cookie(name, session_cookie):
        return None
    named: bytes | None = None
    kept = [pair]
    for attribute in attributes:
        key, _, text = attribute.partition(b"=")
        key, text = key.strip(b" \t").lower(), text.strip(b" \t")
        if key == b"domain":
            return None
        if key == b"path":
            named = text
            if not _inside(text, prefix):
                if below and text.startswith(b"/"):
                    named = prefix + text
                    kept.append(b" Path=" + named)
                continue
        kept.append(attribute)
    scope = path[: max(1, path.rfind(b"/"))] if named is None else named
    if not _inside(scope, prefix):
        kept.append(b" Path=" + prefix + b"/")
    return b";".join(kept)


def _inside(path: bytes, prefix: bytes) -> bool:
    return not prefix or path == prefix or path.startswith(prefix + b"/")
