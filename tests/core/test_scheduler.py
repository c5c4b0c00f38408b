"""The index of seats: whatever ships offer and take back, the next seat is where a look at all of them finds it."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from mux.core.model import ShipId
from mux.core.scheduler import HEAP_SLACK, SeatIndex

ships = st.sampled_from([ShipId(f"ship-{number:04d}") for number in range(6)])


@given(st.lists(st.tuples(ships, st.integers(0, 3)), max_size=200))
def test_the_fullest_ship_is_the_one_that_a_look_at_all_finds(history: list[tuple[ShipId, int]]) -> None:
    index, offers = SeatIndex(), dict[ShipId, int]()
    for ship, number in history:
        index.set(ship, number)
        offers[ship] = number
        offering = {each: left for each, left in offers.items() if left}
        expected = min(offering, key=lambda each: (offering[each], each)) if offering else None
        assert index.fullest() == expected
        assert (index.all(), index.total) == (offering, sum(offering.values()))


def test_a_ship_that_comes_and_goes_leaves_nothing_behind() -> None:
    index = SeatIndex()
    index.set(ShipId("ship-0001"), 1)
    for turn in range(1_000):
        index.set(ShipId("ship-0002"), 1 + turn % 2)
    assert max(map(len, index._heaps.values())) <= HEAP_SLACK * 3
    assert index.fullest() == "ship-0001"
