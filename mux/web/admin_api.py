"""The admin API: its route table, and what happens to every request before and after its handler.

Owns the table of endpoints, the reading and checking of bodies, and the translation of errors into answers. What the
endpoints do is in ``admin_api_fleet``, ``admin_api_roster`` and ``admin_api_event``; who may call is in
``admin_api_guard``.

Rules:
- Who asks is checked first: without a proof nobody learns which paths exist. ``/healthz`` alone is open.
- A body is JSON, says so, and is bounded; unknown fields are refused. A refused value is never quoted back.
- Every refusal is ``{"error": {"code", "message", "detail"}}``. A defect is logged with its traceback and answered
  with a code only.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Mapping

import structlog
from aiohttp import hdrs, web
from pydantic import BaseModel, ValidationError

from mux.engine import EngineBusyError
from mux.spoken import spoken
from mux.store.base import ConflictError
from mux.web import (
    admin_api_event,
    admin_api_files,
    admin_api_fleet,
    admin_api_rollout,
    admin_api_roster,
    admin_api_tls,
    admin_api_warming,
)
from mux.web.admin_api_deps import AdminDeps
from mux.web.admin_api_endpoint import TEXT_BODY_BYTES_MAX, ApiError, Call, Caller, Endpoint, Scope, Streamed
from mux.web.admin_api_guard import Guard, require
from mux.web.admin_api_openapi import openapi_document
from mux.web.api_models import (
    API_PREFIX,
    BroadcastIn,
    Done,
    DoorsIn,
    DrainIn,
    ErrorBody,
    ErrorResponse,
    EventApplied,
    EventApplyIn,
    EventPlan,
    EventPlanIn,
    EventText,
    Health,
    Notices,
    ReapIn,
    ReapOut,
    SeatReleaseIn,
    Status,
    Tls,
    TokenAddIn,
    TokenMade,
    Tokens,
)
from mux.web.api_models_rollout import Pushed, PushIn, PushPlan, Rollouts, SteerIn
from mux.web.api_models_warming import SpendIn, WarmIn, Warming, WarmPlan
from mux.web.pages import BODY_BROKEN

log = structlog.get_logger(__name__)

BODY_TIMEOUT_S = 30.0
"""A body comes within this time or not at all: 16 MiB at 5 Mbit/s."""
FAULTS_MAX = 50
"""Lines of detail about one body; more would only be read by a program that sends garbage."""
FAULT_CHARS_MAX = 300
"""Of one such line; it can hold a field's name as the caller wrote it."""

STATUS_BY_REFUSAL = {"not_found": 404, "taken": 409, "name_taken": 409, "too_many": 409}
"""Status by ``code`` of a refusal; 422 for the others: the request says something that cannot be."""

_HEADERS = {
    hdrs.CACHE_CONTROL: "no-store",
    "X-Content-Type-Options": "nosniff",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
}
_METRICS_TYPE = "text/plain; version=0.0.4; charset=utf-8"
"""Prometheus text exposition format."""


async def _openapi(deps: AdminDeps, call: Call) -> str:  # noqa: ARG001 - every handler has the same shape
    return json.dumps(openapi_document(ENDPOINTS, version=deps.version))


_fleet, _roster, _event = admin_api_fleet, admin_api_roster, admin_api_event
_warming, _rollout = admin_api_warming, admin_api_rollout

