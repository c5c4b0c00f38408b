"""Handlers of the admin API for rollouts: push an image, see how far it is, hold it, end it, take it back."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from pydantic import BaseModel

from mux.config.rollout_schema import ALLOWED, share_or_count
from mux.core.events import ProjectPushed, RolloutSteered
from mux.core.model import HeldImage, ProjectName, ShipState
from mux.core.rollout import Pace
from mux.core.rollout_views import SET_TIME, RolloutView
from mux.registry.manifest import UNPACKED_RATIO
from mux.registry.reference import has_login
from mux.web.admin_api_deps import AdminDeps, PushedImage, PushError
from mux.web.admin_api_endpoint import ApiError, Call, NotFoundError
from mux.web.admin_api_fleet import quoted
from mux.web.api_models import Done
from mux.web.api_models_rollout import Failure, Pushed, PushIn, PushPlan, RolloutOut, Rollouts, SteerIn
from mux.web.local_time import NoMomentError, moment, told
from mux.web.shown_text import can_be_shown
from mux.web.steering import misfit

GIB = 1 << 30


async def rollouts(deps: AdminDeps, call: Call) -> BaseModel:  # noqa: ARG001 - every handler has the same shape
    """How rollouts stand."""
    return Rollouts(rollouts=[_shown(view, _at(deps, view.rollout.pace)) for view in deps.engine.rollouts()])


async def plan(deps: AdminDeps, call: Call) -> BaseModel:
    """Whether an image could be pushed, and to how many."""
    wanted = await _wanted(deps, call)
    seated = [seat for ship in deps.engine.status(deps.clock()).ships for seat in ship.seats if seat.user is not None]
    return PushPlan(
        image=wanted.found.image,
        digest=wanted.found.digest,
        attendees=sum(wanted.project in seat.workspaces for seat in seated),
        not_before=wanted.pace.not_before,
        not_before_text=_at(deps, wanted.pace),
    )


async def push(deps: AdminDeps, call: Call) -> BaseModel:
    """Give a project another image while people work with it."""
    wanted = await _wanted(deps, call)
    project, found, note = wanted.project, wanted.found, call.expect(PushIn).note
    await deps.engine.submit(ProjectPushed(project, found.image, found.digest, wanted.pace, note))
    # Another word may have come in the same moment.
    now = (view.rollout for view in deps.engine.rollouts() if view.rollout.project == project)
    ours = (each.number for each in now if (each.digest, each.pace, each.note) == (found.digest, wanted.pace, note))
    at = _at(deps, wanted.pace)
    return Pushed(
        number=next(ours, 0),
        text=f"{project}: {found.digest[:19]}… is being pulled and proved; nobody is touched before "
        f"{at or 'that'}. `mux rollout status` shows how far it is.",
    )


@dataclass(frozen=True, slots=True)
class _Push:
    """A push that can be made."""

    project: ProjectName
    pace: Pace
    found: PushedImage


async def _wanted(deps: AdminDeps, call: Call) -> _Push:
    """Raises ApiError where it cannot."""
    body, project = call.expect(PushIn), _project(deps, call)
    if has_login(body.image):
        raise ApiError(
            422,
            "image_invalid",
            "the image's name has a login in it, which everybody could read; write it without, and let the event file "
            "name where the login is: [registry]",
        )
    if not can_be_shown(body.image):
        raise ApiError(422, "image_invalid", "the image's name has characters that cannot be shown; write it anew")
    if not can_be_shown(body.note):
        raise ApiError(422, "text_invalid", "the note has characters that cannot be shown; write it anew, on one line")
    pace = _pace(body, deps)
    try:
        found = await deps.images.resolve(project, body.image, _held(deps, project))
    except PushError as error:
        raise ApiError(422, error.code, str(error)) from error
    if not body.ignore_room:
        _fits(deps, found)
    return _Push(project, pace, found)


async def steer(deps: AdminDeps, call: Call) -> BaseModel:
    """Pause, resume, abort or take back."""
    order, project = call.expect(SteerIn).order, _project(deps, call)
    view = next((each for each in deps.engine.rollouts() if each.rollout.project == project), None)
    if view is None:
        raise NotFoundError("no_rollout", f"nothing was pushed for {project}; `mux push` does that")
    if (wrong := misfit(view, order)) is not None:
        raise ApiError(409, *wrong)
    await deps.engine.submit(RolloutSteered(project, order))
    texts = {
        "pause": f"Nobody further is touched until `mux rollout resume {project}`.",
        "resume": "The rollout goes on; earlier failures are forgotten.",
        "abort": f"Nobody further is touched. `mux rollout rollback {project}` puts the image before back everywhere.",
        "rollback": "The image before is put back, in waves.",
    }
    return Done(text=texts[order])


def _project(deps: AdminDeps, call: Call) -> ProjectName:
    name = call.path["project"]
    names = [spec.name for spec in deps.engine.projects()]
    if name not in names:
        raise NotFoundError("no_project", f"no project {quoted(name)}; there are {', '.join(names)}")
    return ProjectName(name)


def _pace(body: PushIn, deps: AdminDeps) -> Pace:
    share, count = 0.0, 0
    if body.max_unavailable:
        at_once = share_or_count(body.max_unavailable)
        if at_once is None:
            raise ApiError(422, "max_unavailable_invalid", f"`max_unavailable` is {ALLOWED}")
        share, count = at_once
    word, _, at = body.when.partition(" ")
    if word == "at" and at:
        try:
            return Pace(share, count, not_before=moment(at, deps.clock(), deps.time_zone()))
        except NoMomentError as error:
            raise ApiError(422, "when_invalid", f"`when`: {error}") from None
    if body.when not in ("now", "idle", "offer"):
        raise ApiError(422, "when_invalid", "`when` is now, idle, offer, or a time such as at 10:30")
    return Pace(share, count, idle=body.when == "idle", offer=body.when == "offer")


def _at(deps: AdminDeps, pace: Pace) -> str:
    """When attendees may be touched, on a wall clock of the event; empty for at once."""
    return told(pace.not_before, deps.time_zone()) if pace.not_before else ""


def _when(pace: Pace) -> str:
    if pace.offer:
        return "offer"
    return "idle" if pace.idle else "at" if pace.not_before else "now"


def _held(deps: AdminDeps, project: ProjectName) -> Sequence[HeldImage]:
    """Images of a project that ships have: of the event file, and of the latest rollout."""
    held = [HeldImage(project, spec.image, spec.digest) for spec in deps.engine.projects() if spec.name == project]
    for view in deps.engine.rollouts():
        if view.rollout.project == project:
            held.append(HeldImage(project, view.rollout.was_image, view.rollout.was_digest))
            held.append(HeldImage(project, view.rollout.image, view.rollout.digest))
    return tuple(dict.fromkeys(held))


def _fits(deps: AdminDeps, image: PushedImage) -> None:
    """Refuse an image that does not fit a ship's disk once it is there: a disk that fills up harms who is there."""
    if image.fetched_bytes is None:
        return
    needed = image.fetched_bytes * (UNPACKED_RATIO if image.packed else 1.0)
    short = [
        (ship.resources.disk_free_bytes, ship.id)
        for ship in deps.engine.status(deps.clock()).ships
        if ship.state in (ShipState.AVAILABLE, ShipState.RUNNING)
        and ship.resources.disk_total_bytes
        and ship.resources.disk_free_bytes < needed
    ]
    if short:
        free, ship = min(short)
        more = f" ({len(short) - 1} more have too little)" if len(short) > 1 else ""
        unpacked = f" and unpack to about {needed / GIB:.2f} GiB" if image.packed else ""
        raise ApiError(
            409,
            "no_room",
            f"the image does not fit: {image.fetched_bytes / GIB:.2f} GiB are new to the ships{unpacked}, "
            f"and {ship} has {free / GIB:.2f} GiB left{more}; free some space, or replace it; "
            f"`mux push --ignore-room` pushes it all the same",
        )


def _shown(view: RolloutView, at: str) -> RolloutOut:
    rollout = view.rollout
    was_image, was_digest = rollout.rolls_back_to
    return RolloutOut.model_validate(
        {
            "project": rollout.project,
            "number": rollout.number,
            "image": rollout.image,
            "digest": rollout.digest,
            "was_image": was_image,
            "was_digest": was_digest,
            "phase": view.phase,
            "rollback": rollout.rollback,
            "paused": rollout.paused,
            "why": rollout.why,
            "note": rollout.note,
            "pushed_at": rollout.pushed_at,
            "not_before": rollout.pace.not_before,
            "not_before_text": at,
            "ships": view.ships,
            "pulled": view.pulled,
            "proved": view.proved,
            "bound": view.bound,
            "swapped": view.swapped,
            "swapping": view.swapping,
            "waiting": view.waiting,
            "when": _when(rollout.pace),
            "offered": view.offered,
            "accepted": view.accepted,
            "working": view.working,
            "eta_s": view.eta_s,
            "waits_for": at if view.waits_for == SET_TIME else view.waits_for,
            "failures": [Failure(subject=subject, why=why) for subject, why in (*rollout.refused, *rollout.failed)],
        }
    )
