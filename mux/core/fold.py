"""Folding: when two names or e-mail addresses count as the same.

Owns the one rule of likeness that the store's uniqueness, login and the secrets of attendees share.

Rules: Unicode NFKC and case folding, characters that show nothing are dropped, runs of spaces become one. Folding a
folded text changes nothing.
"""

from __future__ import annotations

import unicodedata

_ROUNDS_MAX = 8
"""Folding settles after two or three rounds (a few characters decompose into foldable ones); this is for safety."""


def fold(text: str) -> str:
    """``text`` as it is compared (Unicode Standard Annex 15, NFKC, and chapter 3.13, toNFKC_Casefold).

    Args:
        text: a name, an e-mail address, or what somebody typed as such.
    """
    for _ in range(_ROUNDS_MAX):
        folded = _round(text)
        if folded == text:
            break
        text = folded
    return text


def _round(text: str) -> str:
    folded = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", text).casefold())
    return " ".join("".join(c for c in folded if not _shows_nothing(c)).split())


def _shows_nothing(character: str) -> bool:
    """Format characters (joiners, direction marks) and variation selectors: two texts may differ in them unseen."""
    return unicodedata.category(character) == "Cf" or "\ufe00" <= character <= "\ufe0f"
