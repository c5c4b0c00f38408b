"""Forms that only our own pages can send: the token in the page, the cookie that it is bound to.

One instance per app. The cookie is set with the first page that has a form and stays for the browser's session.
"""

from __future__ import annotations

from collections.abc import Mapping

from aiohttp import web
from aiohttp.typedefs import Handler, Middleware

from mux.auth import csrf
from mux.keys import Keyring
from mux.web.pages import Refusal, bad_origin, one_cookie, read_form, same_origin

_FRESH = web.RequestKey("fresh form binding", str)


class Forms:
    """Makes and checks form tokens.

    Args:
        keys: sign them.
        origin: that forms must come from.
    """

    def __init__(self, keys: Keyring, origin: str) -> None:
        self._keys = keys
        self._origin = origin
        self._secure = origin.startswith("https:")
        self._cookie = csrf.form_cookie(self._secure)

    def token(self, request: web.Request, purpose: str) -> str:
        """The hidden field ``csrf`` of a form on the page that answers ``request``."""
        return csrf.form_token(self._keys, self._binding(request), purpose)

    async def read(self, request: web.Request) -> Mapping[str, str]:
        """The fields of a posted form, of which only the origin has been checked. Raises Refusal."""
        if not same_origin(request, self._origin):
            raise bad_origin()
        return await read_form(request)

    def ours(self, request: web.Request, fields: Mapping[str, str], purpose: str) -> bool:
        """Whether a posted form came from our page, in this browser. Constant time."""
        return csrf.form_ok(self._keys, one_cookie(request, self._cookie), fields.get("csrf"), purpose)

    def has_cookie(self, request: web.Request) -> bool:
        """Whether the browser keeps the cookie that forms are bound to, or did."""
        return bool(one_cookie(request, self._cookie))

    async def read_ours(self, request: web.Request, purpose: str) -> Mapping[str, str]:
        """The fields of a form from our page. Raises Refusal for any other."""
        fields = await self.read(request)
        if not self.ours(request, fields, purpose):
            raise Refusal(
                403, "form_stale", "This page was open for too long", "Go back, reload the page and try again."
            )
        return fields

    def middleware(self) -> Middleware:
        """Sets the cookie that a fresh form is bound to."""

        @web.middleware
        async def keep(request: web.Request, handler: Handler) -> web.StreamResponse:
            response = await handler(request)
            fresh = request.get(_FRESH)
            if fresh is not None and not response.prepared:
                response.set_cookie(self._cookie, fresh, path="/", httponly=True, samesite="Lax", secure=self._secure)
            return response

        return keep

    def _binding(self, request: web.Request) -> str:
        binding = one_cookie(request, self._cookie)
        if not csrf.binding_ok(binding):
            binding = request.get(_FRESH) or csrf.new_binding()
            request[_FRESH] = binding
        return binding
