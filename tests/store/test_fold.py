"""When two names count as the same."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mux.core.fold import fold


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("Ada  Lovelace ", "ada lovelace"),
        ("ＡＤＡ", "ada"),
        ("Straße", "STRASSE"),
        ("e\u0301lan", "élan"),
        ("ad\u200da", "ada"),
        ("\u202eada", "ada"),
        ("ﬁn", "FIN"),
        ("a\u00a0b", "a b"),
        ("\u212aelvin", "kelvin"),
    ],
)
def test_what_looks_the_same_folds_to_the_same(one: str, other: str) -> None:
    assert fold(one) == fold(other)


@pytest.mark.parametrize(("one", "other"), [("ada", "adam"), ("jose", "josé"), ("a b", "ab"), ("1", "l")])
def test_what_is_different_stays_different(one: str, other: str) -> None:
    assert fold(one) != fold(other)


@settings(deadline=None)
@given(st.text())
def test_folding_twice_changes_nothing(text: str) -> None:
    assert fold(fold(text)) == fold(text)


@settings(deadline=None)
@given(st.text(st.characters(categories=["L"])))
def test_case_does_not_matter(text: str) -> None:
    assert fold(text.casefold()) == fold(text)
