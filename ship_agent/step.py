"""What to do next: a pure function of what is desired, what is so, and the time.

`step` gives one action or None; the shell carries it out and asks again. What is under way is in `View.busy`, so that a
slow action on one workspace never holds up another. `next_deadline` says when time alone will bring an action.

Rules:
- What is not desired is stopped, then removed. Files of a desired workspace are never removed.
- What is to be kept is stopped, and nothing else is done to it.
- One action at a time on one workspace: so never two starts on the same files.
- Another `run_key` means stop, then start on the same files. Another epoch alone is noted.
- Files start over once for each wish: everything while the workspace is stopped, one file at any time.
- Files are restored while nothing runs, and before a workspace is of the epoch that they are restored for.
- Whoever sits there comes first: bound workspaces are started before warm ones, and those a few at a time.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Literal

from ship_agent.memory import Memory
from ship_agent.protocol import messages as wire
from ship_agent.protocol.messages import Desired, Project
from ship_agent.runtimes.base import RunningWorkspace, WorkspaceSpec

STOP_GRACE_S = 10.0
"""Asked to stop, a workspace may save for so long. Jupyter needs about one second."""
REMOVE_GRACE_S = 2.0
"""What is to be destroyed has nothing to save."""
PULLS_MAX = 2
"""Pulls at once: more would only share the same disk and network."""
STARTING_MAX = 6
"""Warm workspaces that start at once, unless the view says otherwise: more would time each other out."""

NEVER = float("inf")


class DesiredError(ValueError):
    """A desired state that contradicts itself; one line, without values of the other side."""


@dataclass(frozen=True, slots=True)
class Pull:
    """Have an image here."""

    project: Project
    digest: str


@dataclass(frozen=True, slots=True)
class Start:
    """Start a workspace, on fresh files or on its own."""

    spec: WorkspaceSpec


@dataclass(frozen=True, slots=True)
class Note:
    """Keep another epoch and receipt of a running workspace."""

    spec: WorkspaceSpec


@dataclass(frozen=True, slots=True)
class Stop:
    """Stop a workspace and keep its files.

    ``why``: ``unwanted`` (it will be removed), ``kept`` (its files stay, for the mux to say more), ``changed`` (it will
    be started again), ``starting_over`` (likewise, on the image's files), ``restoring`` (likewise, on restored files),
    ``suspended``, or ``start_timeout`` (the start counts as failed).
    """

    workspace: str
    grace_s: float
    why: Literal["unwanted", "kept", "changed", "starting_over", "restoring", "suspended", "start_timeout"]


@dataclass(frozen=True, slots=True)
class StartOver:
    """Put the image's files back, as a wish says that has not been carried out yet."""

    spec: WorkspaceSpec
    wish: wire.StartOver


@dataclass(frozen=True, slots=True)
class Remove:
    """Destroy a workspace that is not desired, and its files."""

    workspace: str


@dataclass(frozen=True, slots=True)
class ForgetImage:
    """Delete an image that nothing needs."""

    digest: str


Action = Pull | Start | Note | Stop | StartOver | Remove | ForgetImage


@dataclass(frozen=True, slots=True)
class Wanted:
    """One workspace that should exist."""

    spec: WorkspaceSpec
    run_key: str
    wanted: Literal["warm", "bound", "suspended"]
    start_over: wire.StartOver | None = None


@dataclass(frozen=True, slots=True)
class Target:
    """A desired state in the form that decisions need. Make it with `target`.

    Args:
        generation: of the desired state.
        workspaces: by id.
        images: every digest that is needed, with a project that says where it is had.
        kept: ids of those that are to be stopped and left alone.
    """

    generation: int
    workspaces: Mapping[str, Wanted]
    images: Mapping[str, Project]
    kept: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class View:
    """What is so, as the agent sees it.

    Args:
        images: digests that are here.
        workspaces: what the runtime holds, by id.
        memory: of starts, by workspace id.
        pulls: of pulls, by digest.
        busy: workspace ids and digests with an action under way.
        starting_max: warm workspaces that may be starting at once.
        started_over: number of the last wish to start over that was carried out or given up, by workspace id.
        hooks: the hook that a start is at which does not answer for long, by workspace id.
    """

    images: frozenset[str] = frozenset()
    workspaces: Mapping[str, RunningWorkspace] = field(default_factory=dict)
    memory: Mapping[str, Memory] = field(default_factory=dict)
    pulls: Mapping[str, Memory] = field(default_factory=dict)
    busy: frozenset[str] = frozenset()
    starting_max: int = STARTING_MAX
    started_over: Mapping[str, int] = field(default_factory=dict)
    hooks: Mapping[str, str] = field(default_factory=dict)


def target(desired: Desired) -> Target:
    """Resolve a desired state. Raises DesiredError when a name is missing or given twice."""
    projects = {project.name: project for project in desired.projects}
    if len(projects) != len(desired.projects):
        raise DesiredError("two projects have one name")
    workspaces: dict[str, Wanted] = {}
    images: dict[str, Project] = {project.digest: project for project in desired.projects}
    had: dict[tuple[str, str], Project] = {}
    for image in desired.images:
        project = projects.get(image.project)
        if project is None:
            raise DesiredError("an image is of a project that is not listed")
        had[image.project, image.digest] = project.model_copy(update={"image": image.image, "digest": image.digest})
        images.setdefault(image.digest, had[image.project, image.digest])
    for workspace in desired.workspaces:
        project = had.get((workspace.project, workspace.digest)) or projects.get(workspace.project)
        if project is None:
            raise DesiredError("a workspace is of a project that is not listed")
        if workspace.id in workspaces:
            raise DesiredError("two workspaces have one id")
        spec = WorkspaceSpec(
            id=workspace.id,
            seat=workspace.seat,
            project=project,
            digest=workspace.digest,
            port=workspace.port,
            token=workspace.token,
            secrets=workspace.secrets,
            epoch=workspace.epoch,
            receipt=workspace.receipt,
            restore=workspace.restore,
            restore_shared=workspace.restore_shared,
            ports=workspace.ports,
            shared=workspace.shared,
        )
        workspaces[workspace.id] = Wanted(spec, spec.run_key(), workspace.wanted, workspace.start_over)
        images.setdefault(workspace.digest, project)
    kept = frozenset(desired.kept)
    if kept & workspaces.keys():
        raise DesiredError("a workspace is to run and to be kept")
    return Target(desired.generation, workspaces, images, kept)


def step(target: Target, view: View, now: float) -> Action | None:
    """The next action towards ``target``, or None when there is nothing to do now."""
    for action, due in _plan(target, view):
        if due <= now:
            return action
    return None


def next_deadline(target: Target, view: View) -> float | None:
    """When time alone brings an action; None if it never does."""
    due = min((due for _, due in _plan(target, view)), default=NEVER)
    return None if due == NEVER else due


def settled(target: Target, view: View) -> bool:
    """Whether a generation is reached: nothing is left to do that has not been tried. Health is not asked for.

    A start that is under way of what is not desired any more leaves a workspace to be removed. To the mux a generation
    that is reached says that there is none, and that its port is free.
    """
    if any(not _is_digest(key) and key not in target.workspaces for key in view.busy):
        return False
    for identity, here in view.workspaces.items():
        if identity not in target.workspaces and (identity not in target.kept or here.state == "running"):
            return False
    return all(_settled(identity, wanted, view) for identity, wanted in target.workspaces.items())


def _settled(identity: str, wanted: Wanted, view: View) -> bool:
    here = view.workspaces.get(identity)
    running = here is not None and here.state == "running"
    if wanted.wanted == "suspended":
        return not running and identity not in view.busy
    if here is not None and running:
        as_wanted = here.run_key == wanted.run_key and here.epoch == wanted.spec.epoch
        return as_wanted and not _starts_over(wanted, here, view)
    memory = view.memory.get(identity)
    tried = memory is not None and memory.run_key == wanted.run_key and memory.failures > 0
    return tried or view.pulls.get(wanted.spec.digest, Memory()).failures > 0


def _plan(target: Target, view: View) -> Iterator[tuple[Action, float]]:
    """Every action that is open, the most urgent first, with the time at which it is due."""
    for identity, workspace in view.workspaces.items():
        if identity not in target.workspaces and identity not in view.busy:
            yield from _undesired(workspace, kept=identity in target.kept)
    free = [item for item in target.workspaces.items() if item[0] not in view.busy]
    for identity, wanted in free:
        here = view.workspaces.get(identity)
        if here is not None and here.state == "running":
            yield from _running(wanted, here, view)
    for identity, wanted in free:
        if wanted.wanted == "bound":
            yield from _stopped(identity, wanted, "bound", view)
    room = view.starting_max - _starting(target, view)
    for identity, wanted in free:
        if wanted.wanted == "warm":
            for action, due in _stopped(identity, wanted, "warm", view):
                if not isinstance(action, Start) or room > 0:
                    yield action, due
    for digest, project in target.images.items():
        yield from _pull(project, digest, view)
    needed = {*target.images, *(workspace.digest for workspace in view.workspaces.values())}
    for digest in view.images - needed - view.busy:
        yield ForgetImage(digest), 0.0


def _undesired(here: RunningWorkspace, *, kept: bool) -> Iterator[tuple[Action, float]]:
    if here.state == "running":
        yield (Stop(here.id, STOP_GRACE_S, "kept") if kept else Stop(here.id, REMOVE_GRACE_S, "unwanted")), 0.0
    elif not kept:
        yield Remove(here.id), 0.0


def _running(wanted: Wanted, here: RunningWorkspace, view: View) -> Iterator[tuple[Action, float]]:
    if wanted.wanted == "suspended":
        yield Stop(here.id, STOP_GRACE_S, "suspended"), 0.0
    elif here.run_key != wanted.run_key:
        yield Stop(here.id, STOP_GRACE_S, "changed"), 0.0
    elif here.epoch != wanted.spec.epoch and (wanted.spec.restore or wanted.spec.restore_shared):
        yield Stop(here.id, REMOVE_GRACE_S, "restoring"), 0.0  # nobody was ever led to it: there is nothing to save
    else:
        if here.epoch != wanted.spec.epoch:  # a receipt never changes without its epoch
            yield Note(wanted.spec), 0.0
        elif wish := _starts_over(wanted, here, view):
            everything = Stop(here.id, STOP_GRACE_S, "starting_over")
            yield (StartOver(wanted.spec, wish) if wish.path else everything), 0.0
        yield Stop(here.id, STOP_GRACE_S, "start_timeout"), view.memory.get(here.id, Memory()).start_ends_at()


def _starts_over(wanted: Wanted, here: RunningWorkspace, view: View) -> wire.StartOver | None:
    """The wish that is still to be carried out; none before the files are those of the attendee who has it."""
    wish = wanted.start_over
    if wish is None or here.epoch != wanted.spec.epoch or wish.number <= view.started_over.get(here.id, 0):
        return None
    return wish


def _stopped(
    identity: str, wanted: Wanted, kind: Literal["warm", "bound"], view: View
) -> Iterator[tuple[Action, float]]:
    """A wanted workspace that does not run: its image first, then its start."""
    here = view.workspaces.get(identity)
    if here is not None and here.state == "running":
        return
    if wanted.spec.digest not in view.images:
        yield from _pull(wanted.spec.project, wanted.spec.digest, view)
        return
    wish = _starts_over(wanted, here, view) if here is not None else None
    if wish is not None and here is not None and (not wish.path or here.run_key == wanted.run_key):
        yield StartOver(wanted.spec, wish), 0.0
        return
    memory = view.memory.get(identity, Memory())
    # Failures of another specification do not hold this one up.
    due = memory.retry_at(kind) if memory.run_key == wanted.run_key else 0.0
    if due < NEVER:
        yield Start(wanted.spec if here is not None else _fresh(wanted.spec)), due


def _fresh(spec: WorkspaceSpec) -> WorkspaceSpec:
    """What a workspace without files is started with: restored ones are put onto those that this start makes."""
    return replace(spec, epoch=0, receipt="", restore="", restore_shared={}) if spec.restore else spec


def _pull(project: Project, digest: str, view: View) -> Iterator[tuple[Action, float]]:
    if digest in view.images or digest in view.busy:
        return
    if sum(_is_digest(key) for key in view.busy) < PULLS_MAX:
        yield Pull(project, digest), view.pulls.get(digest, Memory()).pull_at()


def _is_digest(key: str) -> bool:
    """Whether what is busy is an image."""
    return key.startswith("sha256:")


def _starting(target: Target, view: View) -> int:
    """Workspaces whose start is under way: not yet started, or not yet answering."""
    count = 0
    for identity in target.workspaces:
        here = view.workspaces.get(identity)
        if here is not None and here.state == "running":
            count += not view.memory.get(identity, Memory()).answered
        else:
            count += identity in view.busy
    return count