ENDPOINTS: tuple[Endpoint, ...] = (
    Endpoint("GET", "/healthz", None, "Whether the control process answers", _fleet.health, Health),
    Endpoint("GET", "/openapi.json", Scope.READ, "This document", _openapi, "application/json"),
    Endpoint("GET", "/metrics", Scope.READ, "Metrics for Prometheus", _fleet.metrics, _METRICS_TYPE),
    Endpoint("GET", "/status", Scope.READ, "The room at a glance", _fleet.status, Status, tag="room"),
    Endpoint("GET", "/notices", Scope.READ, "The latest notices", _fleet.notices, Notices, tag="room"),
    Endpoint("GET", "/tls", Scope.READ, "Certificates that are served", admin_api_tls.tls, Tls, tag="room"),
    Endpoint("POST", "/doors", Scope.FLEET, "Open or close the doors", _fleet.set_doors, Done, DoorsIn, tag="room"),
    Endpoint(
        "POST",
        "/broadcast",
        Scope.FLEET,
        "Tell everybody something, on their pages and in their notebooks",
        _fleet.broadcast,
        Done,
        BroadcastIn,
        tag="room",
    ),
    Endpoint(
        "POST",
        "/seats/release",
        Scope.FLEET,
        "Take an attendee's seat back; what was bound there is destroyed",
        _fleet.release_seat,
        Done,
        SeatReleaseIn,
        refusals=(404,),
        tag="room",
    ),
    Endpoint("POST", "/fleet/park", Scope.FLEET, "Park every ship, keeping files", _fleet.park, Done, tag="fleet"),
    Endpoint("POST", "/fleet/unpark", Scope.FLEET, "Start parked ships again", _fleet.unpark, Done, tag="fleet"),
    Endpoint("POST", "/fleet/pause", Scope.FLEET, "Launch no ships", _fleet.pause, Done, tag="fleet"),
    Endpoint("POST", "/fleet/resume", Scope.FLEET, "Launch ships again", _fleet.resume, Done, tag="fleet"),
    Endpoint(
        "POST",
        "/fleet/reap",
        Scope.FLEET,
        "After the event: end every machine that bears its marks",
        _fleet.reap,
        ReapOut,
        ReapIn,
        tag="fleet",
    ),
    Endpoint("GET", "/fleet/reap", Scope.READ, "How that stands", _fleet.reaping, ReapOut, tag="fleet"),
    Endpoint("GET", "/fleet/warming", Scope.READ, "How warming goes on", _warming.warming, Warming, tag="fleet"),
    Endpoint(
        "POST",
        "/fleet/warm/plan",
        Scope.FLEET,
        "What warming would take and cost; changes nothing",
        _warming.plan,
        WarmPlan,
        WarmIn,
        tag="fleet",
    ),
    Endpoint(
        "POST",
        "/fleet/warm",
        Scope.FLEET,
        "Have that many seats ready; refused beyond the spend limit",
        _warming.warm,
        WarmPlan,
        WarmIn,
        refusals=(409,),
        tag="fleet",
    ),
    Endpoint("POST", "/fleet/cool", Scope.FLEET, "Let free ships go", _warming.cool, Done, tag="fleet"),
    Endpoint(
        "POST", "/spend", Scope.FLEET, "Allow the event to cost so much", _warming.allow, Done, SpendIn, tag="fleet"
    ),
    Endpoint(
        "POST",
        "/ships/{ship}/replace",
        Scope.FLEET,
        "Put another ship in its place",
        _warming.replace,
        Done,
        tag="fleet",
    ),
    Endpoint(
        "POST", "/ships/{ship}/cordon", Scope.FLEET, "No new attendees on a ship", _fleet.cordon, Done, tag="fleet"
    ),
    Endpoint("POST", "/ships/{ship}/uncordon", Scope.FLEET, "New attendees again", _fleet.uncordon, Done, tag="fleet"),
    Endpoint(
        "POST", "/ships/{ship}/drain", Scope.FLEET, "Empty and end a ship", _fleet.drain, Done, DrainIn, tag="fleet"
    ),
    Endpoint("POST", "/ships/{ship}/lost", Scope.FLEET, "Give a ship up for lost", _fleet.lost, Done, tag="fleet"),
    Endpoint(
        "POST",
        "/ships/{ship}/release",
        Scope.FLEET,
        "Let go of the work that a ship keeps of attendees who were moved away",
        _fleet.release_ship,
        Done,
        tag="fleet",
    ),
    Endpoint("GET", "/rollouts", Scope.READ, "How rollouts stand", _rollout.rollouts, Rollouts, tag="rollouts"),
    Endpoint(
        "POST",
        "/rollouts/{project}",
        Scope.FLEET,
        "Give a project another image while people work with it",
        _rollout.push,
        Pushed,
        PushIn,
        refusals=(404, 409),
        tag="rollouts",
    ),
    Endpoint(
        "POST",
        "/rollouts/{project}/plan",
        Scope.FLEET,
        "Whether an image could be pushed, and to how many; changes nothing",
        _rollout.plan,
        PushPlan,
        PushIn,
        refusals=(404, 409),
        tag="rollouts",
    ),
    Endpoint(
        "POST",
        "/rollouts/{project}/steer",
        Scope.FLEET,
        "Pause, resume, abort or take back a rollout",
        _rollout.steer,
        Done,
        SteerIn,
        refusals=(404, 409),
        tag="rollouts",
    ),
    *admin_api_roster.ENDPOINTS,
    *admin_api_files.ENDPOINTS,
    Endpoint("GET", "/tokens", Scope.LOCAL, "Tokens of this API", _roster.tokens, Tokens, tag="tokens"),
    Endpoint(
        "POST",
        "/tokens",
        Scope.LOCAL,
        "Make a token; shown once",
        _roster.add_token,
        TokenMade,
        TokenAddIn,
        status=201,
        refusals=(409,),
        tag="tokens",
    ),
    Endpoint("DELETE", "/tokens/{name}", Scope.LOCAL, "Void a token", _roster.remove_token, Done, tag="tokens"),
    Endpoint("GET", "/event", Scope.APPLY, "The event file in force", _event.event, EventText, tag="event"),
    Endpoint(
        "POST",
        "/event/plan",
        Scope.APPLY,
        "What a file would change; changes nothing",
        _event.plan,
        EventPlan,
        EventPlanIn,
        body_bytes_max=TEXT_BODY_BYTES_MAX,
        tag="event",
    ),
    Endpoint(
        "POST",
        "/event/apply",
        Scope.APPLY,
        "Put a planned file in force",
        _event.apply,
        EventApplied,
        EventApplyIn,
        body_bytes_max=TEXT_BODY_BYTES_MAX,
        refusals=(409,),
        tag="event",
    ),
)
"""Every endpoint. Tokens are managed where full rights are: with them, any scope could be had."""


