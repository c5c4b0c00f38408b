"""Forms that only our own pages can send.

Owns the cookie's name and the rule: a form carries a token that is bound to a random cookie of this browser and to the
form's purpose. Another site can make the browser send the cookie, but cannot read it, nor the token.
"""

from __future__ import annotations

import re
import secrets

from mux.keys import Keyring

BINDING_BYTES = 18
_BINDING = re.compile(r"[A-Za-z0-9_-]{24}")
FORM_TOKEN_CHARS_MAX = 64


def form_cookie(secure: bool) -> str:
    """Name of the cookie that forms are bound to: HttpOnly, SameSite=Lax, Path=/, no Domain."""
    return "__Host-mux_form" if secure else "mux_form"


def new_binding() -> str:
    """A fresh value for the cookie: 144 random bits."""
    return secrets.token_urlsafe(BINDING_BYTES)


def binding_ok(binding: str | None) -> bool:
    """Whether a cookie's value is one of ours by form; if not, set a new one."""
    return binding is not None and _BINDING.fullmatch(binding) is not None


def form_token(keys: Keyring, binding: str, purpose: str) -> str:
    """The hidden field of a form.

    Args:
        keys: sign it.
        binding: the cookie's value.
        purpose: which form, e.g. ``login``; a token of one form is no token of another.
    """
    return keys.form_token(binding, purpose)


def form_ok(keys: Keyring, binding: str | None, token: str | None, purpose: str) -> bool:
    """Whether a form came from our own page in this browser. Constant time."""
    if binding is None or not binding_ok(binding) or token is None or len(token) > FORM_TOKEN_CHARS_MAX:
        return False
    if not token.isascii():
        return False
    return keys.form_token_ok(binding, token, purpose)
