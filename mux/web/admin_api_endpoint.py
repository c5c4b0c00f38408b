"""One endpoint of the admin API, as data: what the route table, the guard and the OpenAPI document are made from.

Owns the shapes `Endpoint`, `Call`, `Caller` and the errors that a handler may raise. Knows no handler and no store.

Rules: an endpoint names its scope; None means that it is open to everybody, and a test lists those. A handler gets a
`Call` whose body has been parsed and checked, and returns a response model, or text for text endpoints.
"""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, TypeVar

from pydantic import BaseModel

if TYPE_CHECKING:
    from mux.web.admin_api_deps import AdminDeps


class Scope(StrEnum):
    """What a caller may do. ``local`` is never given to a token: it belongs to the Unix socket alone."""

    READ = "read"
    FLEET = "fleet"
    ROSTER = "roster"
    APPLY = "apply"
    FILES = "files"
    LOCAL = "local"


TOKEN_SCOPES = frozenset({Scope.READ, Scope.FLEET, Scope.ROSTER, Scope.APPLY, Scope.FILES})
"""Scopes that a token may have."""
ALL_SCOPES = TOKEN_SCOPES | {Scope.LOCAL}
"""What the Unix socket has."""

BODY_BYTES_MAX = 64 * 1024
"""Small writes: the largest is a name with an e-mail address."""
TEXT_BODY_BYTES_MAX = 16 * 1024 * 1024
"""An event file with its secrets, or a roster; JSON escapes can make six bytes of one."""

ModelT = TypeVar("ModelT", bound=BaseModel)

_PARAMETER = re.compile(r"\{([a-z_]+)\}")


class ApiError(Exception):
    """A request that is not carried out.

    Args:
        status: HTTP status.
        code: short and stable, for machines.
        message: for people; says what to do next.
        detail: every fault on a line of its own, if there are several.
        headers: further response headers, e.g. ``Retry-After``.
    """

    def __init__(
        self,
        status: int,
        code: str,
        message: str,
        *,
        detail: tuple[str, ...] = (),
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.message = message
        self.detail = detail
        self.headers = dict(headers or {})


class NotFoundError(ApiError):
    """Nothing of that name; the message says what there is."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(404, code, message)


@dataclass(frozen=True, slots=True)
class Caller:
    """Who asks.

    Args:
        name: for the log: ``local``, ``session`` or ``token`` and its name.
        scopes: what they may do.
    """

    name: str
    scopes: frozenset[Scope]


@dataclass(frozen=True, slots=True)
class Call:
    """One request, checked.

    Args:
        caller: who asks.
        path: values of the path's parameters.
        flags: the query's flags that are set.
        body: the request model, or None for an endpoint without one.
    """

    caller: Caller
    path: Mapping[str, str]
    flags: frozenset[str]
    body: BaseModel | None

    def expect(self, model: type[ModelT]) -> ModelT:
        """The body as the endpoint's request model."""
        if not isinstance(self.body, model):
            raise TypeError(f"the route table gives this handler {type(self.body).__name__}, not {model.__name__}")
        return self.body


@dataclass(frozen=True, slots=True)
class Streamed:
    """An answer that is made while it is sent; its content type is the endpoint's.

    Args:
        blocks: the bytes.
        file_name: what a browser calls it; ASCII.
    """

    blocks: AsyncIterator[bytes]
    file_name: str


Handler = Callable[["AdminDeps", Call], Awaitable["BaseModel | str | Streamed"]]


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One method of one path.

    Args:
        method: ``GET``, ``POST`` or ``DELETE``.
        path: below the API's prefix, with ``{name}`` parameters.
        scope: what a caller needs; None for everybody.
        summary: one line, for the document.
        handler: does it.
        response: model of the answer, or a content type for text and streams.
        request: model of the body, or None.
        status: of success.
        body_bytes_max: bound of the body.
        flags: query parameters, each true or false, with a description.
        refusals: statuses that it may answer with beside the general ones.
        tag: group in the document.
    """

    method: str
    path: str
    scope: Scope | None
    summary: str
    handler: Handler
    response: type[BaseModel] | str
    request: type[BaseModel] | None = None
    status: int = 200
    body_bytes_max: int = BODY_BYTES_MAX
    flags: Mapping[str, str] = field(default_factory=dict)
    refusals: tuple[int, ...] = ()
    tag: str = "mux"

    @property
    def parameters(self) -> tuple[str, ...]:
        """Names of the path's parameters, in order."""
        return tuple(_PARAMETER.findall(self.path))

    @property
    def operation_id(self) -> str:
        """A name that no other endpoint has, e.g. ``post_ships_ship_drain``."""
        words = re.findall(r"[a-z0-9_]+", self.path.replace(".", "_"))
        return "_".join([self.method.lower(), *words])
