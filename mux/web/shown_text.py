"""What organizers may write for everybody to read: whatever people write, and nothing that shows as something else.

Pure. Whoever shows it still escapes it.
"""

from __future__ import annotations

import unicodedata
from typing import Final

_HIDDEN: Final = frozenset({"Cc", "Cf", "Cn", "Co", "Cs", "Zl", "Zp"})
"""Unicode's general categories of what has no shape of its own. Spaces of all widths have one."""
_WRITTEN: Final = frozenset("\u00ad\u061c\u200c\u200d\u200e\u200f")
"""Of these, what writing needs: the soft hyphen, joiners as in emoji and Persian, marks of direction."""
_TAGS: Final = range(0xE0020, 0xE0080)
"""Parts of the flags of England, Scotland and Wales."""


def can_be_shown(text: str, *, lines: bool = False) -> bool:
    """Whether a text shows as what it is: no control characters, nor any that turn the order of others around.

    Args:
        text: as somebody wrote it.
        lines: whether it may have several.

    Source: Unicode Standard Annex 9, section 2, for embeddings, overrides and isolates.
    """
    return all(
        unicodedata.category(each) not in _HIDDEN or each in _WRITTEN or ord(each) in _TAGS or (lines and each == "\n")
        for each in text
    )


def shown_lines(text: str) -> str | None:
    """A text of several lines as it is kept, without space around it; None if it cannot be shown.

    Args:
        text: as a form or a program sent it.
    """
    kept = text.replace("\r\n", "\n").strip()
    return kept if can_be_shown(kept, lines=True) else None
