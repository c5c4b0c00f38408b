"""What every page has in common: templates, headers that browsers obey, refusals as pages or as JSON, forms.

Rules:
- Autoescape is on and no template turns it off: names come from attendees, texts from ships.
- No inline script or style, nothing from elsewhere; the policy says so on every answer.
- Nobody is shown a stack trace; a program is never shown a login page.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import aiohttp
import structlog
from aiohttp import hdrs, web
from aiohttp.typedefs import Handler, Middleware
from jinja2 import Environment, PackageLoader, StrictUndefined

from mux.web.assets import asset_url

log = structlog.get_logger(__name__)

FORM_BYTES_MAX = 32 * 1024
"""The largest form holds a deep link of a few KB, a name and a secret."""
FORM_FIELDS_MAX = 16
FORM_TIMEOUT_S = 30.0
"""A form comes within this time or not at all: a few KB on the worst network."""
API_PATHS = "/api/"
"""Below it only programs ask, whatever they accept."""
BODY_BROKEN = (ConnectionError, aiohttp.ClientError, aiohttp.http_exceptions.HttpProcessingError)
"""What reading a body raises when its sender goes away or frames it wrongly: a stranger's doing, no defect of ours."""
BUSY_RETRY_S = 3
"""Retry-After when the engine cannot say yes in time: long enough for a restart, short enough to wait for."""


@dataclass(eq=False)
class Refusal(Exception):  # noqa: N818 - an answer to a person, not a defect
    """Why a request is not answered as asked.

    Args:
        status: HTTP status, 400 or more.
        code: short and stable, for programs.
        title: for people, as a heading.
        text: one or two sentences: what is so, and what to do next.
        retry_after_s: when to try again; a page that was asked for with GET does so by itself.
        headers: to add to the answer.
    """

    status: int
    code: str
    title: str
    text: str
    retry_after_s: int | None = None
    headers: Mapping[str, str] = field(default_factory=dict)


def bad_origin() -> Refusal:
    """Another site tried to act in somebody's name."""
    return Refusal(
        403, "cross_origin", "This came from another page", "Open this event's own page and try again from there."
    )


class Pages:
    """Renders templates for one app.

    Args:
        shared: values that every template of the app sees.
        origin: scheme, host and port that the app is reached by.
        trouble: why nothing can be stored at the moment; empty when all is well.
    """

    def __init__(self, origin: str, *, trouble: Callable[[], str] = str, **shared: object) -> None:
        self.origin = origin
        self._trouble = trouble
        self._environment = Environment(
            loader=PackageLoader("mux.web"),
            autoescape=True,
            auto_reload=False,
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
        )
        self._environment.globals.update(asset=asset_url, **shared)
        self._policy = content_security_policy(origin)

    def add_filters(self, **filters: Callable[..., object]) -> None:
        """Functions that templates use by name."""
        self._environment.filters.update(filters)

    def page(
        self, template: str, *, status: int = 200, headers: Mapping[str, str] | None = None, **values: object
    ) -> web.Response:
        """A rendered page. Raises jinja2 errors for a value that a template needs and did not get."""
        text = self._environment.get_template(template).render(values)
        return web.Response(text=text, status=status, headers=headers, content_type="text/html", charset="utf-8")

    async def add_headers(self, _request: web.Request, response: web.StreamResponse) -> None:
        """Signal handler: the headers that every answer carries, unless it brings its own; not the server's version."""
        response.headers.popall(hdrs.SERVER, None)
        for name, value in (
            ("Content-Security-Policy", self._policy),
            ("X-Content-Type-Options", "nosniff"),
            ("X-Frame-Options", "DENY"),
            ("Referrer-Policy", "same-origin"),
            ("Cross-Origin-Opener-Policy", "same-origin"),
            ("Cross-Origin-Resource-Policy", "same-origin"),
            (hdrs.CACHE_CONTROL, "no-store"),
        ):
            response.headers.setdefault(name, value)

    def refusal(self, request: web.Request, refusal: Refusal, **values: object) -> web.Response:
        """The answer to a refused request, in the form that the caller can read."""
        headers = dict(refusal.headers)
        if refusal.retry_after_s is not None:
            headers[hdrs.RETRY_AFTER] = str(refusal.retry_after_s)
        if wants_json(request):
            return json_refusal(refusal.status, refusal.code, refusal.text, headers)
        again_s = refusal.retry_after_s if request.method in ("GET", "HEAD") else None
        return self.page(
            "message.html", status=refusal.status, headers=headers, refusal=refusal, again_s=again_s, **values
        )

    def middleware(self) -> Middleware:
        """Turns refusals and defects into answers."""

        @web.middleware
        async def answer(request: web.Request, handler: Handler) -> web.StreamResponse:
            try:
                return await handler(request)
            except Refusal as refusal:
                return self.refusal(request, refusal)
            except web.HTTPException as error:
                if error.status < 400:
                    raise
                return self.refusal(request, _http_refusal(error))
            except Exception as error:
                if getattr(error, "retryable", False):
                    log.warning("a page has to wait", method=request.method, code=getattr(error, "code", ""))
                    return self.refusal(request, busy(request, self._trouble()))
                log.exception("a page failed", method=request.method, handler=_handler_name(request))
                return self.refusal(request, _DEFECT)

        return answer


