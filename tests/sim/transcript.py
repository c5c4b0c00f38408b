"""From a failing seed to what a person can read: the fewest actions that still break the rule, and what then happened.

Delta debugging (Zeller, Hildebrandt: Simplifying and Isolating Failure-Inducing Input, 2002) over the list of actions.
Luck does not depend on what was rolled before, so leaving an action out changes little else.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from tests.sim.actions import Action, Scenario, scenario
from tests.sim.house import House
from tests.sim.rules import BrokenRuleError

RUNS_MAX = 400
"""Bound of tries to make a history smaller: about half a minute."""


def broken(case: Scenario, actions: Sequence[Action] | None = None) -> BrokenRuleError | None:
    """The rule that a history breaks, or None."""
    try:
        House(case).run(actions)
    except BrokenRuleError as error:
        return error
    return None


def smallest(case: Scenario, rule: str) -> list[Action]:
    """The fewest actions found that break a rule of that name, in the order of time."""
    return minimised(list(case.actions), lambda actions: (b := broken(case, actions)) is not None and b.rule == rule)


def minimised(actions: list[Action], fails: Callable[[list[Action]], bool]) -> list[Action]:
    """The list without what is not needed for it to fail, as far as RUNS_MAX tries lead."""
    runs, pieces = 0, 2
    while len(actions) >= 1 and runs < RUNS_MAX:
        size = max(1, len(actions) // pieces)
        for start in range(0, len(actions), size):
            rest = actions[:start] + actions[start + size :]
            runs += 1
            if fails(rest):
                actions, pieces = rest, max(2, pieces - 1)
                break
        else:
            if size == 1:
                break
            pieces = min(len(actions), pieces * 2)
    return actions


def transcript(seed: int, case: Scenario | None = None) -> str:
    """What a failing seed does, as small as it gets; empty when the seed does not fail."""
    case = case or scenario(seed)
    found = broken(case)
    if found is None:
        return ""
    actions = smallest(case, found.rule)
    house = House(case, trace=True)
    try:
        house.run(actions)
    except BrokenRuleError as error:
        found = error
    lines = [
        f"seed {seed} breaks the rule {found}",
        f"{case.attendees} attendees and {case.spare_seats} spare seats, {case.seats_per_ship} to a ship of"
        f" {case.ports} ports, {case.users} people, projects {', '.join(case.projects)}",
        f"{len(actions)} of its {len(case.actions)} actions are enough:",
        *(f"  {each.at:6.1f} s  {each.kind} pick={each.pick} size={each.size:.3f}" for each in actions),
        "what happened last:",
        *(f"  {line}" for line in house.trace or ()),
        f"again: python -m tests.sim --seed {seed}",
    ]
    return "\n".join(lines)
