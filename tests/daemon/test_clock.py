"""The control process's clock goes on steadily, whatever happens to the wall clock."""

from __future__ import annotations

import time

from mux.daemon.clock import SteadyClock


def test_it_begins_with_the_wall_clock_and_ignores_that_it_is_set() -> None:
    wall, steady = [1_000.0], [50.0]
    clock = SteadyClock(lambda: wall[0], lambda: steady[0])
    assert clock() == 1_000.0
    wall[0] = 9_999.0
    steady[0] += 3
    assert clock() == 1_003.0
    wall[0] = 0.0
    assert clock() == 1_003.0


def test_the_systems_own_clocks_do_not_go_back() -> None:
    before = time.time()
    clock = SteadyClock()
    readings = [clock() for _ in range(100)]
    assert readings == sorted(readings)
    assert abs(readings[0] - before) < 3_600
