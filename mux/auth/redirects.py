"""Where a login leads: `next=` may name a path of this site and nothing else. Pure.

Rule: what browsers could read as another site is refused, in any spelling: they drop tabs and line ends, take a
backslash for a slash (WHATWG URL, section 4.4), and some servers decode escapes before they redirect.
"""

from __future__ import annotations

import re
from urllib.parse import unquote

NEXT_CHARS_MAX = 2048
"""Longer than any deep link; shorter than what upsets proxies in front of us."""
_DECODINGS_MAX = 4

_PLAIN = re.compile(r"/[!-\[\]-~]*")
"""A slash, then visible ASCII without backslash. Everything else must come percent-encoded."""
_HARMFUL = re.compile(r"[\x00-\x1f\x7f\\]|\A//|(\A|/)\.{1,2}(/|\Z)")
"""Control characters, backslashes, a second slash at the start, dot segments."""


def local_path(next: str | None, fallback: str = "/camp/") -> str:  # noqa: A002 - the parameter's name in the URL
    """``next`` if it is a path of this site, else ``fallback``.

    Args:
        next: as it came in, decoded once as a form or query value.
        fallback: a path known to be good.
    """
    if not next or len(next) > NEXT_CHARS_MAX or _PLAIN.fullmatch(next) is None:
        return fallback
    path = re.split(r"[?#]", next, maxsplit=1)[0]
    for _ in range(_DECODINGS_MAX):
        if _HARMFUL.search(path):
            return fallback
        decoded = unquote(path)
        if decoded == path:
            return next
        path = decoded
    return fallback
