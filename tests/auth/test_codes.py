"""Generated codes: random enough to need no limit, and forgiving to type."""

from __future__ import annotations

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mux.auth import codes
from mux.keys import Keyring

KEYS = Keyring(b"k" * 32)


def test_a_code_has_at_least_64_random_bits() -> None:
    assert codes.SYMBOLS * math.log2(len(codes.ALPHABET)) >= 64
    assert len(set(codes.ALPHABET)) == 32 and not set("ILOU") & set(codes.ALPHABET)


def test_codes_are_grouped_and_differ() -> None:
    made = {codes.new_code() for _ in range(500)}
    assert len(made) == 500
    assert all([len(group) for group in code.split("-")] == [4, 4, 4, 2] for code in made)
    # Every symbol is used: nothing of the randomness is lost.
    assert set("".join(made)) == set(codes.ALPHABET) | {"-"}


@settings(deadline=None)
@given(
    st.text(alphabet=codes.ALPHABET, min_size=14, max_size=14),
    st.lists(st.tuples(st.integers(0, 14), st.sampled_from([*" -–—_“”\n", "\u00a0", "\u200b", "\u2060"])), max_size=8),
    st.randoms(use_true_random=False),
)
def test_a_code_is_understood_however_it_is_typed(code: str, separators: list[tuple[int, str]], random: object) -> None:
    typed = list(code)
    for position, separator in separators:
        typed.insert(position, separator)
    text = "".join(random.choice((c, c.lower())) for c in typed)  # type: ignore[attr-defined]
    text = "".join(random.choice(("O", "o", c)) if c == "0" else c for c in text)  # type: ignore[attr-defined]
    text = "".join(random.choice(("I", "l", "L", "i", c)) if c == "1" else c for c in text)  # type: ignore[attr-defined]
    assert codes.normalise(text) == code
    assert codes.code_hash(KEYS, text) == codes.code_hash(KEYS, code)


@settings(deadline=None)
@given(st.text(max_size=80))
def test_any_text_is_a_code_or_none(text: str) -> None:
    code = codes.normalise(text)
    assert code is None or (len(code) == codes.SYMBOLS and codes.normalise(code) == code)


@pytest.mark.parametrize("typed", ["", "7K3M", "7K3M-Q9XD-2FHT-W", "7K3M-Q9XD-2FHT-WBX", "7K3M-Q9XD-2FHT-WU", "A" * 65])
def test_what_cannot_be_a_code_has_no_hash(typed: str) -> None:
    assert codes.code_hash(KEYS, typed) is None


def test_the_hash_depends_on_the_key_and_hides_the_code() -> None:
    code = codes.new_code()
    hashed = codes.code_hash(KEYS, code)
    assert hashed is not None and code.replace("-", "") not in hashed
    assert hashed != codes.code_hash(Keyring(b"o" * 32), code)


def test_a_made_up_code_is_not_acceptable_but_a_generated_one_is() -> None:
    assert not codes.acceptable("AAAA-AAAA-AAAA-AA")
    assert not codes.acceptable("1212-1212-1212-12")
    assert not codes.acceptable("1234")
    assert all(codes.acceptable(codes.new_code()) for _ in range(200))
