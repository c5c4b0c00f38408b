"""Between the core's values and the wire's messages: what a ship is told, and what it says.

Owns the two translations. The core never sees a wire type, and a ship never learns whose a workspace is beyond the
receipt. Adds what the core must not hold: tokens, secrets, receipts.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import structlog
from pydantic import ValidationError

from mux.config.registry_logins import RegistryLogin
from mux.core.files import shared_files
from mux.core.model import (
    BootStage,
    Desired,
    DesiredWorkspace,
    ProjectName,
    ProjectSpec,
    ReportedState,
    Resources,
    ShipId,
    ShipNotice,
    ShipReport,
    StartedOver,
    UserId,
    WorkspaceId,
    WorkspaceReport,
)
from mux.keys import Keyring
from ship_agent.protocol import messages as wire
from ship_agent.protocol.codec import clean_text

log = structlog.get_logger(__name__)

PATH_CHARS_MAX = 4096
"""Bound of a path, likewise."""
LINE_CHARS_MAX = 500
"""Bound of one line for people, as in the messages."""


class DesiredRenderer:
    """Turns the core's desired state into the message for one ship.

    Args:
        keys: derives workspace tokens and receipts.
        event_name: stands in receipts.
        secrets_for: variables of a project for an attendee, or for everybody when the attendee is None.
        restore_for: id of the newest snapshot of an attendee's project, or of what stands for a shared directory; empty
            if there is none.
    """

    def __init__(
        self,
        keys: Keyring,
        event_name: str,
        secrets_for: Callable[[ProjectName, UserId | None], Mapping[str, str]],
        restore_for: Callable[[UserId, ProjectName], str] = lambda *_: "",
    ) -> None:
        self._keys = keys
        self._event_name = event_name
        self._secrets_for = secrets_for
        self._restore_for = restore_for

    def __call__(self, ship: ShipId, desired: Desired) -> wire.Desired:
        """The message. Raises pydantic's ValidationError when a value exceeds the bounds of the protocol."""
        shared = {spec.name: spec.shared for spec in desired.projects}
        return wire.Desired(
            generation=desired.generation,
            projects=[project_message(spec) for spec in desired.projects],
            workspaces=[self._workspace(ship, each, shared.get(each.project, ())) for each in desired.workspaces],
            kept=list(desired.kept),
            images=[wire.Image(project=each.project, image=each.image, digest=each.digest) for each in desired.images],
        )

    def _workspace(self, ship: ShipId, workspace: DesiredWorkspace, shared: Sequence[str]) -> wire.Workspace:
        user, wish = workspace.user, workspace.start_over
        return wire.Workspace(
            id=workspace.id,
            seat=workspace.seat,
            project=workspace.project,
            digest=workspace.digest,
            port=workspace.port,
            wanted=workspace.wanted,
            token=self._keys.workspace_token(workspace.id),
            secrets=dict(self._secrets_for(workspace.project, user)),
            epoch=workspace.epoch,
            receipt=""
            if user is None
            else self._keys.receipt(self._event_name, user, ship, workspace.seat, workspace.epoch),
            restore="" if user is None else self._restore_for(user, workspace.project),
            restore_shared={}
            if user is None
            else {name: found for name in shared if (found := self._restore_for(user, shared_files(name)))},
            start_over=None if wish is None else wire.StartOver(number=wish.number, path=wish.path),
            ports={str(name): port for name, port in workspace.ports.items()},
            shared=workspace.shared,
        )


def rendered_logins(logins: Sequence[RegistryLogin]) -> wire.RegistryLogins:
    """The message; a login beyond the bounds of the protocol is left out, and said so without its text."""
    found = []
    for login in logins[: wire.REGISTRIES_MAX]:
        try:
            found.append(wire.RegistryLogin(registry=login.host, username=login.username, password=login.password))
        except ValidationError:
            log.error("a registry's login cannot be sent", registry=login.host)
    return wire.RegistryLogins(logins=found)


def project_message(spec: ProjectSpec) -> wire.Project:
    """What a ship is told of a project."""
    return wire.Project(
        name=spec.name,
        image=spec.image,
        digest=spec.digest,
        kind=spec.kind,
        port=spec.port,
        command=list(spec.command),
        environment=dict(spec.environment),
        memory_bytes=spec.memory_bytes,
        cpus=spec.cpus,
        pids=spec.pids,
        shm_bytes=spec.shm_bytes,
        base_path=f"/camp/{spec.name}/",
        health_path=spec.health_path,
        egress=spec.egress if isinstance(spec.egress, str) else list(spec.egress),
        allow=list(spec.allow),
        root_filesystem=spec.root_filesystem,
        oci_runtime=spec.oci_runtime,
        ports={str(name): port for name, port in spec.ports.items()},
        shared=list(spec.shared),
    )


def ship_report(observed: wire.Observed) -> ShipReport:
    """The core's value of a report: bounded by the message, and without control characters in any text."""
    resources = observed.resources
    return ShipReport(
        seq=observed.seq,
        generation=observed.generation,
        phase=clean_text(observed.phase, chars_max=LINE_CHARS_MAX),
        workspaces=tuple(
            WorkspaceReport(
                id=WorkspaceId(each.id),
                state=ReportedState(each.state),
                reason=each.reason,
                detail=clean_text(each.detail, chars_max=LINE_CHARS_MAX),
                log_tail=clean_text(each.log_tail, chars_max=wire.LOG_TAIL_CHARS_MAX, lines=True),
                restarts=each.restarts,
                epoch=each.epoch,
                digest=each.digest,
                started_over=_started_over(each.started_over),
                behind_s=each.behind_s,
                saved=each.saved,
                memory_kills=each.memory_kills,
                unkept=clean_text(each.unkept, chars_max=LINE_CHARS_MAX),
            )
            for each in observed.workspaces
        ),
        resources=Resources(
            cpus=resources.cpus,
            load_1m=resources.load_1m,
            memory_total_bytes=resources.memory_total_bytes,
            memory_available_bytes=resources.memory_available_bytes,
            disk_total_bytes=resources.disk_total_bytes,
            disk_free_bytes=resources.disk_free_bytes,
        ),
        limits=tuple(observed.limits),
        limits_missing=tuple(observed.limits_missing),
        stage=BootStage(observed.stage),
        notices=tuple(
            ShipNotice(each.kind, each.at, clean_text(each.detail, chars_max=LINE_CHARS_MAX))
            for each in observed.notices
        ),
        quiet=tuple((WorkspaceId(each.workspace), each.idle_s) for each in observed.quiet),
    )


def _started_over(said: wire.StartedOver | None) -> StartedOver | None:
    if said is None:
        return None
    detail = clean_text(said.detail, chars_max=LINE_CHARS_MAX)
    return StartedOver(said.number, said.done, detail, clean_text(said.kept, chars_max=PATH_CHARS_MAX))