def admin_api(deps: AdminDeps, *, trusted: bool) -> list[web.RouteDef]:
    """The API's routes, for one listener.

    Args:
        deps: what it works with.
        trusted: True for the Unix socket: full rights for the peer, whose user id is checked; False for TCP.
    """
    guard = Guard(deps.check_token, deps.browser_scopes, deps.clock, trusted=trusted)
    paths: dict[str, dict[str, Endpoint]] = {}
    for endpoint in ENDPOINTS:
        paths.setdefault(endpoint.path, {})[endpoint.method] = endpoint
    return [
        *(web.route("*", API_PREFIX + path, _dispatcher(deps, guard, by_method)) for path, by_method in paths.items()),
        web.route("*", API_PREFIX + "/{unknown:.*}", _dispatcher(deps, guard, {})),
        web.route("*", API_PREFIX, _dispatcher(deps, guard, {})),
    ]


def _dispatcher(
    deps: AdminDeps, guard: Guard, by_method: Mapping[str, Endpoint]
) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
    async def dispatch(request: web.Request) -> web.StreamResponse:
        try:
            return await _answer(deps, guard, by_method, request)
        except ApiError as error:
            return _refused(error)
        except web.HTTPException:
            raise
        except Exception as error:
            return _refused(_translated(error, deps.refusals))

    return dispatch


async def _answer(
    deps: AdminDeps, guard: Guard, by_method: Mapping[str, Endpoint], request: web.Request
) -> web.StreamResponse:
    method = hdrs.METH_GET if request.method == hdrs.METH_HEAD else request.method
    endpoint = by_method.get(method)
    is_open = endpoint is not None and endpoint.scope is None
    caller = Caller("anybody", frozenset()) if is_open else await guard.caller(request)
    if not by_method:
        raise ApiError(404, "path_unknown", f"there is nothing here; GET {API_PREFIX}/openapi.json lists what there is")
    if endpoint is None:
        allowed = ", ".join(by_method)
        raise ApiError(405, "method_not_allowed", f"allowed here: {allowed}", headers={hdrs.ALLOW: allowed})
    require(caller, endpoint.scope)
    flags = _flags(endpoint, request)
    body = await _body(endpoint, request)
    result = await endpoint.handler(deps, Call(caller, dict(request.match_info), flags, body))
    if endpoint.method != hdrs.METH_GET:
        log.info("admin api: done", operation=endpoint.operation_id, caller=caller.name)
    if isinstance(result, Streamed):
        return await _stream(request, endpoint, result)
    if isinstance(result, str):
        return web.Response(
            body=result.encode(),
            headers={hdrs.CONTENT_TYPE: str(endpoint.response), **_HEADERS},
            status=endpoint.status,
        )
    return _json(endpoint.status, result)


async def _stream(request: web.Request, endpoint: Endpoint, result: Streamed) -> web.StreamResponse:
    """Send an answer as it is made. One that cannot be finished is cut off: its end, and so its length, is missing."""
    name = f'attachment; filename="{result.file_name}"'
    response = web.StreamResponse(
        status=endpoint.status,
        headers={hdrs.CONTENT_TYPE: str(endpoint.response), hdrs.CONTENT_DISPOSITION: name, **_HEADERS},
    )
    response.enable_chunked_encoding()
    await response.prepare(request)
    if request.method == hdrs.METH_HEAD:
        return response
    try:
        async for block in result.blocks:
            if block:
                await response.write(block)
        await response.write_eof()
    except ConnectionError:
        pass  # whoever asked has gone
    except Exception:
        log.exception("admin api: an answer was cut off", operation=endpoint.operation_id)
        if request.transport is not None:
            request.transport.abort()
    return response


