"""The data plane's own answers: one small page, or JSON for everything that is not a browser's page load.

Sans-I/O. Rules: self-contained, no script, strict Content-Security-Policy, never cached; texts say what is so and what
happens next.
"""

from __future__ import annotations

import base64
import email.utils
import hashlib
import html
import http
import json

from mux.proxy.refusal import Refusal
from mux.proxy.request import RequestHead

_STYLE = (
    "body{font:1.1rem/1.5 system-ui,sans-serif;max-width:34rem;margin:18vh auto 0;padding:0 1.5rem;"
    "color:#1b1f24;background:#fff}h1{font-size:1.3rem}a{color:#0a58ca}small{color:#57606a}"
    "@media(prefers-color-scheme:dark){body{color:#e6edf3;background:#0d1117}a{color:#6cb6ff}small{color:#9198a1}}"
)
_CSP = (
    "default-src 'none'; style-src 'sha256-"
    + base64.b64encode(hashlib.sha256(_STYLE.encode()).digest()).decode()
    + "'; base-uri 'none'; form-action 'none'; frame-ancestors 'self'"
)


def answer(refusal: Refusal, request: RequestHead | None, event_name: str, now: float, unread: bytes = b"") -> bytes:
    """A complete response that ends its connection.

    Args:
        refusal: what to say.
        request: what it answers: a browser's page load gets HTML, everything else JSON
            ``{"error": {"code", "message"}}``; None if it could not be read.
        event_name: title of the page.
        now: seconds since the epoch.
        unread: what there is of a request that could not be read: it may show that a person waits, or that there must
            be no body (RFC 9110 section 9.3.2).
    """
    loads = unread.startswith(b"GET ") and b"text/html" in unread if request is None else _loads_a_page(request)
    page = loads and not refusal.plain
    bodiless = unread.startswith(b"HEAD ") if request is None else request.method == b"HEAD"
    reload_s = refusal.reload_s if page and request is not None and request.method == b"GET" else None
    if refusal.plain:
        body, content_type = refusal.text.encode(), "text/plain; charset=utf-8"
    elif page:
        body, content_type = _page(refusal, event_name, reload_s), "text/html; charset=utf-8"
    else:
        body, content_type = _json(refusal), "application/json"
    fields = [
        ("Content-Type", content_type),
        ("Content-Length", str(len(body))),
        ("Cache-Control", "no-store"),
        ("Content-Security-Policy", _CSP),
        ("X-Content-Type-Options", "nosniff"),
        ("Referrer-Policy", "no-referrer"),
        ("Connection", "Upgrade, close" if refusal.status == 426 else "close"),  # RFC 9110 section 7.8
        ("Date", email.utils.formatdate(now, usegmt=True)),  # RFC 9110 section 6.6.1
        *refusal.headers,
    ]
    if refusal.reload_s is not None:
        fields.append(("Retry-After", str(refusal.reload_s)))
    if reload_s is not None:
        fields.append(("Refresh", str(reload_s)))
    status = f"HTTP/1.1 {refusal.status} {http.HTTPStatus(refusal.status).phrase}"
    head = "\r\n".join([status, *(f"{name}: {value}" for name, value in fields)]) + "\r\n\r\n"
    return head.encode("latin-1", "replace") + (b"" if bodiless else body)


def _loads_a_page(request: RequestHead) -> bool:
    """A person waits for it: a GET, or a form that was sent. What scripts ask for is not shown to anybody."""
    if request.upgrade or not any(b"text/html" in value.lower() for value in request.values(b"accept")):
        return False
    return request.method == b"GET" or b"navigate" in request.values(b"sec-fetch-mode")


def _page(refusal: Refusal, event_name: str, reload_s: int | None) -> bytes:
    reload = "" if reload_s is None else f'<meta http-equiv="refresh" content="{reload_s}">'
    promise = "" if reload_s is None else " This page reloads itself."
    link = (
        "" if refusal.link is None else f'<p><a href="{html.escape(refusal.link)}">{html.escape(refusal.link)}</a></p>'
    )
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width,initial-scale=1">'
        f"{reload}<title>{html.escape(event_name or 'mux')}</title><style>{_STYLE}</style></head>"
        f"<body><main><h1>{html.escape(event_name or 'mux')}</h1><p>{html.escape(refusal.text)}{promise}</p>{link}"
        f"<p><small>{refusal.status} {html.escape(refusal.code)}</small></p></main></body></html>\n"
    ).encode()


def _json(refusal: Refusal) -> bytes:
    return json.dumps({"error": {"code": refusal.code, "message": refusal.text}}).encode() + b"\n"
