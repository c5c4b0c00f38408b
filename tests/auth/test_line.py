"""Whose turn it is: many requests of one address keep nobody else waiting."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mux.auth.limiter import PAIR_FAILURES
from mux.auth.line import ENTERED_MAX, WRONG_MAX, Asker, Line, Waiting
from mux.auth.passwords import CHECK_S, QUEUE_MAX, THREADS
from mux.web.login_page import BUSY_PAUSE_MAX_S, BUSY_WAIT_MAX_S

ROOM = "192.0.2.1"
PLENTY = 10_000


def _line(askers: Sequence[tuple[str, str]], places: int = PLENTY) -> Line[int]:
    line: Line[int] = Line(places)
    for number, (address, name) in enumerate(askers):
        line.join(Asker(address, name), number)
    return line


def _served(line: Line[int]) -> list[Waiting[int]]:
    served = []
    while (waiting := line.next()) is not None:
        served.append(waiting)
    return served


def _names(line: Line[int]) -> str:
    return " ".join(waiting.asker.address + waiting.asker.name for waiting in _served(line))


def test_addresses_are_served_in_turn_and_the_names_of_each_likewise() -> None:
    line = _line([("a", "1"), ("a", "1"), ("a", "1"), ("a", "2"), ("b", "1"), ("b", "1"), ("c", "1")])
    assert _names(line) == "a1 b1 c1 a2 b1 a1 a1"


def test_one_address_with_a_name_each_is_served_in_order_of_arrival() -> None:
    line = _line([("a", str(name)) for name in range(5)])
    assert _names(line) == "a0 a1 a2 a3 a4"


def test_an_address_is_served_as_the_people_who_entered_from_it() -> None:
    line = _line([("b", "1")] * 3 + [("a", str(name)) for name in range(6)])
    for name in ("1", "2", "2"):
        line.was_right(Asker("a", name))
    assert _names(line) == "b1 a0 a1 a2 b1 a3 a4 a5 b1"


def test_one_who_leaves_is_not_served_and_may_leave_again() -> None:
    line: Line[str] = Line(PLENTY)
    first, _ = line.join(Asker("a", "1"), "first")
    second, _ = line.join(Asker("a", "1"), "second")
    line.leave(first)
    line.leave(first)
    assert len(line) == 1
    assert line.next() is second
    line.leave(second)
    assert line.next() is None and len(line) == 0


def test_who_leaves_gives_the_rest_of_a_turn_to_nobody() -> None:
    line: Line[str] = Line(PLENTY)
    line.was_right(Asker("a", "1"))
    line.join(Asker("a", "1"), "")
    last, _ = line.join(Asker("a", "1"), "")
    for _ in range(2):
        line.join(Asker("b", "1"), "")
    line.join(Asker("c", "1"), "")
    served = [line.next()]
    line.leave(last)
    served += [line.next() for _ in range(3)]
    assert [waiting.asker.address for waiting in served if waiting] == ["a", "b", "c", "b"]


def test_when_full_the_newest_of_the_longest_line_leaves() -> None:
    line = _line([("a", "1"), ("a", "2"), ("a", "2"), ("a", "3"), ("b", "1")], places=5)
    _, refused = line.join(Asker("c", "1"), 5)
    assert refused is not None and refused.item == 2
    assert _names(line) == "a1 b1 c1 a2 a3"


def test_when_full_a_newcomer_to_the_longest_line_leaves() -> None:
    line = _line([("a", "1"), ("b", "1")], places=2)
    newcomer, refused = line.join(Asker("a", "1"), 2)
    assert refused is newcomer
    newcomer, refused = line.join(Asker("c", "1"), 3)
    assert refused is newcomer
    assert _names(line) == "a1 b1"


def test_without_any_place_everybody_is_refused() -> None:
    line: Line[int] = Line(0)
    newcomer, refused = line.join(Asker("a", "1"), 0)
    assert refused is newcomer and line.next() is None


def test_wrong_passwords_make_a_line_longer_and_people_who_entered_make_it_shorter() -> None:
    line = _line([("a", "1"), ("a", "2"), ("b", "1"), ("b", "2"), ("b", "3")], places=5)
    line.was_wrong(Asker("a", "1"))
    _, refused = line.join(Asker("c", "1"), 5)
    assert refused is not None and refused.asker == Asker("a", "2")
    for name in "12":
        line.was_right(Asker("c", name))
    _, refused = line.join(Asker("c", "2"), 6)
    assert refused is not None and refused.asker == Asker("b", "3")


def test_what_is_remembered_is_bounded() -> None:
    line: Line[int] = Line(PLENTY, addresses_max=3)
    for number in range(2 * ENTERED_MAX):
        line.was_right(Asker("a", str(number)))
        line.was_wrong(Asker("a", str(number)))
    assert len(line._records["a"].entered) == ENTERED_MAX and line._records["a"].wrong == WRONG_MAX
    for address in "bcd":
        line.was_wrong(Asker(address, ""))
    assert list(line._records) == ["b", "c", "d"]


ASKERS = st.builds(Asker, st.sampled_from("abc"), st.sampled_from("12"))
STEPS = st.one_of(
    st.tuples(st.just("join"), ASKERS),
    st.tuples(st.just("next"), ASKERS),
    st.tuples(st.just("right"), ASKERS),
    st.tuples(st.just("wrong"), ASKERS),
    st.tuples(st.just("leave"), st.integers(0, 50)),
)


@given(st.integers(0, 8), st.lists(STEPS, max_size=60))
def test_nobody_is_lost_or_served_twice_and_the_line_is_bounded(
    places: int, steps: list[tuple[str, Asker | int]]
) -> None:
    line: Line[int] = Line(places)
    came: list[Waiting[int]] = []
    gone: list[Waiting[int]] = []
    for step, argument in steps:
        match step, argument:
            case "join", Asker():
                newcomer, refused = line.join(argument, len(came))
                came.append(newcomer)
                gone += [refused] if refused is not None else []
            case "next", Asker():
                served = line.next()
                assert (served is None) == (len(came) == len(gone))
                gone += [served] if served is not None else []
            case "right", Asker():
                line.was_right(argument)
            case "wrong", Asker():
                line.was_wrong(argument)
            case "leave", int() if argument < len(came):
                line.leave(came[argument])
                if came[argument] not in gone:
                    gone.append(came[argument])
        assert len(line) == len(came) - len(gone) <= places
    gone += _served(line)
    assert Counter(map(id, gone)) == Counter(map(id, came))


@given(st.lists(st.tuples(st.sampled_from("abcd"), st.sampled_from("123")), max_size=40))
def test_while_one_waits_no_other_is_served_twice_more_often(askers: list[tuple[str, str]]) -> None:
    line = _line(askers)
    left = Counter(address for address, _ in askers)
    turns: Counter[str] = Counter()
    for waiting in _served(line):
        turns[waiting.asker.address] += 1
        left[waiting.asker.address] -= 1
        waits = [turns[address] for address, count in left.items() if count]
        assert not waits or max(turns.values()) - min(waits) <= 1


@given(st.lists(st.tuples(st.sampled_from("abcd"), st.sampled_from("123")), max_size=40), st.integers(0, 10))
def test_nobody_of_a_shorter_line_is_refused(askers: list[tuple[str, str]], places: int) -> None:
    line: Line[int] = Line(places)
    lengths: Counter[str] = Counter()
    for number, (address, name) in enumerate(askers):
        lengths[address] += 1
        _, refused = line.join(Asker(address, name), number)
        if refused is not None:
            assert lengths[refused.asker.address] == max(lengths.values())
            lengths[refused.asker.address] -= 1


@pytest.mark.parametrize(
    ("attacked_before", "guesses_inside", "refusals_max"),
    [
        pytest.param(20 * WRONG_MAX, 0, 0, id="an attack that stands"),
        pytest.param(0, 0, 5, id="at the same moment"),
        pytest.param(0, 300, BUSY_WAIT_MAX_S / BUSY_PAUSE_MAX_S, id="and by one in the room"),
    ],
)
def test_a_room_enters_while_twenty_addresses_keep_the_line_full(
    attacked_before: int, guesses_inside: int, refusals_max: float
) -> None:
    """Counted in checks, not seconds: the page of a login that is refused comes back so many checks later."""
    people = {f"person {n}" for n in range(300)}
    attackers = itertools.cycle(f"203.0.113.{n}" for n in range(20))
    pause = int(BUSY_PAUSE_MAX_S * THREADS / CHECK_S)
    line: Line[str] = Line(QUEUE_MAX)
    comes_at: dict[str, int] = {}
    refusals: Counter[str] = Counter()
    entered: set[str] = set()
    guesses = itertools.count()

    def join(address: str, name: str, check: int) -> None:
        _, refused = line.join(Asker(address, name), name)
        if refused is not None and refused.item in people:
            comes_at[refused.item] = check + pause
            refusals[refused.item] += 1

    for check in itertools.count():
        for _ in range(2 if check else QUEUE_MAX):
            join(next(attackers), f"guess {next(guesses)}", check)
        if check == attacked_before:
            for n in range(guesses_inside):
                join(ROOM, f"guess {n // PAIR_FAILURES}", check)
            comes_at = dict.fromkeys(sorted(people), check)
        for person in [person for person, at in comes_at.items() if at <= check]:
            del comes_at[person]
            join(ROOM, person, check)
        assert len(line) == QUEUE_MAX
        served = line.next()
        assert served is not None
        if served.item in people:
            line.was_right(served.asker)
            entered.add(served.item)
        else:
            line.was_wrong(served.asker)
        if entered == people:
            break
    assert max(refusals.values(), default=0) <= refusals_max