def _flags(endpoint: Endpoint, request: web.Request) -> frozenset[str]:
    """The query's flags that are set. Raises ApiError for any other query: a misspelt flag must not be ignored."""
    chosen = set()
    for name, value in request.query.items():
        if name not in endpoint.flags:
            known = ", ".join(endpoint.flags) or "none"
            raise ApiError(400, "query_unknown", f"this takes no such query parameter; it knows: {known}")
        if value not in {"true", "false"}:
            raise ApiError(400, "query_invalid", f"`{name}` is `true` or `false`")
        if value == "true":
            chosen.add(name)
    return frozenset(chosen)


async def _body(endpoint: Endpoint, request: web.Request) -> BaseModel | None:
    """The checked body of a write. Raises ApiError (400, 408, 413, 415, 422)."""
    if endpoint.method == hdrs.METH_POST and request.content_type != "application/json":
        raise ApiError(415, "not_json", "send `Content-Type: application/json`")
    if request.headers.get(hdrs.CONTENT_ENCODING, "identity") != "identity":
        raise ApiError(415, "encoded", "send the body without Content-Encoding")
    raw = await _read(request, endpoint.body_bytes_max)
    if endpoint.request is None:
        if raw.strip() not in {b"", b"{}"}:
            raise ApiError(400, "body_unexpected", "this takes no body")
        return None
    try:
        return endpoint.request.model_validate_json(raw or b"{}")
    except ValidationError as error:
        raise _invalid(error) from None  # the cause would hold the refused values, which may be secrets


async def _read(request: web.Request, bytes_max: int) -> bytes:
    too_large = ApiError(413, "body_too_large", f"at most {bytes_max} bytes are taken here")
    if (request.content_length or 0) > bytes_max:
        raise too_large
    raw = bytearray()
    try:
        async with asyncio.timeout(BODY_TIMEOUT_S):
            async for chunk in request.content.iter_any():
                raw += chunk
                if len(raw) > bytes_max:
                    raise too_large
    except TimeoutError:
        raise ApiError(408, "body_late", f"the body did not come within {BODY_TIMEOUT_S:.0f} seconds") from None
    except BODY_BROKEN as error:
        raise ApiError(400, "body_broken", "the body ended early or is framed wrongly") from error
    return bytes(raw)


def _invalid(error: ValidationError) -> ApiError:
    """What is wrong with a body, without its values."""
    faults = error.errors(include_url=False, include_input=False, include_context=False)
    if faults[0]["type"] == "json_invalid":
        return ApiError(400, "json_invalid", "the body is not JSON")
    lines = tuple(
        f"{'.'.join(str(step) for step in fault['loc']) or 'body'}: {spoken(fault['msg'])}"[:FAULT_CHARS_MAX]
        for fault in faults[:FAULTS_MAX]
    )
    return ApiError(422, "body_invalid", "a value is not as it should be; nothing was changed", detail=lines)


def _translated(error: Exception, refusals: tuple[type[Exception], ...]) -> ApiError:
    """The answer for an exception of another part."""
    if isinstance(error, ConflictError):
        return ApiError(409, error.code, str(error))
    if getattr(error, "retryable", False):
        log.warning("admin api: cannot do it now", error=str(error))
        # The engine's own say what becomes of what was asked: that which was taken in must not be asked twice.
        said = str(error) if isinstance(error, EngineBusyError) else f"{error}; try again"
        return ApiError(503, str(getattr(error, "code", "busy")), said, headers={hdrs.RETRY_AFTER: "2"})
    wait_s = getattr(error, "retry_after_s", None)
    if isinstance(wait_s, int | float):
        return ApiError(503, "busy", str(error), headers={hdrs.RETRY_AFTER: str(int(wait_s) + 1)})
    if isinstance(error, refusals):
        code, faults = str(getattr(error, "code", "refused")), tuple(str(f) for f in getattr(error, "faults", ()))
        message = "refused; nothing was changed" if faults else str(error)
        return ApiError(STATUS_BY_REFUSAL.get(code, 422), code, message, detail=faults[:FAULTS_MAX])
    log.exception("admin api: a defect", exc_info=error)
    return ApiError(500, "internal", "mux could not do this; its log says why")


def _refused(error: ApiError) -> web.Response:
    body = ErrorResponse(error=ErrorBody(code=error.code, message=error.message, detail=list(error.detail)))
    response = _json(error.status, body)
    response.headers.update(error.headers)
    if error.status in {408, 413}:
        response.force_close()
    return response


def _json(status: int, model: BaseModel) -> web.Response:
    return web.Response(
        body=model.model_dump_json().encode("utf-8", "backslashreplace"),
        status=status,
        headers={hdrs.CONTENT_TYPE: "application/json", **_HEADERS},
    )
