"""Handlers of the admin API for the event file: what is in force, what a file would change, putting it in force.

The plan is shown before anything is done, and is what is applied: a change in between refuses it.
"""

from __future__ import annotations

from pydantic import BaseModel

from mux.core.model import ProjectName
from mux.web.admin_api_deps import AdminDeps, ApplyError, SecretValues
from mux.web.admin_api_endpoint import ApiError, Call
from mux.web.api_models import EventApplied, EventApplyIn, EventPlan, EventPlanIn, EventText

STATUS_BY_CODE = {"event_invalid": 422, "plan_stale": 409}
"""HTTP status of each ``ApplyError.code``."""


async def event(deps: AdminDeps, call: Call) -> BaseModel:  # noqa: ARG001 - every handler has the same shape
    """The file in force."""
    return EventText(text=await deps.store.applied())


async def plan(deps: AdminDeps, call: Call) -> BaseModel:
    """What a file would change."""
    body = call.expect(EventPlanIn)
    try:
        made = await deps.applier.plan(body.text, _secrets(body))
    except ApplyError as error:
        raise _refusal(error) from error
    return EventPlan(plan_id=made.id, changes=list(made.changes), warnings=list(made.warnings), first=made.first)


async def apply(deps: AdminDeps, call: Call) -> BaseModel:
    """Put a planned file in force."""
    body = call.expect(EventApplyIn)
    try:
        made = await deps.applier.apply(body.text, _secrets(body), body.plan_id)
    except ApplyError as error:
        raise _refusal(error) from error
    return EventApplied(changes=list(made.changes), warnings=list(made.warnings))


def _secrets(body: EventPlanIn) -> SecretValues | None:
    if body.secrets is None:
        return None
    return {ProjectName(project): by_attendee for project, by_attendee in body.secrets.items()}


def _refusal(error: ApplyError) -> ApiError:
    return ApiError(STATUS_BY_CODE[error.code], error.code, str(error), detail=error.faults)
