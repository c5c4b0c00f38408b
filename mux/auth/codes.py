"""Generated codes: what is printed on an attendee's slip.

Owns their alphabet, their length, and how what somebody typed becomes the code that was meant. Pure but for the
system's randomness.

Rules: a code has 70 random bits, so it can be checked at any rate without a limit: at 10,000 guesses a second against
1,000 codes, finding one takes millions of years. It is kept as a keyed hash and found by equality.
"""

from __future__ import annotations

import secrets

from mux.keys import Keyring

ALPHABET = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
"""Crockford's base32 (https://www.crockford.com/base32.html): no I, L, O (read as 1, 1, 0) and no U."""
SYMBOLS = 14
"""Five bits each: 70 random bits, above the 64 that make a limit unnecessary."""
GROUP = 4
DISTINCT_MIN = 6
"""A code that somebody brings along must have as many different symbols: of random ones, one in a million has fewer."""
TYPED_CHARS_MAX = 64
"""Longer than any way to type a code; what is longer is none."""

_LOOKALIKES = str.maketrans({"O": "0", "I": "1", "L": "1"})
_SEPARATORS = frozenset(" -\u2010\u2011\u2012\u2013\u2014\u2212_.\t\u00a0\u202f")
_COPIED_ALONG = frozenset(
    "\r\n\"'\u2018\u2019\u201c\u201d\u201e\u00ab\u00bb\u00ad\u200b\u200c\u200d\u200e\u200f\u2060\ufeff"
)
"""What comes with a code that is copied out of a mail or chat: quotation marks, line ends, what has no shape."""


def new_code() -> str:
    """A fresh code, grouped for reading: ``7K3M-Q9XD-2FHT-WB``."""
    return grouped("".join(secrets.choice(ALPHABET) for _ in range(SYMBOLS)))


def grouped(code: str) -> str:
    """A normalised code in groups of four."""
    return "-".join(code[start : start + GROUP] for start in range(0, len(code), GROUP))


def normalise(typed: str) -> str | None:
    """The code that was meant, without separators, or None when this cannot be one.

    Case, spaces, dashes and what is copied along do not matter; O counts as 0, I and L as 1.
    """
    if len(typed) > TYPED_CHARS_MAX:
        return None
    code = "".join(c for c in typed if c not in _SEPARATORS and c not in _COPIED_ALONG).upper().translate(_LOOKALIKES)
    return code if len(code) == SYMBOLS and all(c in ALPHABET for c in code) else None


def code_hash(keys: Keyring, typed: str) -> str | None:
    """The keyed hash of what somebody typed, or None when it cannot be a code."""
    code = normalise(typed)
    return keys.code_hash(code) if code is not None else None


def acceptable(typed: str) -> bool:
    """Whether a code that an organizer brings along may be one: the right form, and not visibly made up.

    Codes are never limited, so one that can be guessed must not pass for one. It belongs in the password column.
    """
    code = normalise(typed)
    return code is not None and len(set(code)) >= DISTINCT_MIN
