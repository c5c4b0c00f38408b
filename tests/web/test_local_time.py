"""Times as organizers write them: which moment is meant."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from mux.web.local_time import NoMomentError, moment, told

BERLIN = "Europe/Berlin"


def utc(written: str) -> float:
    return datetime.strptime(written, "%Y-%m-%d %H:%M").replace(tzinfo=UTC).timestamp()


@pytest.mark.parametrize(
    ("now", "written", "at"),
    [
        ("2027-06-01 08:00", "10:30", "2027-06-01 08:30"),
        ("2027-06-01 08:30", "10:30", "2027-06-02 08:30"),  # it is 10:30: the next one is tomorrow's
        ("2027-06-01 21:59", "00:00", "2027-06-01 22:00"),  # over midnight
        ("2027-06-01 08:00", "2027-06-03 10:30", "2027-06-03 08:30"),
        ("2027-06-01 08:00", "2027-06-03T10:30", "2027-06-03 08:30"),
        # Over the changes of clocks: on 28 March 2027 forward at 02:00, on 31 October back at 03:00.
        ("2027-03-27 20:00", "10:30", "2027-03-28 08:30"),
        ("2027-03-28 02:00", "02:30", "2027-03-29 00:30"),  # today it was left out, and would be past
        ("2027-10-30 23:00", "02:30", "2027-10-31 00:30"),  # the first of two
        ("2027-10-31 00:45", "02:30", "2027-10-31 01:30"),  # the second one is still to come
        ("2027-10-31 00:45", "2027-10-31 02:30", "2027-10-31 01:30"),
        ("2027-10-31 01:10", "2027-10-31 02:30", "2027-10-31 01:30"),  # never the first one, which has passed
        ("2027-10-31 01:30", "02:30", "2027-11-01 01:30"),
    ],
)
def test_a_time_is_the_next_one_that_a_wall_clock_shows(now: str, written: str, at: str) -> None:
    assert moment(written, utc(now), BERLIN) == utc(at)


@pytest.mark.parametrize(
    ("written", "code"),
    [
        ("02:30", "missing"), ("2027-03-28 02:00", "missing"), ("2027-03-27 10:30", "past"),
        ("0001-01-01 00:00", "past"),
        ("2031-03-28 10:30", "far"), ("9999-12-31 23:59", "far"), ("24:00", "invalid"), ("10:30:15", "invalid"),
        ("2027-02-30 10:00", "invalid"), ("", "invalid"), ("now", "invalid"), ("-1:30", "invalid"),
    ],
)  # fmt: skip
def test_what_is_no_moment_to_come_is_refused(written: str, code: str) -> None:
    with pytest.raises(NoMomentError) as refused:
        moment(written, utc("2027-03-27 20:00"), BERLIN)
    assert refused.value.code == code


def test_a_moment_is_told_on_a_clock_there() -> None:
    assert told(utc("2027-06-01 08:30"), BERLIN) == "2027-06-01 10:30 (Europe/Berlin)"
