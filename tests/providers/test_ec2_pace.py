"""EC2's token buckets, as the provider keeps them: turns in order, slower when EC2 says so."""

from __future__ import annotations

from itertools import pairwise

from mux.providers.ec2.pace import MARGIN, SLOWER_S, SLOWEST, Pace


def turns(pace: Pace, action: str, count: int, *, machines: int = 1) -> list[float]:
    """When so many calls asked for at once may be made."""
    return [pace.reserve(action, machines, 0.0) for _ in range(count)]


def test_a_burst_goes_at_once_and_the_rest_at_the_refill() -> None:
    waits = turns(Pace(), "CreateFleet", 60)
    assert waits[:47] == [0.0] * 47
    assert all(abs(after - before - 1 / (5 * MARGIN)) < 1e-6 for before, after in pairwise(waits[48:]))


def test_launching_draws_on_the_bucket_of_machines_too() -> None:
    pace = Pace()
    assert pace.reserve("RunInstances", 950, 0.0) == 0.0
    assert pace.reserve("CreateFleet", 2, 0.0) > 1.0
    assert pace.reserve("StartInstances", 1, 0.0) > 1.0


def test_actions_do_not_take_each_others_requests() -> None:
    pace = Pace()
    turns(pace, "CreateFleet", 200)
    assert pace.reserve("CreateLaunchTemplateVersion", 1, 0.0) == 0.0
    assert pace.reserve("DescribeInstances", 1, 0.0) == 0.0


def test_throttling_slows_down_to_a_bound_and_success_quickens_again() -> None:
    pace = Pace()
    pace.reserve("CreateLaunchTemplateVersion", 1, 0.0)
    for number in range(20):
        pace.throttled("CreateLaunchTemplateVersion", number * SLOWER_S)
    slowest = 1 / (5 * MARGIN * SLOWEST)
    assert abs(pace.reserve("CreateLaunchTemplateVersion", 1, 19 * SLOWER_S) - slowest) < 1e-6
    for _ in range(100):
        pace.went_well("CreateLaunchTemplateVersion")
    assert pace.reserve("CreateLaunchTemplateVersion", 1, 1000.0) == 0.0
    assert turns(pace, "DescribeInstances", 5) == [0.0] * 5


def test_calls_that_were_made_at_once_and_are_throttled_slow_down_once() -> None:
    pace, action = Pace(), "CreateLaunchTemplateVersion"
    turns(pace, action, 47)
    for _ in range(47):
        pace.throttled(action, 1.0)
    assert abs(pace.reserve(action, 1, 1.0) - 1 / (5 * MARGIN / 2)) < 1e-6
    pace.throttled(action, 1.0 + SLOWER_S)
    assert abs(pace.reserve(action, 1, 1.0 + SLOWER_S) - 1 / (5 * MARGIN / 4)) < 1e-6


def test_time_that_stands_still_or_goes_back_gives_nothing() -> None:
    pace = Pace()
    turns(pace, "RunInstances", 5)
    assert pace.reserve("RunInstances", 1, -10.0) > 0.0


def test_a_refused_fleet_says_nothing_of_machines_and_one_throttled_inside_nothing_of_requests() -> None:
    pace = Pace()
    assert pace.reserve("CreateFleet", 1, 0.0) == 0.0
    pace.throttled("CreateFleet", 0.0)
    assert pace.reserve("StartInstances", 400, 0.0) == 0.0
    pace = Pace()
    assert pace.reserve("CreateFleet", 1, 0.0) == 0.0
    pace.throttled("CreateFleet", 0.0, inside=True)
    assert pace.reserve("CreateFleet", 0, 0.0) == 0.0
    assert abs(pace.reserve("StartInstances", 1, 0.0) - 1 / (2 * MARGIN / 2)) < 1e-6


def test_the_bucket_of_machines_is_suspected_once_it_is_low_or_a_slower_pace_did_not_help() -> None:
    pace = Pace()
    pace.reserve("StartInstances", 50, 0.0)
    pace.throttled("StartInstances", 0.0)
    assert pace.reserve("CreateFleet", 100, 0.0) == 0.0, "there is more than half of it left"
    pace.throttled("StartInstances", SLOWER_S)
    assert pace.reserve("CreateFleet", 1, SLOWER_S) > 0.0

    pace = Pace()
    pace.reserve("StartInstances", 500, 0.0)
    pace.throttled("StartInstances", 0.0)
    assert pace.reserve("CreateFleet", 1, 0.0) > 0.0
