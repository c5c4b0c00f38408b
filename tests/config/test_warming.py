"""Timetable and money in the event file: local times, their order, prices."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from mux.config import to_spec
from mux.core.model import EventSpec, ProjectName
from tests.config.files import VALID, changed, faults_in, parsed
from tests.config.test_ec2 import GIVEN, ON_EC2

DIGESTS = {ProjectName("intro"): "sha256:1", ProjectName("streaming"): "sha256:2"}
BERLIN = changed('name = "camp-2026"', 'name = "camp-2026"\ntime_zone = "Europe/Berlin"')


def spec(text: str) -> EventSpec:
    return to_spec(parsed(text), DIGESTS)


@pytest.mark.parametrize("written", ['"2027-05-14 08:45"', '"2027-05-14T08:45:00"', "2027-05-14T08:45:00"])
def test_times_are_of_the_events_zone(written: str) -> None:
    table = spec(f"{BERLIN}\n[timetable]\nfull_at = {written}\n").timetable
    assert table.full_at == datetime(2027, 5, 14, 6, 45, tzinfo=UTC).timestamp()
    assert (table.warm_at, table.cool, table.stop) == (None, "end", "park")


@pytest.mark.parametrize("written", ['"8:45"', '"2027-02-30 08:45"', "12", "2027-05-14T08:45:00Z", "2027-05-14"])
def test_what_is_no_local_time_is_refused(written: str) -> None:
    assert list(faults_in(f"{VALID}\n[timetable]\nwarm_at = {written}\n")) == ["timetable.warm_at"]


def test_a_time_that_clocks_leave_out_is_refused_with_one_that_they_show() -> None:
    fault = faults_in(f'{BERLIN}\n[timetable]\nwarm_at = "2027-03-28 02:30"\n')["timetable.warm_at"]
    assert "leave out" in fault.found
    assert fault.nearest == '"2027-03-28 03:30"'


def test_times_must_come_in_their_order() -> None:
    times = 'warm_at = "2027-05-14 08:45"\nfull_at = "2027-05-14 08:45"\ncool_at = "2027-05-14 07:00"\n'
    assert set(faults_in(f"{VALID}\n[timetable]\n{times}")) == {"timetable.full_at", "timetable.cool_at"}


def test_prices_become_millionths_and_a_limit_needs_one() -> None:
    text = '\n[spend]\nprice_per_ship_hour = 0.25\nprices = { "m6i.large" = 0.1234567 }\nlimit = 100\n'
    spend = spec(VALID + text).spend
    assert (spend.price_micros, spend.prices_micros, spend.limit) == (250_000, {"m6i.large": 123_457}, 100.0)
    assert (spend.dearest_micros, spend.markets) == (250_000, (False,)), "machines of this one have no kinds"
    assert list(faults_in(f"{VALID}\n[spend]\nlimit = 100\n")) == ["spend.price_per_ship_hour"]
    assert list(faults_in(f"{VALID}\n[spend]\nprices = {{ x = -1 }}\n")) == ["spend.prices.x"]


def test_spot_machines_have_prices_of_their_own_beside_the_others() -> None:
    prices = 'price_per_ship_hour = 0.4\nspot_price_per_ship_hour = 0.2\nspot_prices = { "m5.large" = 0.15 }\n'
    types = 'instance_types = ["m6i.large", "m5.large"]'
    for market, markets, dearest in (
        ("on_demand", (False,), 400_000), ("spot", (True,), 200_000), ("spot_first", (True, False), 400_000),
    ):  # fmt: skip
        text = (ON_EC2 + GIVEN).replace(
            'instance_types = ["m6i.2xlarge", "m5.2xlarge"]', f'{types}\nmarket = "{market}"'
        )
        spend = spec(f"{text}\n[spend]\n{prices}").spend
        assert (spend.kinds, spend.markets) == (("m6i.large", "m5.large"), markets)
        assert spend.dearest_micros == dearest
        assert spend.price("m5.large", spot=True) == 150_000
    assert list(faults_in(f"{VALID}\n[spend]\nspot_prices = {{ x = 0.1 }}\n")) == ["spend.price_per_ship_hour"]