def content_security_policy(origin: str) -> str:
    """What pages of ``origin`` may load: their own files, and their own WebSocket.

    ``'self'`` covers WebSockets in CSP level 3 only; older browsers need the ws: or wss: origin spelled out.
    """
    parts = urlsplit(origin)
    socket = f"{'wss' if parts.scheme == 'https' else 'ws'}://{parts.netloc}"
    return (
        "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self'; "
        f"connect-src 'self' {socket}; form-action 'self'; frame-ancestors 'none'; base-uri 'none'"
    )


def busy(request: web.Request, trouble: str) -> Refusal:
    """The engine or the store cannot say yes in time. What ``trouble`` says is for organizers: it names their files."""
    by_itself = request.method in ("GET", "HEAD")
    if trouble:
        again = "This page tries again by itself." if by_itself else "Go back and try again in a minute."
        text = f"The service cannot store logins at the moment; the organizers have been told. {again}"
    else:
        again = "this page tries again by itself" if by_itself else "go back and try again"
        text = f"Many people are coming in right now. Nothing is lost: {again}."
    return Refusal(503, "busy", "One moment", text, retry_after_s=BUSY_RETRY_S)


_DEFECT = Refusal(
    500,
    "defect",
    "That did not work",
    "The mistake is on our side and has been noted. Go back and try again; if it stays so, tell a helper in the room.",
)


def _http_refusal(error: web.HTTPException) -> Refusal:
    match error.status:
        case 404:
            return Refusal(
                404, "not_found", "There is no such page", "Check the address, or go on from the start page."
            )
        case 405:
            allowed: dict[str, str] = {hdrs.ALLOW: error.headers.get(hdrs.ALLOW, "")}
            return Refusal(405, "method", "That is not possible here", "Go on from the start page.", headers=allowed)
        case 413:
            return Refusal(413, "too_large", "That was too much", "What you sent is larger than this form takes.")
        case status:
            return Refusal(status, "refused", "That did not work", "Go back to the start page and try again.")


def json_refusal(status: int, code: str, text: str, headers: Mapping[str, str] | None = None) -> web.Response:
    """A refusal for programs, in the shape of the admin API's errors."""
    return web.json_response({"error": {"code": code, "message": text}}, status=status, headers=headers)


