"""Slips: a printable sheet with one slip for each freshly made code.

Owns its look: one HTML file on A4, two columns with lines to cut along, no outside resources, so that it prints the
same anywhere and no code leaves the machine that it is opened on. Pure.
"""

from __future__ import annotations

from collections.abc import Iterable
from html import escape

from mux.auth.roster_csv import IssuedCode
from mux.core.model import Role

_STYLE = """
@page { size: A4 portrait; margin: 10mm; }
* { box-sizing: border-box; }
body { margin: 0; font: 11pt/1.35 system-ui, sans-serif; color: #000; background: #fff; }
.note { padding: 4mm; border: 0.4mm solid #000; margin: 4mm; }
.sheet { display: grid; grid-template-columns: 1fr 1fr; }
.slip { height: 45mm; padding: 5mm 6mm; overflow: hidden; break-inside: avoid; border: 0.2mm dashed #888;
  margin: 0 -0.2mm -0.2mm 0; }
.event { font-size: 9pt; color: #444; }
.name { font-size: 13pt; font-weight: 600; overflow: hidden; text-overflow: ellipsis; white-space: nowrap; }
.code { font: 600 15pt/1.6 ui-monospace, monospace; letter-spacing: 0.04em; }
.address { overflow-wrap: anywhere; }
@media print { .note { display: none; } }
"""


def sheet(codes: Iterable[IssuedCode], *, event: str, address: str, organizer_address: str | None = None) -> str:
    """The sheet as an HTML document. It holds secrets: write it 0600 and delete it after printing.

    Args:
        codes: whose slips to print, in this order.
        event: name of the event.
        address: where attendees log in, as they type it.
        organizer_address: where helpers and organizers do, if it is to stand on their slips.
    """
    slips = "\n".join(
        _slip(issued, event, address if issued.role is Role.ATTENDEE else organizer_address or address)
        for issued in codes
    )
    return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="robots" content="noindex">
<meta name="referrer" content="no-referrer">
<title>{escape(event)}: slips</title>
<style>{_STYLE}</style>
</head>
<body>
<p class="note">Print this on A4 without scaling and cut along the dashed lines. Whoever holds a slip can log in as the
person on it: delete this file when it is printed.</p>
<main class="sheet">
{slips}
</main>
</body>
</html>
"""


def _slip(issued: IssuedCode, event: str, address: str) -> str:
    role = "" if issued.role is Role.ATTENDEE else f" · {escape(issued.role.value)}"
    return (
        '<section class="slip">'
        f'<div class="event">{escape(event)}{role}</div>'
        f'<div class="name"><bdi>{escape(issued.name)}</bdi></div>'
        f'<div class="code">{escape(issued.code)}</div>'
        f'<div class="address">{escape(address)}</div>'
        "</section>"
    )
