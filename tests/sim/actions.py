"""What may happen to a house: faults, commands and people, as data. A history is a list of these.

An action names its target by a number that is taken modulo what there is, so any sub-list of a history is a history.
Each seed draws from some of the kinds only: a history that holds a little of everything seldom finds much.
"""

from __future__ import annotations

from dataclasses import dataclass
from random import Random
from typing import Literal, get_args

PEOPLE = ("logs_in", "logs_in", "logs_in", "logs_out", "asks")
FAULTS = (
    "network", "partition", "launches_fail", "launches_fatal", "provider_slow", "answers_lost", "listings_fail",
    "ends_fail", "machine_dies", "machine_hangs", "machine_reboots", "agent_restarts", "agent_dies",
    "workspace_crashes", "workspace_hangs", "machine_fails", "port_taken", "mux_killed", "clock_jumps", "claimant",
    "hostile", "stray", "disk_full",
)  # fmt: skip
ORGANIZERS = (
    "apply", "doors", "cordon", "drain", "evict", "lost", "release", "park", "launching", "revoke",
    "warm", "cool", "replace",
)  # fmt: skip
LOSS = ("cut_off", "cut_off", "path_cut", "lost", "let_go")
"""Ships out of reach, given up, and let go. Drawn apart: a seed's other luck does not depend on it."""
ROLLOUTS = ("push", "push", "push", "steer", "steer", "accepts", "accepts", "works", "registry_away")
"""Images on their way to people. Drawn apart as well."""
CROSSINGS = ("port_flickers", "order_crosses")
"""Two things that cross on their way, which chance alone hardly ever brings together. Drawn apart as well."""
PAGES = ("page_opens", "page_opens", "page_opens", "page_closes", "page_reloads", "asked_boots")
"""Pages of notebooks. Drawn apart as well."""
WISHES = ("starts_over", "starts_over", "starts_over", "takes_back")
"""Files that start over. Drawn apart as well."""
ASKS = ("push", "evict", "release", "replace")
"""What has pages asked to save."""
KillPoint = Literal["idle", "handled", "persisted", "published", "acting"]
"""Where in a batch the mux dies: between batches, before persist, publish or act, half way through acting."""
KILL_POINTS: tuple[KillPoint, ...] = get_args(KillPoint)


@dataclass(frozen=True, slots=True)
class Action:
    """One thing that happens.

    Args:
        at: when, in seconds.
        kind: one of PEOPLE, FAULTS, ORGANIZERS, LOSS, ROLLOUTS, CROSSINGS, PAGES, WISHES.
        pick: its target, and what else there is to choose.
        size: how long or how much, in [0, 1).
    """

    at: float
    kind: str
    pick: int = 0
    size: float = 0.0


@dataclass(frozen=True, slots=True)
class Scenario:
    """A seed's house and history.

    Args:
        seed: the luck of everything that is not in ``actions``.
        attendees, spare_seats, seats_per_ship, ready_seats: of the event file.
        users: people who may come; may be more than there are seats.
        projects: which of intro, lazy, kept and bad.
        ports: size of a machine's range.
        faults_s: how long things happen, before peace, in seconds.
        actions: in order of time.
    """

    seed: int
    attendees: int
    spare_seats: int
    seats_per_ship: int
    ready_seats: int
    users: int
    projects: tuple[str, ...]
    ports: int
    faults_s: float
    actions: tuple[Action, ...]


def scenario(seed: int, *, scale: int = 1, faults_s: float = 100.0) -> Scenario:
    """The house and history of a seed.

    Args:
        seed: any number.
        scale: how many times larger than usual.
        faults_s: how long things go wrong, in seconds.
    """
    random = Random(seed)
    attendees = random.randint(2, 5) * scale
    seats_per_ship = random.randint(1, 3)
    projects = [
        "intro",
        *(name for name in ("lazy", "kept", "bad") if random.random() < (0.3 if name == "bad" else 0.5)),
    ]
    least = seats_per_ship * len(projects)
    faults = random.sample(FAULTS, random.randint(2, 8))
    organizers = random.sample(ORGANIZERS, random.randint(0, 4))
    kinds = [*PEOPLE * 2, *faults * 2, *organizers]
    count = random.randint(10, 28) * scale
    actions = [
        Action(round(random.uniform(0, faults_s), 1), random.choice(kinds), random.randrange(1000), random.random())
        for _ in range(count)
    ]
    all_come_by = 10 if random.random() < 0.5 else faults_s
    actions += [
        Action(round(random.uniform(0, all_come_by), 1), "logs_in", user, random.random()) for user in range(attendees)
    ]
    loss = Random(f"loss {seed}")
    actions += [
        Action(round(loss.uniform(0, faults_s), 1), loss.choice(LOSS), loss.randrange(1000), loss.random())
        for _ in range(loss.choice((0, 0, 1, 2, 4)) * scale)
    ]
    rollouts = Random(f"rollouts {seed}")
    actions += [
        Action(
            round(rollouts.uniform(0, faults_s), 1),
            rollouts.choice(ROLLOUTS),
            rollouts.randrange(1000),
            rollouts.random(),
        )
        for _ in range(rollouts.choice((0, 0, 2, 4, 8)) * scale)
    ]
    crossings = Random(f"crossings {seed}")
    actions += [
        Action(
            round(crossings.uniform(0, faults_s), 1),
            crossings.choice(CROSSINGS),
            crossings.randrange(1000),
            crossings.random(),
        )
        for _ in range(crossings.choice((0, 0, 0, 1, 2)) * scale)
    ]
    pages = Random(f"pages {seed}")
    actions += [
        Action(round(pages.uniform(0, faults_s), 1), pages.choice(PAGES), pages.randrange(1000), pages.random())
        for _ in range(pages.choice((0, 8, 16, 24)) if any(action.kind in ASKS for action in actions) else 0)
    ]
    wishes = Random(f"wishes {seed}")
    actions += [
        Action(round(wishes.uniform(0, faults_s), 1), wishes.choice(WISHES), wishes.randrange(1000), wishes.random())
        for _ in range(wishes.choice((0, 0, 4, 8)) * scale)
    ]
    return Scenario(
        seed=seed,
        attendees=attendees,
        spare_seats=random.randint(0, 2) * scale,
        seats_per_ship=seats_per_ship,
        ready_seats=random.choice([1, 1, attendees]),
        users=attendees + random.randint(0, 2) * scale,
        projects=tuple(projects),
        ports=random.choice([least + 1, least + 2, 2 * least, 64]),
        faults_s=faults_s,
        actions=tuple(sorted(actions, key=lambda action: action.at)),
    )
