"""What the organizers' page says of work under way: rollouts, warming, and what it costs.

Pure: from the core's views to values for the template. Texts of ships and registries pass through as they are; the
template escapes them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

from mux.core.rollout import RolloutState
from mux.core.rollout_views import SET_TIME, RolloutView
from mux.core.spend import money
from mux.core.warming_views import SpendView, WarmingView
from mux.web.local_time import told
from mux.web.organizer_view import Figure, clock_time, duration
from mux.web.steering import Order, orders_for

FAILURES_NAMED_MAX = 5
"""Subjects that a group of failures names; more are counted."""
ORDER_WORDS: dict[Order, tuple[str, str]] = {
    "pause": ("Pause", ""),
    "resume": ("Go on", ""),
    "abort": ("Abort…", "It ends where it is: whoever was swapped keeps the new image, everybody else the one before."),
    "rollback": ("Roll back…", "Everybody gets the image before; what is running is started anew."),
}
"""The words on an order's button, and what is asked before it is carried out; empty for those that need no question."""


@dataclass(frozen=True, slots=True)
class Bar:
    """So many of so many."""

    name: str
    value: int
    total: int


@dataclass(frozen=True, slots=True)
class Group:
    """What failed for one reason."""

    why: str
    count: int
    subjects: str


@dataclass(frozen=True, slots=True)
class RolloutPanel:
    """One rollout.

    Args:
        project: which.
        phase: in words.
        troubled: it stopped, or something failed.
        image: what is pushed, with its short digest.
        note: the organizer's words.
        bars: how far it is.
        lines: what it waits for, how long it takes, why it stopped.
        failures: what failed, in groups.
        orders: what can be done: the order, the words on its button, and the question before it.
    """

    project: str
    phase: str
    troubled: bool
    image: str
    note: str
    bars: tuple[Bar, ...]
    lines: tuple[str, ...]
    failures: tuple[Group, ...]
    orders: tuple[tuple[Order, str, str], ...]


def rollout_panels(views: Iterable[RolloutView]) -> tuple[RolloutPanel, ...]:
    """Every project's latest rollout."""
    return tuple(_panel(view) for view in views)


def _panel(view: RolloutView) -> RolloutPanel:
    rollout = view.rollout
    bars = [Bar("Ships pulled", view.pulled, view.ships), Bar("Ships proved", view.proved, view.ships)]
    if rollout.pace.offer:
        bars.append(Bar("Offers accepted", view.accepted, view.offered))
    bars.append(Bar("Attendees swapped", view.swapped, view.bound))
    failures = [(str(subject), why) for subject, why in (*rollout.refused, *rollout.failed)]
    return RolloutPanel(
        project=rollout.project,
        phase=f"paused, {view.phase}" if rollout.paused else view.phase,
        troubled=bool(failures) or rollout.state is RolloutState.STOPPED,
        image=f"{rollout.image} ({rollout.digest[:19]}…)",
        note=rollout.note,
        bars=tuple(bars),
        lines=tuple(_lines(view)),
        failures=grouped(failures),
        orders=tuple((order, *ORDER_WORDS[order]) for order in orders_for(view)),
    )


def _lines(view: RolloutView) -> Iterable[str]:
    if view.rollout.why:
        yield f"It has ended: {view.rollout.why}."
    if view.rollout.state is not RolloutState.RUNNING:
        return
    if view.waits_for:
        at = told(view.rollout.pace.not_before, "UTC") if view.waits_for == SET_TIME else view.waits_for
        yield f"Waits for {at}."
    if view.swapping:
        yield f"{view.swapping} being swapped."
    if view.working:
        yield f"{view.working} of {view.waiting} who are left are working, and are waited for."
    yield "Time left: " + ("unknown." if view.eta_s is None else f"about {duration(max(1.0, view.eta_s))}.")


def grouped(failures: Iterable[tuple[str, str]]) -> tuple[Group, ...]:
    """Failures by reason, the most frequent first."""
    subjects: dict[str, list[str]] = {}
    for subject, why in failures:
        subjects.setdefault(why, []).append(subject)
    counted = Counter({why: len(found) for why, found in subjects.items()})
    return tuple(Group(why, count, _named(subjects[why])) for why, count in counted.most_common())


def _named(subjects: list[str]) -> str:
    more = len(subjects) - FAILURES_NAMED_MAX
    return ", ".join(subjects[:FAILURES_NAMED_MAX]) + (f" and {more} more" if more > 0 else "")


@dataclass(frozen=True, slots=True)
class WarmingPanel:
    """How warming goes on.

    Args:
        bars: seats, then ships by what they are doing.
        text: what is expected, in one sentence.
        alert: what an organizer has to see to; empty if nothing.
        reasons: why seats are missing, in groups.
        spend: what the event costs, as figures; empty where ships have no price.
    """

    bars: tuple[Bar, ...]
    text: str
    alert: str
    reasons: tuple[tuple[str, int], ...]
    spend: tuple[Figure, ...]


def warming_panel(view: WarmingView, now: float) -> WarmingPanel:
    """Warming at ``now``, in seconds since the epoch."""
    ships = sum(view.ships_by_state.values())
    states = sorted(view.ships_by_state.items())
    return WarmingPanel(
        bars=(Bar("Seats ready", view.ready, view.seats), *(Bar(f"Ships: {name}", n, ships) for name, n in states)),
        text=_expected(view, now),
        alert="Nothing has become ready for long." if view.stalled and view.ready < view.seats else "",
        reasons=view.reasons,
        spend=_spend(view.spend),
    )


def _expected(view: WarmingView, now: float) -> str:
    if view.ready >= view.seats:
        return "Every seat that is wanted is ready."
    if view.begins_at is not None:
        return f"Warming begins at {clock_time(view.begins_at)} UTC."
    if view.held:
        return f"Nothing is launched: {view.held}."
    late = " That is late." if view.by is not None and view.expected_at > view.by else ""
    return f"The rest is expected in about {duration(max(1.0, view.expected_at - now))}.{late}"


def _spend(spend: SpendView) -> tuple[Figure, ...]:
    if not spend.known:
        return ()
    limit = "no limit" if spend.limit is None else f"limit {money(spend.limit, spend.currency)}"
    return (
        Figure("Spent", money(spend.spent, spend.currency), f"for {spend.ship_hours:.1f} hours of ships"),
        Figure("An hour", money(spend.per_hour, spend.currency), "with what runs now"),
        Figure("The event", money(spend.event, spend.currency), f"estimate; {limit}"),
    )