def wants_json(request: web.Request) -> bool:
    """Whether a program asks, which can do nothing with a page.

    Browsers ask for a page with GET, ``Accept: text/html`` and, where they send it, ``Sec-Fetch-Mode: navigate``
    (Fetch Metadata, section 2.2). Forms are posted in the same mode. Jupyter's own requests carry an XSRF header.
    """
    headers = request.headers
    if request.path.startswith(API_PATHS):
        return True
    if is_upgrade(request) or "X-XSRFToken" in headers or headers.get("X-Requested-With") == "XMLHttpRequest":
        return True
    mode = headers.get("Sec-Fetch-Mode", "")
    if mode:
        return mode != "navigate"
    accept = headers.get(hdrs.ACCEPT, "*/*").lower()
    if "html" in accept:
        return False
    return "json" in accept or request.content_type == "application/json" or request.method not in ("GET", "HEAD")


def is_upgrade(request: web.Request) -> bool:
    """Whether this is a WebSocket handshake (RFC 6455 section 4.1)."""
    return request.headers.get(hdrs.UPGRADE, "").lower() == "websocket"


def same_origin(request: web.Request, origin: str) -> bool:
    """Whether a request that changes something, or opens a socket, comes from our own pages.

    ``Origin`` decides where it is there. Without it, Fetch Metadata may still say that another site asks; a client
    that sends neither is no browser and carries nobody's cookies unknowingly.
    """
    claimed = request.headers.getall(hdrs.ORIGIN, [])
    if claimed:
        return claimed == [origin]
    return request.headers.get("Sec-Fetch-Site", "none") not in ("cross-site", "same-site")


def one_cookie(request: web.Request, name: str) -> str:
    """The value of a cookie; empty when there is none, or when there are different ones.

    A workspace can add a cookie of the same name for a narrower path, and the order in which a browser sends both is
    no proof of anything (RFC 6265 section 4.2.2). The proxies decide the same way.
    """
    pairs = (
        pair.strip().partition("=") for line in request.headers.getall(hdrs.COOKIE, []) for pair in line.split(";")
    )
    values = {value.strip() for key, _, value in pairs if key.strip() == name}
    return values.pop() if len(values) == 1 else ""


def redirect(target: str, status: int = 302) -> web.Response:
    """To ``target``, exactly as spelled: aiohttp's own redirects re-normalise it, and a deep link would change."""
    return web.Response(status=status, headers={hdrs.LOCATION: target})


async def read_form(request: web.Request) -> Mapping[str, str]:
    """The fields of a posted form; of doubled fields the first.

    Raises Refusal (400, 408, 413, 415). Only ``application/x-www-form-urlencoded`` is read: nothing here takes files.
    Nor is anything decompressed, which no browser asks for.
    """
    if request.content_type != "application/x-www-form-urlencoded" or hdrs.CONTENT_ENCODING in request.headers:
        raise Refusal(415, "not_a_form", "That did not work", "This address takes forms only.")
    body = bytearray()
    try:
        async with asyncio.timeout(FORM_TIMEOUT_S):
            async for chunk in request.content.iter_any():
                body += chunk
                if len(body) > FORM_BYTES_MAX:
                    raise Refusal(
                        413, "too_large", "That was too much", "What you sent is larger than this form takes."
                    )
    except TimeoutError as error:
        raise Refusal(408, "form_late", "That did not work", "The form took too long to arrive. Try again.") from error
    except BODY_BROKEN as error:
        raise Refusal(400, "body_broken", "That did not work", "The form broke off. Go back and try again.") from error
    try:
        pairs = parse_qsl(body.decode(), keep_blank_values=True, max_num_fields=FORM_FIELDS_MAX, errors="strict")
    except ValueError as error:
        raise Refusal(400, "bad_form", "That did not work", "The form could not be read. Go back and try again.") from (
            error
        )
    fields: dict[str, str] = {}
    for name, value in pairs:
        fields.setdefault(name, value)
    return fields


def _handler_name(request: web.Request) -> str:
    handler: Any = request.match_info.handler
    return getattr(handler, "__name__", type(handler).__name__)
