"""The step: what it does first, and that it always arrives, on a simulated runtime and in virtual time."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any, Literal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ship_agent.memory import Memory, failed, of_specification, seen
from ship_agent.protocol import messages as wire
from ship_agent.protocol.messages import Desired, Project, Workspace
from ship_agent.runtimes.base import RunningWorkspace
from ship_agent.step import (
    Action,
    DesiredError,
    ForgetImage,
    Note,
    Pull,
    Remove,
    Start,
    StartOver,
    Stop,
    Target,
    View,
    next_deadline,
    settled,
    step,
    target,
)

OLD, NEW = (f"sha256:{digit * 64}" for digit in "ab")


def project(name: str = "intro", digest: str = OLD) -> Project:
    return Project(
        name=name,
        image=f"/images/{name}",
        digest=digest,
        kind="jupyter",
        port=8888,
        command=[],
        environment={},
        memory_bytes=1 << 30,
        cpus=1.0,
        pids=512,
        shm_bytes=64 << 20,
        base_path=f"/camp/{name}/",
        health_path="api",
    )


def workspace(identity: str = "w", **changes: Any) -> Workspace:
    values: dict[str, Any] = {
        "id": identity,
        "seat": 0,
        "project": "intro",
        "digest": OLD,
        "port": 9000,
        "wanted": "warm",
        "token": "token",
        "secrets": {},
        "epoch": 0,
        "receipt": "",
        **changes,
    }
    return Workspace(**values)


def desired(
    *workspaces: Workspace,
    projects: tuple[Project, ...] = (project(),),
    generation: int = 1,
    kept: tuple[str, ...] = (),
) -> Target:
    return target(Desired(generation=generation, projects=list(projects), workspaces=list(workspaces), kept=list(kept)))


def here(goal: Target, identity: str = "w", **changes: Any) -> RunningWorkspace:
    """A workspace that runs as wanted."""
    wanted = goal.workspaces[identity]
    running = RunningWorkspace(
        id=identity,
        state="running",
        run_key=wanted.run_key,
        seat=0,
        project="intro",
        digest=wanted.spec.digest,
        port=9000,
        epoch=wanted.spec.epoch,
        exit_code=None,
        failure="",
        detail="",
        started_at=0.0,
        starts=1,
    )
    return replace(running, **changes)


def view(*workspaces: RunningWorkspace, **changes: Any) -> View:
    values: dict[str, Any] = {
        "images": frozenset({OLD}),
        "workspaces": {item.id: item for item in workspaces},
        "memory": {item.id: Memory(run_key=item.run_key, starts=item.starts, answered=True) for item in workspaces},
        **changes,
    }
    return View(**values)


def test_an_absent_workspace_is_pulled_then_started() -> None:
    goal = desired(workspace())
    spec = goal.workspaces["w"].spec

    assert step(goal, view(images=frozenset()), 0.0) == Pull(spec.project, OLD)
    assert step(goal, view(), 0.0) == Start(spec)


def test_nothing_is_left_to_do_when_all_runs() -> None:
    goal = desired(workspace())

    assert step(goal, view(here(goal)), 0.0) is None
    assert next_deadline(goal, view(here(goal))) is None
    assert settled(goal, view(here(goal)))


def test_what_is_not_desired_is_stopped_and_then_removed() -> None:
    goal = desired()
    other = here(desired(workspace()))

    assert step(goal, view(other), 0.0) == Stop("w", 2.0, "unwanted")
    assert step(goal, view(replace(other, state="exited")), 0.0) == Remove("w")
    assert not settled(goal, view(other))


def test_one_file_starts_over_while_its_workspace_runs_and_once_for_each_wish() -> None:
    wish = wire.StartOver(number=3, path="intro.ipynb")
    goal = desired(workspace(wanted="bound", epoch=1, start_over=wish))
    running = here(goal)

    assert step(goal, view(running), 0.0) == StartOver(goal.workspaces["w"].spec, wish)
    assert not settled(goal, view(running))
    for number in (3, 4):
        assert step(goal, view(running, started_over={"w": number}), 0.0) is None
        assert settled(goal, view(running, started_over={"w": number}))
    assert step(goal, view(running, started_over={"w": 2}), 0.0) is not None
    stopped = replace(running, state="exited")
    assert step(goal, view(stopped), 0.0) == StartOver(goal.workspaces["w"].spec, wish)
    assert step(goal, view(replace(stopped, run_key="of another image")), 0.0) == Start(goal.workspaces["w"].spec)


def test_everything_starts_over_between_a_stop_and_a_start() -> None:
    wish = wire.StartOver(number=3)
    goal = desired(workspace(wanted="bound", epoch=1, start_over=wish))
    spec, running = goal.workspaces["w"].spec, here(goal)

    assert step(goal, view(running), 0.0) == Stop("w", 10.0, "starting_over")
    stopped = replace(running, state="exited")
    assert step(goal, view(stopped), 0.0) == StartOver(spec, wish)
    assert step(goal, view(stopped, started_over={"w": 3}), 0.0) == Start(spec)


@pytest.mark.parametrize("path", ["", "intro.ipynb"])
def test_another_image_and_a_wish_at_once_are_both_carried_out(path: str) -> None:
    wish = wire.StartOver(number=3, path=path)
    before = desired(workspace(wanted="bound", epoch=1))
    goal = desired(workspace(digest=NEW, wanted="bound", epoch=1, start_over=wish))
    spec, images = goal.workspaces["w"].spec, frozenset({OLD, NEW})
    running = here(before)
    stopped = replace(running, state="exited")
    swapped = here(goal)

    assert step(goal, view(running, images=images), 0.0) == Stop("w", 10.0, "changed")
    if path:
        # One file is of the image that the directory is at: that changes first.
        assert step(goal, view(stopped, images=images), 0.0) == Start(spec)
        assert step(goal, view(swapped, images=images), 0.0) == StartOver(spec, wish)
    else:
        assert step(goal, view(stopped, images=images), 0.0) == StartOver(spec, wish)
        assert step(goal, view(stopped, images=images, started_over={"w": 3}), 0.0) == Start(spec)
    assert step(goal, view(swapped, images=images, started_over={"w": 3}), 0.0) is None


@pytest.mark.parametrize("path", ["", "intro.ipynb"])
def test_nothing_starts_over_before_the_files_are_the_attendees(path: str) -> None:
    wish = wire.StartOver(number=3, path=path)
    goal = desired(workspace(wanted="bound", epoch=2, restore="5" * 64, start_over=wish))
    spec = goal.workspaces["w"].spec
    running = replace(here(goal), epoch=0)

    assert step(goal, view(running), 0.0) == Stop("w", 2.0, "restoring")
    assert step(goal, view(replace(running, state="exited")), 0.0) == Start(spec)
    assert step(goal, view(), 0.0) == Start(replace(spec, epoch=0, receipt="", restore=""))


def test_attached_secrets_stop_and_start_on_the_same_files() -> None:
    before = desired(workspace())
    goal = desired(workspace(wanted="bound", secrets={"KEY": "value"}, epoch=1))
    running = here(before)

    assert step(goal, view(running), 0.0) == Stop("w", 10.0, "changed")
    assert not settled(goal, view(running))
    assert step(goal, view(replace(running, state="exited")), 0.0) == Start(goal.workspaces["w"].spec)


def test_binding_without_secrets_is_a_note_and_no_restart() -> None:
    before = desired(workspace())
    goal = desired(workspace(wanted="bound", epoch=1, receipt="signed"))

    assert step(goal, view(here(before)), 0.0) == Note(goal.workspaces["w"].spec)
    assert not settled(goal, view(here(before)))
    assert settled(goal, view(here(goal)))


def test_suspended_is_stopped_and_kept() -> None:
    goal = desired(workspace(wanted="suspended"))
    running = here(goal)

    assert step(goal, view(running), 0.0) == Stop("w", 10.0, "suspended")
    assert step(goal, view(replace(running, state="exited")), 0.0) is None
    assert settled(goal, view(replace(running, state="exited")))
    assert settled(goal, view())


def test_what_is_busy_holds_up_nothing_else() -> None:
    goal = desired(workspace("a", wanted="bound"), workspace("b"))

    assert step(goal, view(busy=frozenset({"a"})), 0.0) == Start(goal.workspaces["b"].spec)
    assert step(goal, view(busy=frozenset({"a", "b"})), 0.0) is None


def test_a_slow_pull_is_not_begun_twice_and_lets_others_start() -> None:
    goal = desired(workspace("a"), workspace("b", digest=NEW))

    action = step(goal, view(busy=frozenset({NEW})), 0.0)

    assert action == Start(goal.workspaces["a"].spec)
    assert step(goal, view(busy=frozenset({NEW, "a"})), 0.0) is None


def test_bound_comes_before_warm_and_warm_a_few_at_a_time() -> None:
    goal = desired(workspace("a"), workspace("b", wanted="bound"), workspace("c"))
    at_most_one = view(starting_max=1)

    assert step(goal, at_most_one, 0.0) == Start(goal.workspaces["b"].spec)
    assert step(goal, replace(at_most_one, busy=frozenset({"b"})), 0.0) is None
    assert step(goal, replace(at_most_one, busy=frozenset({"b"}), starting_max=2), 0.0) == Start(
        goal.workspaces["a"].spec
    )


def test_a_new_project_image_is_pulled_ahead_and_an_old_one_forgotten_when_nothing_runs_it() -> None:
    goal = desired(workspace(), projects=(project(digest=NEW),))
    running = here(goal)

    assert step(goal, view(running), 0.0) == Pull(goal.images[NEW], NEW)
    assert step(goal, view(running, images=frozenset({OLD, NEW})), 0.0) is None
    done = desired(projects=(project(digest=NEW),))
    assert step(done, view(images=frozenset({OLD, NEW})), 0.0) == ForgetImage(OLD)


def test_a_start_that_never_answers_is_ended_when_its_time_is_over() -> None:
    goal = desired(workspace())
    waiting = view(here(goal), memory={"w": Memory(run_key=goal.workspaces["w"].run_key, starts=1, seen_at=100.0)})

    assert step(goal, waiting, 189.0) is None
    assert next_deadline(goal, waiting) == 190.0
    assert step(goal, waiting, 190.0) == Stop("w", 10.0, "start_timeout")


def test_a_warm_workspace_gets_three_more_starts_and_is_then_left_alone() -> None:
    goal = desired(workspace())
    memory = Memory(run_key=goal.workspaces["w"].run_key)
    pauses = []
    for _ in range(4):
        memory = failed(memory, "exited", "exited with code 1", now=100.0)
        due = next_deadline(goal, view(memory={"w": memory}))
        pauses.append(None if due is None else due - 100.0)

    assert pauses == [1.0, 2.0, 4.0, None]
    assert settled(goal, view(memory={"w": memory}))


def test_a_bound_workspace_is_started_for_ever_with_a_bounded_backoff() -> None:
    goal = desired(workspace(wanted="bound"))
    memory = Memory(run_key=goal.workspaces["w"].run_key)
    pauses = []
    for _ in range(9):
        memory = failed(memory, "exited", "exited with code 1", now=100.0)
        pauses.append((next_deadline(goal, view(memory={"w": memory})) or 0.0) - 100.0)

    assert pauses == [0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 30.0, 30.0, 30.0]


def test_failures_of_another_specification_hold_nothing_up() -> None:
    goal = desired(workspace())
    memory = failed(Memory(run_key="another"), "exited", "", now=100.0)

    assert step(goal, view(memory={"w": memory}), 100.0) == Start(goal.workspaces["w"].spec)


def test_a_failed_pull_is_tried_again_later_and_does_not_hold_the_generation() -> None:
    goal = desired(workspace())
    broken = {OLD: failed(Memory(), "image_missing", "not there", now=100.0, fatal=True)}
    stuck = view(images=frozenset(), pulls=broken)

    assert step(goal, stuck, 129.0) is None
    assert settled(goal, stuck)
    assert isinstance(step(goal, stuck, 130.0), Pull)


@pytest.mark.parametrize("kept", [(), ("w",)])
def test_a_generation_is_not_reached_while_something_that_is_not_desired_may_still_be_starting(
    kept: tuple[str, ...],
) -> None:
    goal = desired(projects=(), kept=kept)

    assert not settled(goal, View(busy=frozenset({"w"})))
    assert settled(goal, View(busy=frozenset({OLD})))
    assert settled(goal, View())


def test_what_is_to_be_suspended_is_not_while_it_may_still_be_starting() -> None:
    goal = desired(workspace(wanted="suspended"))
    stopped = here(goal, state="exited")

    assert not settled(goal, view(stopped, busy=frozenset({"w"})))
    assert settled(goal, view(stopped))


@pytest.mark.parametrize(
    ("workspaces", "projects"),
    [
        ([workspace(), workspace()], [project()]),
        ([workspace(project="other")], [project()]),
        ([], [project(), project()]),
    ],
)
def test_a_desired_state_that_contradicts_itself_is_refused(
    workspaces: list[Workspace], projects: list[Project]
) -> None:
    with pytest.raises(DesiredError):
        target(Desired(generation=1, projects=projects, workspaces=workspaces))


def test_health_for_a_minute_forgets_failures() -> None:
    goal = desired(workspace(wanted="bound"))
    memory = failed(Memory(run_key=goal.workspaces["w"].run_key), "exited", "", now=0.0)
    memory = seen(memory, here(goal), healthy=True, age_s=0.0, now=1.0)
    assert seen(memory, here(goal), healthy=True, age_s=0.0, now=60.9).failures == 1

    memory = seen(memory, here(goal), healthy=True, age_s=0.0, now=61.0)

    assert memory.failures == 0
    ended = here(goal, state="exited", failure="exited", exit_code=1)
    assert seen(memory, ended, healthy=False, age_s=0.0, now=62.0).failures == 1


def test_an_exit_is_counted_once_and_one_that_was_asked_for_never() -> None:
    goal = desired(workspace())
    ended = here(goal, state="exited", failure="exited", detail="exited with code 1", exit_code=1)
    memory = Memory()
    for now in (1.0, 2.0, 3.0):
        memory = seen(memory, ended, healthy=False, age_s=0.0, now=now)

    assert (memory.failures, memory.failed_at, memory.code) == (1, 1.0, "exited")
    assert seen(Memory(), replace(ended, failure=""), healthy=False, age_s=0.0, now=1.0).failures == 0


def test_the_end_of_another_specification_does_not_hold_this_one_up() -> None:
    """An agent that was killed between the stop and the start of a swap leaves one; it is no word on the new image."""
    goal = desired(workspace())
    ended = replace(here(goal), state="exited", run_key="another", failure="exited", detail="its container was removed")
    memory = of_specification(Memory(), goal.workspaces["w"].run_key)
    assert seen(memory, ended, healthy=False, age_s=0.0, now=1.0).failures == 0


def test_what_an_earlier_agent_started_long_ago_is_not_ended_for_want_of_an_answer() -> None:
    goal = desired(workspace(wanted="bound"))
    memory = seen(Memory(), here(goal), healthy=False, age_s=3600.0, now=10.0)

    assert step(goal, view(here(goal), memory={"w": memory}), 1e6) is None
    young = seen(Memory(), here(goal), healthy=False, age_s=80.0, now=10.0)
    assert next_deadline(goal, view(here(goal), memory={"w": young})) == 20.0


# --- the property ---------------------------------------------------------------------------------------------------


@dataclass
class Simulation:
    """A runtime in memory and virtual time. Actions take time, fail as told, and end in any order."""

    images: set[str]
    held: dict[str, RunningWorkspace]
    failures: list[bool]
    now: float = 0.0
    memory: dict[str, Memory] = field(default_factory=dict)
    pulls: dict[str, Memory] = field(default_factory=dict)
    running: list[tuple[float, Action]] = field(default_factory=list)
    removed: list[str] = field(default_factory=list)
    started_over: dict[str, int] = field(default_factory=dict)

    def key(self, action: Action) -> str:
        match action:
            case Pull(_, digest) | ForgetImage(digest):
                return digest
            case Start(spec) | Note(spec) | StartOver(spec):
                return spec.id
            case Stop(identity) | Remove(identity):
                return identity

    def view(self, goal: Target) -> View:
        for identity, item in self.held.items():
            memory = self.memory.get(identity, Memory())
            if identity in goal.workspaces:
                memory = of_specification(memory, goal.workspaces[identity].run_key)
            self.memory[identity] = seen(memory, item, healthy=item.state == "running", age_s=0.0, now=self.now)
        return View(
            images=frozenset(self.images),
            workspaces=dict(self.held),
            memory=dict(self.memory),
            pulls=dict(self.pulls),
            busy=frozenset(self.key(action) for _, action in self.running),
            starting_max=2,
            started_over=dict(self.started_over),
        )

    def begin(self, action: Action, lasts_s: float) -> None:
        assert self.key(action) not in {self.key(other) for _, other in self.running}, "two actions on one key"
        if isinstance(action, Start):
            held = self.held.get(action.spec.id)
            assert held is None or held.state == "exited", "two starts on the same files"
            assert action.spec.digest in self.images
        if isinstance(action, StartOver):
            held = self.held[action.spec.id]
            assert held.state == "exited" or action.wish.path, "everything is replaced under a running workspace"
            assert held.epoch == action.spec.epoch, "files that are not the attendee's yet"
            assert action.wish.number > self.started_over.get(action.spec.id, 0), "a wish is carried out twice"
        self.running.append((self.now + lasts_s, action))

    def finish_next(self) -> None:
        self.running.sort(key=lambda item: item[0])
        end, action = self.running.pop(0)
        self.now = max(self.now, end)
        fails = self.failures.pop() if self.failures else False
        match action:
            case Pull(_, digest):
                if fails:
                    self.pulls[digest] = failed(self.pulls.get(digest, Memory()), "x", "", now=self.now)
                else:
                    self.images.add(digest)
            case ForgetImage(digest):
                self.images.discard(digest)
            case Note(spec):
                self.held[spec.id] = replace(self.held[spec.id], epoch=spec.epoch)
            case Stop(identity):
                self.held[identity] = replace(self.held[identity], state="exited", failure="")
            case Remove(identity):
                del self.held[identity]
                self.started_over.pop(identity, None)
                self.removed.append(identity)
            case StartOver(spec, wish):
                self.started_over[spec.id] = wish.number
            case Start(spec):
                before = self.held.get(spec.id)
                self.held[spec.id] = RunningWorkspace(
                    id=spec.id,
                    state="exited" if fails else "running",
                    run_key=spec.run_key(),
                    seat=spec.seat,
                    project=spec.project.name,
                    digest=spec.digest,
                    port=spec.port,
                    epoch=spec.epoch,
                    exit_code=1 if fails else None,
                    failure="exited" if fails else "",
                    detail="",
                    started_at=self.now,
                    starts=(before.starts if before else 0) + 1,
                )


IDS = st.sampled_from(["a", "b", "c", "d"])
PATHS = st.sampled_from(["", "a.ipynb"])
WANTED = st.sampled_from(["warm", "bound", "suspended"])


@st.composite
def targets(draw: st.DrawFn) -> Target:
    identities = draw(st.lists(IDS, unique=True, max_size=4))
    return desired(
        *(
            workspace(
                identity,
                wanted=draw(WANTED),
                digest=draw(st.sampled_from([OLD, NEW])),
                secrets=draw(st.sampled_from([{}, {"KEY": "value"}])),
                epoch=draw(st.integers(0, 2)),
                start_over=draw(st.none() | st.builds(wire.StartOver, number=st.integers(1, 3), path=PATHS)),
            )
            for identity in identities
        ),
        projects=(project(digest=draw(st.sampled_from([OLD, NEW]))),),
        generation=draw(st.integers(1, 9)),
        kept=tuple(sorted(draw(st.sets(IDS)) - set(identities))),
    )


@st.composite
def held(draw: st.DrawFn) -> dict[str, RunningWorkspace]:
    found = {}
    for identity in draw(st.lists(IDS, unique=True, max_size=4)):
        state: Literal["running", "exited"] = draw(st.sampled_from(["running", "exited"]))
        goal = desired(workspace(identity, digest=draw(st.sampled_from([OLD, NEW]))))
        found[identity] = here(goal, identity, state=state, failure=draw(st.sampled_from(["", "exited"])))
    return found


@settings(max_examples=150, deadline=None)
@given(
    goals=st.lists(targets(), min_size=1, max_size=3),
    before=held(),
    images=st.sets(st.sampled_from([OLD, NEW])),
    # With the one of before, as many failures as a warm workspace survives: beyond them, it is rightly left alone.
    failures=st.lists(st.booleans(), max_size=2),
    durations=st.lists(st.floats(0.0, 40.0), min_size=1, max_size=20),
    interrupt=st.integers(0, 6),
)
def test_from_anything_it_converges_and_never_removes_what_is_desired(  # noqa: PLR0917 - drawn by name
    goals: list[Target],
    before: dict[str, RunningWorkspace],
    images: set[str],
    failures: list[bool],
    durations: list[float],
    interrupt: int,
) -> None:
    world = Simulation(set(images), dict(before), list(failures))
    for number, goal in enumerate(goals):
        last = number == len(goals) - 1
        for turn in range(400):
            if not last and turn == interrupt:
                break  # the next desired state comes in the middle
            current = world.view(goal)
            while (action := step(goal, current, world.now)) is not None:
                if isinstance(action, Remove):
                    assert action.workspace not in goal.workspaces.keys() | goal.kept
                world.begin(action, durations[len(world.running) % len(durations)])
                current = world.view(goal)
            if world.running:
                world.finish_next()
                continue
            due = next_deadline(goal, current)
            if due is None:
                break
            assert due > world.now, "an action that is due was not given"
            world.now = due
        else:
            raise AssertionError("it does not converge")
    goal = goals[-1]
    current = world.view(goal)
    assert settled(goal, current)
    assert world.held.keys() <= goal.workspaces.keys() | goal.kept
    assert all(world.held[identity].state == "exited" for identity in goal.kept & world.held.keys())
    for identity, wanted in goal.workspaces.items():
        item = world.held.get(identity)
        if wanted.wanted == "suspended":
            assert item is None or item.state == "exited"
        else:
            assert item is not None
            assert (item.state, item.run_key, item.epoch) == ("running", wanted.run_key, wanted.spec.epoch)
            assert wanted.start_over is None or world.started_over[identity] >= wanted.start_over.number
    assert world.images == set(goal.images) | {item.digest for item in world.held.values()} & world.images


def test_what_is_to_be_kept_is_stopped_with_time_to_save_and_then_left_alone() -> None:
    before = desired(workspace(wanted="bound"))
    goal = target(Desired(generation=2, projects=[], workspaces=[], kept=["w", "never-there"]))
    running = here(before)
    stop = step(goal, view(running), 0.0)
    assert stop == Stop("w", 10.0, "kept")
    assert not settled(goal, view(running))
    stopped = replace(running, state="exited")
    assert step(goal, view(stopped), 0.0) is None
    assert settled(goal, view(stopped))


def test_what_is_kept_no_longer_is_removed() -> None:
    goal = target(Desired(generation=3, projects=[], workspaces=[]))
    stopped = replace(here(desired(workspace())), state="exited")
    assert step(goal, view(stopped), 0.0) == Remove("w")


def test_a_workspace_that_is_to_run_and_to_be_kept_is_refused() -> None:
    with pytest.raises(DesiredError):
        target(Desired(generation=1, projects=[project()], workspaces=[workspace()], kept=["w"]))


# --- files from another ship ----------------------------------------------------------------------------------------

SNAPSHOT = "5" * 64


def test_a_warm_workspace_is_started_again_on_restored_files_before_it_is_somebodys() -> None:
    goal = desired(workspace(wanted="bound", epoch=2, receipt="r", restore=SNAPSHOT))
    running = here(goal, epoch=0)
    assert step(goal, view(running), 0.0) == Stop("w", 2.0, "restoring")
    assert step(goal, view(replace(running, state="exited")), 0.0) == Start(goal.workspaces["w"].spec)
    assert goal.workspaces["w"].spec.restore == SNAPSHOT


def test_a_workspace_that_is_theirs_already_is_not_restored_again() -> None:
    goal = desired(workspace(wanted="bound", epoch=2, receipt="r", restore=SNAPSHOT))
    assert step(goal, view(here(goal)), 0.0) is None
    assert settled(goal, view(here(goal)))


def test_a_workspace_without_files_gets_the_images_first() -> None:
    goal = desired(workspace(wanted="bound", epoch=2, receipt="r", restore=SNAPSHOT))
    start = step(goal, view(), 0.0)
    assert isinstance(start, Start)
    assert (start.spec.epoch, start.spec.receipt, start.spec.restore) == (0, "", "")
    assert step(goal, view(here(goal, epoch=0)), 0.0) == Stop("w", 2.0, "restoring")


def test_a_warm_workspace_is_started_again_for_what_it_shares_and_a_new_one_at_once() -> None:
    goal = desired(workspace(wanted="bound", epoch=2, receipt="r", restore_shared={"data": SNAPSHOT}))
    running, spec = here(goal, epoch=0), goal.workspaces["w"].spec
    assert step(goal, view(running), 0.0) == Stop("w", 2.0, "restoring")
    assert step(goal, view(replace(running, state="exited")), 0.0) == Start(spec)
    assert step(goal, view(), 0.0) == Start(spec)
    assert spec.restore_shared == {"data": SNAPSHOT}
    assert step(goal, view(here(goal)), 0.0) is None


def test_a_workspace_without_files_that_shares_gets_the_images_first() -> None:
    shared = {"data": SNAPSHOT}
    goal = desired(workspace(wanted="bound", epoch=2, receipt="r", restore=SNAPSHOT, restore_shared=shared))
    start = step(goal, view(), 0.0)
    assert isinstance(start, Start)
    assert (start.spec.epoch, start.spec.restore, start.spec.restore_shared) == (0, "", {})
