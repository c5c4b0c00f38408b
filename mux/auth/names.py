"""What may be a name or an e-mail address. Pure.

Owns the rules for what people enter about themselves. Uniqueness is the store's, by `mux.core.fold`.
"""

from __future__ import annotations

import unicodedata

from mux.core.fold import fold

NAME_CHARS_MAX = 64
EMAIL_CHARS_MAX = 254
"""RFC 5321, section 4.5.3.1.3: a path has 256 octets, two of them brackets."""
LOGIN_CHARS_MAX = 254
"""What the login field takes: a name or an e-mail address."""

_UNSEEN = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"})
"""Control, format (direction marks, joiners), surrogate, private, unassigned, line and paragraph separators."""
MARKS_MAX = 3
"""Combining marks in a row: enough for every language, too few to paint over the neighbouring lines."""


def clean(text: str) -> str:
    """As it is kept: composed (NFC), spaces collapsed. For comparison, see :func:`mux.core.fold.fold`."""
    return " ".join(unicodedata.normalize("NFC", text).split())


def name_fault(name: str) -> str:
    """Why ``name`` cannot be somebody's name, as a sentence; empty when it can."""
    if len(name) > NAME_CHARS_MAX:
        return f"A name has at most {NAME_CHARS_MAX} characters; this one has {len(name)}."
    marks = 0
    for character in name:
        category = unicodedata.category(character)
        if category in _UNSEEN or (category == "Zs" and character != " "):
            return f"A name cannot hold the invisible character U+{ord(character):04X}."
        marks = marks + 1 if category.startswith("M") else 0
        if marks > MARKS_MAX:
            return "A name cannot pile up so many accents on one letter."
    if not any(unicodedata.category(character)[0] in "LN" for character in fold(name)):
        return "A name needs at least one letter or digit."
    return ""


def email_fault(email: str) -> str:
    """Why ``email`` cannot be an e-mail address, as a sentence; empty when it can. Only its form is looked at."""
    local, at, domain = email.rpartition("@")
    if not at or not local or not domain:
        return "An e-mail address looks like name@example.org."
    if len(email) > EMAIL_CHARS_MAX:
        return f"An e-mail address has at most {EMAIL_CHARS_MAX} characters."
    if any(c.isspace() or unicodedata.category(c) in _UNSEEN or c in ',;<>"' for c in email):
        return "An e-mail address has no spaces, commas, semicolons, quotes or angle brackets."
    return ""
