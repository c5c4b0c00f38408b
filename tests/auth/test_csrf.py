"""Forms that only our own pages can send."""

from __future__ import annotations

import pytest

from mux.auth import csrf
from mux.keys import Keyring

KEYS = Keyring(b"k" * 32)


def test_a_form_is_good_in_the_browser_and_for_the_purpose_that_it_was_made_for() -> None:
    binding = csrf.new_binding()
    token = csrf.form_token(KEYS, binding, "login")
    assert csrf.binding_ok(binding)
    assert csrf.form_ok(KEYS, binding, token, "login")
    assert not csrf.form_ok(KEYS, binding, token, "logout")
    assert not csrf.form_ok(KEYS, csrf.new_binding(), token, "login")
    assert not csrf.form_ok(Keyring(b"o" * 32), binding, token, "login")
    assert binding not in token


@pytest.mark.parametrize("binding", [None, "", "short", "x" * 25, "ünï" * 8, "a b" * 8])
def test_a_cookie_that_is_not_ours_binds_nothing(binding: str | None) -> None:
    assert not csrf.binding_ok(binding)
    token = csrf.form_token(KEYS, binding, "login") if binding is not None else "x"
    assert not csrf.form_ok(KEYS, binding, token, "login")


@pytest.mark.parametrize("token", [None, "", "x", "ü", "\ud800", "x" * 10_000])
def test_a_token_that_is_not_ours_is_refused(token: str | None) -> None:
    assert not csrf.form_ok(KEYS, csrf.new_binding(), token, "login")


def test_the_cookie_is_bound_to_the_host_on_tls() -> None:
    assert (csrf.form_cookie(True), csrf.form_cookie(False)) == ("__Host-mux_form", "mux_form")
