"""Handlers of the admin API for rollouts: push an image, see how far it is, hold it, end it, take it back."""

from __future__ import annotations

from collections.abc import Sequence

from pydantic import BaseModel

from mux.config.rollout_schema import ALLOWED, share_or_count
from mux.core.events import ProjectPushed, RolloutSteered
from mux.core.model import HeldImage, ProjectName, ShipState
from mux.core.rollout import Pace
from mux.core.rollout_views import RolloutView
from mux.registry.manifest import UNPACKED_RATIO
from mux.web.admin_api_deps import AdminDeps, PushedImage, PushError
from mux.web.admin_api_endpoint import ApiError, Call, NotFoundError
from mux.web.admin_api_fleet import quoted
from mux.web.admin_api_warming import due
from mux.web.api_models import Done
from mux.web.api_models_rollout import Failure, PushIn, RolloutOut, Rollouts, SteerIn
from mux.web.shown_text import can_be_shown
from mux.web.steering import misfit

GIB = 1 << 30


async def rollouts(deps: AdminDeps, call: Call) -> BaseModel:  # noqa: ARG001 - every handler has the same shape
    """How rollouts stand."""
    return Rollouts(rollouts=[_shown(view) for view in deps.engine.rollouts()])


async def push(deps: AdminDeps, call: Call) -> BaseModel:
    """Give a project another image while people work with it."""
    body, project = call.expect(PushIn), _project(deps, call)
    if not can_be_shown(body.note):
        raise ApiError(422, "text_invalid", "the note has characters that cannot be shown; write it anew, on one line")
    pace = _pace(body, deps)
    try:
        found = await deps.images.resolve(project, body.image, _held(deps, project))
    except PushError as error:
        raise ApiError(422, error.code, str(error)) from error
    if not body.ignore_room:
        _fits(deps, found)
    await deps.engine.submit(ProjectPushed(project, found.image, found.digest, pace, body.note))
    return Done(
        text=f"{project}: {found.digest[:19]}… is being pulled and proved; nobody is touched before that. "
        f"`mux rollout status` shows how far it is."
    )


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
            return Pace(share, count, not_before=due(at.strip(), deps.clock(), deps.time_zone()))
        except ApiError as error:
            raise ApiError(422, "when_invalid", "`when` is a time to come, such as at 10:30") from error
    if body.when not in ("now", "idle", "offer"):
        raise ApiError(422, "when_invalid", "`when` is now, idle, offer, or a time such as at 10:30")
    return Pace(share, count, idle=body.when == "idle", offer=body.when == "offer")


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


def _shown(view: RolloutView) -> RolloutOut:
    rollout = view.rollout
    return RolloutOut.model_validate(
        {
            "project": rollout.project,
            "number": rollout.number,
            "image": rollout.image,
            "digest": rollout.digest,
            "was_image": rollout.was_image,
            "was_digest": rollout.was_digest,
            "phase": view.phase,
            "rollback": rollout.rollback,
            "paused": rollout.paused,
            "why": rollout.why,
            "note": rollout.note,
            "pushed_at": rollout.pushed_at,
            "not_before": rollout.pace.not_before,
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
            "waits_for": view.waits_for,
            "failures": [Failure(subject=subject, why=why) for subject, why in (*rollout.refused, *rollout.failed)],
        }
    )
