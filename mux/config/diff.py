"""What differs between two event files, and what that does: what `mux apply` shows before it applies.

Owns the sentence that says what a change leads to. Projects are compared by name, so that another order is none.

Rules: of variables only the names are shown, of what secrets files hold only the number of rows. A command is shown:
everybody on a ship can read it anyway.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from types import MappingProxyType

from mux.config.container_kinds import OPT_INS
from mux.config.schema import TABLES, EventFile, ProjectTable
from mux.config.secrets import Secrets
from mux.config.tables import Entry, Table
from mux.config.template import written
from mux.core.model import ProjectName
from mux.core.plural import counted


@dataclass(frozen=True, slots=True)
class Change:
    """One difference.

    Args:
        key: e.g. ``fleet.attendees``, ``project[intro].image``, or ``project[intro]`` for a whole one.
        before: as the file writes it; empty if it was not there.
        after: likewise.
        effect: one sentence for people.
    """

    key: str
    before: str
    after: str
    effect: str

    def __str__(self) -> str:
        return f"{self.key}: {self.before or 'nothing'} → {self.after or 'nothing'}: {self.effect}"


_QUIET = "(not shown)"
_NEXT_START = "takes effect when the mux is started again"
_STORE = "takes effect when the mux is started again; what is kept is not moved there"
_SHIPLESS = "takes effect when the mux is started again; refused while there are ships"
_NEXT_LOGIN = "holds for logins from now on; sessions keep theirs"
_AT_ONCE = "takes effect at once"
_REPLACED = "workspaces on free seats are replaced"
_RESTART = f"{_REPLACED}; bound workspaces get it at their next start"
_NEXT_MACHINE = "holds for ships launched after the next start of the mux"
_TIMES = "takes effect at once; a time that has passed is the last word unless organizers said something later"
_MONEY = "holds for launches from now on; another limit replaces what organizers allowed"
_LABEL = "is shown from the next page on"

_EFFECTS: Mapping[str, str] = MappingProxyType(
    {
        "event.name": _SHIPLESS,
        "event.title": _NEXT_START,
        "event.public_address": "takes effect when the mux is started again; links on slides must lead there",
        "event.admin_address": _NEXT_START,
        "event.time_zone": _NEXT_START,
        "project.title": _LABEL,
        "project.image": f"{_REPLACED}; bound workspaces keep the old image until a push",
        "project.start": f"{_REPLACED} or ended",
        "project.path": "no effect: the path is always made of the name",
        "project.secrets": "read now; attached when a workspace is bound, to bound ones by a restart on the same files",
        "project.allow": f"what its containers may beyond the rule; {_RESTART}",
        "project.ports_with_prefix": _AT_ONCE,
        "project.health_path": f"is asked from now on; {_REPLACED}",
        "fleet.provider": _SHIPLESS,
        "fleet.runtime": "takes effect when the mux is started again; ships that run keep the old runtime",
        "fleet.ready_seats": "counts while the doors have not opened yet",
        "fleet.ports": "holds for ships launched after the next start of the mux",
        "fleet.heartbeat_s": "holds for links made from now on",
        "auth.mode": _NEXT_LOGIN,
        "auth.roster": "no effect by itself: import it with `mux roster import`",
        "auth.passcode_file": "takes effect when the mux is started again",
        "auth.session_hours": _NEXT_LOGIN,
        "auth.organizer_session_hours": _NEXT_LOGIN,
        "auth.new_names_max": _NEXT_START,
        "auth.new_names_per_minute": _NEXT_START,
        "files.attendee_max": "at once; what is kept stays",
        "files.store": _STORE,
        "files.bucket": _STORE,
        "files.prefix": _STORE,
        "files.region": _STORE,
        "files.endpoint": _STORE,
        "registry.config": "read now; ships get the new logins at once",
        "registry.ecr_role": "taken now; ships get the new logins at once",
        "ec2.region": _SHIPLESS,
        "data.directory": "takes effect when the mux is started again; move what is in the old one there yourself",
    }
)
"""By key; then by table below; then at once."""
_TABLE_EFFECTS: Mapping[str, str] = MappingProxyType(
    {
        "project": _RESTART,
        "fleet": _AT_ONCE,
        "warming": _AT_ONCE,
        "rollout": _AT_ONCE,
        "timetable": _TIMES,
        "spend": _MONEY,
        "auth": _NEXT_LOGIN,
        "listen": _NEXT_START,
        "tls": _NEXT_START,
        "ec2": _NEXT_MACHINE,
    }
)
_SIZES = frozenset({"attendees", "spare_seats", "seats_per_ship"})


def differences(old: EventFile | None, new: EventFile) -> list[Change]:
    """What differs, in the order of the file.

    Args:
        old: as applied; None when nothing was.
        new: as it would be applied.
    """
    if old is None:
        ships = counted(new.fleet.ships_wanted, "ship")
        return [
            Change(
                "event", "", new.event.name, f"{ships} will be launched for {counted(new.fleet.seats_wanted, 'seat')}"
            ),
            *(change for project in new.projects for change in (_added(project), *_opt_ins(project))),
        ]
    changes = list(_table("event", old.event, new.event))
    changes += _projects(old, new)
    changes += _table("fleet", old.fleet, new.fleet, lambda entry: _fleet_effect(entry, old, new))
    for name in (
        "warming",
        "rollout",
        "timetable",
        "spend",
        "auth",
        "listen",
        "tls",
        "registry",
        "data",
        "files",
        "ec2",
    ):
        changes += _table(name, getattr(old, name), getattr(new, name))
    return changes


def _table(
    name: str, old: Table, new: Table, effect: Callable[[Entry], str | None] | None = None, key: str = ""
) -> Iterator[Change]:
    for entry in TABLES[name].entries():
        before, after = old.value(entry), new.value(entry)
        if before != after:
            said = effect(entry) if effect else None
            dotted = f"{name}.{entry.name}"
            yield Change(
                f"{key or name}.{entry.name}",
                _shown(entry, before),
                _shown(entry, after),
                said or _EFFECTS.get(dotted) or _TABLE_EFFECTS.get(name, _AT_ONCE),
            )


def _shown(entry: Entry, value: object) -> str:
    if isinstance(value, Mapping) and entry.said.kind.quiet:
        return ", ".join(value)
    if entry.said.kind.quiet and not isinstance(value, tuple):
        return _QUIET if value else ""
    return written(entry, value)


def _projects(old: EventFile, new: EventFile) -> Iterator[Change]:
    for project in new.projects:
        before = old.project(project.name)
        if before is None:
            yield _added(project)
            yield from _opt_ins(project)
        else:
            yield from _table("project", before, project, _project_effect(before, project), f"project[{project.name}]")
    for project in old.projects:
        if new.project(project.name) is None:
            effect = "its workspaces are ended and their files destroyed"
            yield Change(f"project[{project.name}]", project.shown_title, "", effect)


def _added(project: ProjectTable) -> Change:
    start = "a workspace will be started on every seat" if project.start == "warm" else "workspaces start on use"
    return Change(f"project[{project.name}]", "", project.shown_title, start)


def _opt_ins(project: ProjectTable) -> Iterator[Change]:
    """What a new project is allowed beyond the rule: nobody should find that out later."""
    for name in project.allow:
        yield Change(f"project[{project.name}].allow", "", f'"{name}"', f"weakens its containers: {_given_up(name)}")


def _given_up(opt_in: str) -> str:
    return OPT_INS.get(opt_in, "a capability that no other container has")


def _project_effect(old: ProjectTable, new: ProjectTable) -> Callable[[Entry], str | None]:
    """Says of each opt-in that comes to a known project what it gives up, as of those of a new one."""
    come = [_given_up(name) for name in new.allow if name not in old.allow]

    def effect(entry: Entry) -> str | None:
        return f"weakens its containers: {'; '.join(come)}; {_RESTART}" if entry.name == "allow" and come else None

    return effect


def _fleet_effect(entry: Entry, old: EventFile, new: EventFile) -> str | None:
    if entry.name not in _SIZES:
        return None
    before, after = old.fleet.ships_wanted, new.fleet.ships_wanted
    if after > before:
        text = f"{counted(after - before, 'more ship')} will be launched"
    elif after < before:
        text = f"{counted(before - after, 'ship')} will be ended once nobody has a seat there"
    else:
        text = f"the fleet stays at {counted(after, 'ship')}"
    return f"{text}; ships that exist keep their seats" if entry.name == "seats_per_ship" else text


def image_differences(old: Mapping[ProjectName, str], new: Mapping[ProjectName, str]) -> list[Change]:
    """Images whose content differs though the file may name them as before.

    Args:
        old: digests as applied.
        new: digests as resolved now; projects that are in one only are changes of the file.
    """
    return [
        Change(f"project[{name}].image", old[name][:19], digest[:19], _EFFECTS["project.image"])
        for name, digest in new.items()
        if name in old and old[name] != digest
    ]


def secret_differences(old: Secrets, new: Secrets) -> list[Change]:
    """Projects whose secrets differ: how many rows, never what is in them."""
    return [
        Change(
            f"project[{name}].secrets",
            counted(len(old[name]), "row") if name in old else "",
            counted(len(new[name]), "row") if name in new else "",
            "attached when a workspace is bound; bound workspaces get them by a restart on the same files",
        )
        for name in sorted({*old, *new})
        if old.get(name) != new.get(name)
    ]
