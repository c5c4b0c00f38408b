"""Deliberate mistakes in the core, one rule each, and whether the simulation notices.

A mutation replaces one piece of a module's source, in memory: the changed functions get the changed code, nothing is
written. `python -m tests.sim.mutations` looks for a seed that catches each one and writes
``mutations.json``; docs/explanation/simulation.md shows it. One that nothing catches stands in the table as such.
"""

from __future__ import annotations

import argparse
import ast
import contextlib
import importlib
import inspect
import json
import sys
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from types import FunctionType, ModuleType

from tests.sim.actions import scenario
from tests.sim.rules import BrokenRuleError
from tests.sim.transcript import broken

TABLE = Path(__file__).with_name("mutations.json")
PAGE = Path(__file__).parents[2] / "docs" / "explanation" / "simulation.md"
TABLE_BEGINS, TABLE_ENDS = "<!-- table of mutations -->", "<!-- end of the table -->"


@dataclass(frozen=True, slots=True)
class Mutation:
    """One mistake.

    Args:
        name: what the core now does.
        module: below ``mux.core``.
        old: source that stands there exactly once.
        new: what stands there instead.
        remark: why nothing that can be seen follows from it; empty if a seed must catch it.
    """

    name: str
    module: str
    old: str
    new: str
    remark: str = ""


MUTATIONS = (
    Mutation("a route to a workspace with secrets does not wait for its restart", "workspaces",
             "if spec is not None and spec.has_secrets:\n", "if False:\n"),
    Mutation("the epoch of a report is not looked at", "workspaces",
             "seat.user is not None and word.epoch != seat.epoch", "False"),
    Mutation("who sat on a lost ship does not go back to the queue", "attendance",
             "        if user in world.sessions_of:\n            enqueue(world, user, first=True)",
             "        if False:\n            enqueue(world, user, first=True)"),
    Mutation("a route is published before its workspace answers", "workspaces",
             "if workspace.state is not WorkspaceState.BOUND:\n        return None\n    hold = not workspace.healthy "
             "and world.now < workspace.swap_until\n    if not workspace.healthy and not hold:",
             "hold = False\n    if workspace.state is WorkspaceState.DRAINING:"),
    Mutation("a bound workspace has a route although it does not answer", "workspaces",
             "    if not workspace.healthy and not hold:\n", "    if False:\n"),
    Mutation("a silent ship counts as lost", "liveness",
             "    ship.unreachable = True\n    grace",
             "    from mux.core.machines import lost\n    lost(world, ship, 'silent')\n    grace"),
    Mutation("an assignment that ended is not deleted from the store", "fleet",
             "commands += [ForgetAssignment(user) for user in changes.assignments]", "pass"),
    Mutation("an assignment is not saved", "attendance",
             "    world.changes.assignments[user] = None\n    world.changes.users[user] = None\n    seat.user = user",
             "    world.changes.users[user] = None\n    seat.user = user"),
    Mutation("a session is not saved", "attendance",
             "    world.changes.sessions[session] = None\n    world.deadlines.set(", "    world.deadlines.set("),
    Mutation("draining a workspace does not raise the generation", "workspaces",
             "        del seat.workspaces[workspace.project]\n    wanted_changed(world, ship)",
             "        del seat.workspaces[workspace.project]\n    ship.sent_at = 0.0\n    world.touch(ship)"),
    Mutation("no change raises the generation", "workspaces",
             "    ship.generation += 1\n", "    pass\n"),
    Mutation("the port of a draining workspace is given again at once", "ships",
             "        for workspace in self.workspaces.values():\n            held |=",
             "        for workspace in (w for s in self.seats for w in s.workspaces.values()):\n            held |="),
    Mutation("a draining workspace counts as stopped before its ship says so", "workspaces",
             "if word is None and report.generation >= ship.generation:", "if word is None:"),
    Mutation("a draining workspace that the ship still holds counts as stopped", "workspaces",
             "if word is None and report.generation >= ship.generation:",
             "if report.generation >= ship.generation:",
             remark="a ship that says it has reached a generation holds nothing else, unless it lies"),
    Mutation("one listing without a machine is enough to lose it", "machines", "MISSING_MAX = 2", "MISSING_MAX = 1"),
    Mutation("a machine that is gone is never missed", "machines", "MISSING_MAX = 2", "MISSING_MAX = 1 << 30"),
    Mutation("any key is accepted for a ship", "liveness", "if ship.key and ship.key != event.key:", "if False:"),
    Mutation("a join token is not asked for", "liveness",
             "if not ship.key and not event.token_ok:", "if False:"),
    Mutation("a ship that is not healthy still offers seats", "totals", "    if ship.healthy:\n", "    if True:\n",
             remark="each seat is asked for it again"),
    Mutation("the index of seats is not brought up to date after an assignment", "attendance",
             "        assign(world, user, ship, seat)\n        count(world, ship)",
             "        assign(world, user, ship, seat)"),
    Mutation("sessions do not expire", "attendance",
             '    world.deadlines.set(("session", session), expires_at)\n', "    pass\n"),
    Mutation("a failed launch is tried again under another id", "ships",
             "return waits and not self.host and not self.ordered", "return False"),
    Mutation("the queue is served from its end", "attendance",
             "user = next(iter(world.waiting))", "user = next(reversed(world.waiting))"),
    Mutation("newcomers go to the head of the queue", "attendance",
             "        world.waiting[user] = entry\n", "        world.waiting = {user: entry, **world.waiting}\n"),
    Mutation("closed doors let people in", "attendance", "    if not world.doors_open:\n", "    if False:\n"),
    Mutation("ships that are on their way do not count as seats", "totals",
             "usable = assigned if going or doubtful else seats",
             "usable = assigned if going or doubtful or ship.call else seats"),
    Mutation("draining a ship moves the people on it", "fleet", "    if event.evict:\n", "    if True:\n"),
    Mutation("a planned move does not wait for the snapshot", "leaving",
             "return all(workspace.saved for", "return True or all(workspace.saved for"),
    Mutation("a planned move waits for a snapshot for ever", "leaving",
             "if saved or world.now >= _waits_until(world, user)}", "if saved}"),
    Mutation("a planned move does not wait for pages that save", "leaving",
             "    return ask_to_save(world, ship, workspace, save_until - world.now)", "    return False"),
    Mutation("a wish to start over that has ended goes with whoever is moved", "wishes",
             "    if wish is not None and ended(workspace) is None:\n", "    if wish is not None:\n"),
    Mutation("a wish to start over that was taken back stands", "files",
             "            workspace.start_over = None\n", "            pass\n"),
    Mutation("a wish to start over that waits is forgotten with the mux", "fleet",
             "commands += [SaveWishes(user, dict(world.wishes.get(user, {}))) for user in changes.wishes]", "pass"),
    Mutation("how old the files of whoever was moved are is forgotten with the mux", "fleet",
             "commands += [SaveBehind(user, dict(world.behind.get(user, {}))) for user in changes.behind]", "pass"),
    Mutation("evicting leaves people where they are", "fleet", "    if event.evict:\n", "    if False:\n"),
    Mutation("a ship that failed is ended with people on it", "machines",
             "if ship.gone or ship.assigned or not", "if ship.gone or not"),
    Mutation("surplus ships are ended with people on them", "parking",
             "if not (ship.gone or ship.assigned or ship.draining or ship.kept)]",
             "if not (ship.gone or ship.kept)]"),
    Mutation("a move does not raise the epoch", "attendance",
             "epoch = world.epochs.get(user, 0) + 1", "epoch = world.epochs.get(user, 0) or 1"),
    Mutation("orphans are left running", "machines",
             "        world.effect(TerminateShip(ship_id))\n", "        pass\n"),
    Mutation("a call that failed is not made again", "machines",
             '    if ship.wanted is ShipWanted.GONE:\n        calls.call(world, ship, "terminate")',
             "    if ship.wanted is ShipWanted.GONE:\n        pass"),
    Mutation("launching goes on after it was given up", "planner",
             "    if not enabled:\n", "    if False:\n"),
    Mutation("a failed launch is followed by the next at once", "machines",
             "backing_off = world.now < world.patience.not_before", "backing_off = False"),
    Mutation("launching never gives up", "planner",
             "return self.machines >= spec.launch_failures_max", "return False"),
    Mutation("a second boot is not noticed", "liveness",
             "if ship.boot_identity != event.boot or ship.state is ShipState.PENDING:",
             "if ship.state is ShipState.PENDING:"),
    Mutation("a new link does not get the desired state", "liveness",
             "    ship.report = None\n    ship.sent_at = 0.0\n", "    ship.report = None\n"),
    Mutation("a ship that is behind is not told again", "liveness",
             "    if behind and world.now", "    if False and world.now"),
    Mutation("reports over older links count", "liveness",
             "if ship is None or ship.link != event.link or (", "if ship is None or (",
             remark="the older link is closed with the same decision that accepts the newer one"),
    Mutation("an older report counts after a newer one", "liveness",
             "event.report.seq <= ship.report.seq", "False"),
    Mutation("the end of an old link ends the new one", "liveness",
             "if ship is not None and ship.link == event.link:", "if ship is not None:"),
    Mutation("a bound workspace is replaced when the image changes", "workspaces",
             "return seat.user is None and (spec_on(", "return (spec_on("),
    Mutation("what failed on an attendee's seat is replaced", "workspaces",
             "workspace.failed and seat.user is None:", "workspace.failed:"),
    Mutation("failed workspaces of free seats are never replaced", "workspaces",
             "workspace.failed and seat.user is None:", "False:"),
    Mutation("a released seat keeps its workspaces", "attendance",
             "    seat.epoch = 0\n    for workspace in list(seat.workspaces.values()):",
             "    seat.epoch = 0\n    for workspace in ():"),
    Mutation("routes of a ship that is to end stay", "workspaces",
             "ship.wanted is not ShipWanted.RUN or not ship.host", "not ship.host"),
    Mutation("an address that was given to a new ship is still routed to", "machines",
             '        before.host = ""\n', "        pass\n"),
    Mutation("launches tried again do not count among those under way", "machines",
             "min(decided.launch, room - len(again))", "decided.launch"),
    Mutation("a cordoned or draining ship offers seats", "ships",
             "self.unreachable or self.cordoned or self.draining or self.failed)",
             "self.unreachable or self.failed)"),
    Mutation("a silent ship offers seats", "ships",
             "self.unreachable or self.cordoned or self.draining or self.failed)",
             "self.cordoned or self.draining or self.failed)"),
    Mutation("words about an old port count for the new one", "workspaces",
             "elif report.generation >= workspace.port_since and (", "elif True and ("),
    Mutation("a listing from before a launch was answered counts", "machines",
             "if max(ship.launched_at, ship.ordered_at) >= asked_at:", "if ship.launched_at >= asked_at:"),
    Mutation("a listing from before a launch counts", "machines",
             "if max(ship.launched_at, ship.ordered_at) >= asked_at:", "if False:"),
    Mutation("revoking somebody leaves their sessions", "attendance",
             "for session in list(world.sessions_of.get(user, ())):", "for session in ():"),
    Mutation("a removed project keeps its workspaces", "workspaces",
             "    if spec is None:\n        return True\n", "    if spec is None:\n        return False\n"),
    Mutation("surplus ships are kept for ever", "parking",
             "(idle or not aimed.seats or len(ship.seats) <= surplus)", "False"),
    Mutation("unpublished routes stay in force", "fleet",
             "            if place is None:\n                world.published_routes.pop(key, None)",
             "            if place is None:\n                del changed[key]\n"
             "                world.published_routes.pop(key, None)"),
    Mutation("a ship that does not become available is kept for ever", "machines",
             "    ship.failed = f\"{why}{phase}\"", "    _ = f\"{why}{phase}\""),
    Mutation("doors never open by themselves", "attendance",
             "world.controls = replace(controls, doors_opened=True)", "world.controls.__class__"),
    Mutation("a project that always fails holds seats back for ever", "workspaces",
             "project.name in world.broken\n        or (", "("),
    Mutation("what ships were ended for is forgotten", "failures",
             "if ship.failures.get(project) and project not in world.broken:", "if False:"),
    Mutation("the emptiest ship comes first", "scheduler",
             "fewest = min(self._buckets)", "fewest = max(self._buckets)"),
    Mutation("the provider is called while the reconciler is paused", "calls",
             "    if world.controls.paused:\n        return\n", "    if False:\n        return\n"),
    Mutation("ships that are parked count as seats", "totals",
             "usable=0 if parked or ship.replacing else usable", "usable=usable"),
    Mutation("a target of seats is never reached by starting parked ships", "parking",
             "            missing -= len(ship.seats)\n            unpark(world, ship)", "            return"),
    Mutation("parked ships are not started again", "parking",
             '        calls.call(world, ship, "start")\n', "        pass\n",
             remark="the next listing finds them stopped, and they are started then"),
    Mutation("a ship that is silent and out of reach is lost at once", "paths",
             "if world.now - both_since >= patience_s:", "if True:"),
    Mutation("a ship that is out of reach is lost although it is heard from", "paths",
             "if not ship.unreachable or ship.wanted is not", "if ship.wanted is not"),
    Mutation("a ship that is silent and out of reach is never lost", "paths",
             "if world.now - both_since >= patience_s:", "if False:"),
    Mutation("a ship that is reached again still counts as out of reach", "paths",
             "        world.ships[ship_id].path_failing_since = None\n", "        pass\n"),
    Mutation("what a lost ship holds is destroyed", "attendance",
             "if keep_work and workspace.state in HOLDS_FILES:", "if False:"),
    Mutation("a ship that comes back is not told what to keep", "ships",
             "(*workspaces, *trials), tuple(self.kept), images)", "(*workspaces, *trials), (), images)"),
    Mutation("what ships keep is forgotten when the mux restarts", "ships",
             "        for kept in record.kept:\n", "        for kept in ():\n"),
    Mutation("what is kept is let go as soon as its ship is back", "machines",
             "    if ship.kept:\n        text = ", "    if ship.kept:\n        let_go(world, ship)\n        text = "),
    Mutation("failures of paths that are far apart count as one", "paths",
             "world.now - ship.path_failed_at > PATHS_FRESH_S", "False"),
    Mutation("whoever was moved is led to a warm workspace before their files are there", "workspaces",
             "            if seat.epoch > 1:\n", "            if False:\n"),
    Mutation("a bound workspace that is to get a moved attendee's files keeps its route", "workspaces",
             "                # Files may be restored there first: no route before its ship reports it bound.\n"
             "                workspace.healthy = False\n",
             "                pass\n"),
    Mutation("a wave begins before every ship has given its verdict", "rollout_waves",
             "return marks.unjudged is None", "return True"),
    Mutation("attendees are swapped where the image was not proved", "rollout_waves",
             "if workspace.digest != rollout.digest and ship.id in proved and",
             "if workspace.digest != rollout.digest and"),
    Mutation("free seats get an image that was not proved", "rollout",
             "running = rollout.state is RolloutState.RUNNING and ship.id in rollout.all_proved",
             "running = rollout.state is RolloutState.RUNNING"),
    Mutation("a trial that failed counts as a proof", "rollout_trials",
             "if word.state is ReportedState.HEALTHY:", "if word.state in (ReportedState.HEALTHY, *FAILED):"),
    Mutation("a trial that does not answer is waited for for ever", "rollout_trials",
             "    elif world.now >= trial.ends_at:\n", "    elif False:\n"),
    Mutation("how many may be away at once is not looked at", "rollout_waves",
             "chosen = able[: rollout.pace.at_once(total, world.spec.rollout)]", "chosen = able"),
    Mutation("a wave is not watched", "rollout_waves",
             "until = world.now + world.spec.rollout.monitor_s", "until = world.now"),
    Mutation("a swap that fails has no way back", "rollout_waves",
             "    if not stays:\n", "    if False:\n"),
    Mutation("a swap that does not answer is waited for for ever", "rollout_waves",
             "    elif world.now >= workspace.swap_until:\n", "    elif False:\n"),
    Mutation("what failed is swapped again and again", "rollout_waves",
             "        failures = (*rollout.failed, (workspace.id, why))[:FAILURES_KEPT_MAX]\n",
             "        failures = rollout.failed\n"),
    Mutation("attendees of a silent ship are swapped", "rollout_waves",
             "for ship, each in left if ship.link is not None and not ship.unreachable]", "for ship, each in left]"),
    Mutation("a swap does not wait for pages that save", "pages",
             "return all(name in pages and pages[name].saved == request.number for", "return True or all(name for"),
    Mutation("a page that does not save is waited for for ever", "pages",
             "    if world.now >= request.until:\n", "    if False:\n"),
    Mutation("a page that has saved is waited for all the same", "pages",
             "return all(name in pages and pages[name].saved == request.number for", "return False and all(name for"),
    Mutation("an answer to any request to save counts", "pages",
             "pages[name].saved == request.number for name", "pages[name].saved for name"),
    Mutation("pages are not asked to save", "pages",
             "if user is None or not pages or not workspace.healthy:\n", "if True:\n"),
    Mutation("the end of an earlier connection takes a page along", "pages",
             "if page is not None and page.link == event.link:", "if page is not None:"),
    Mutation("who was asked to save is swapped once more when their ship has booted anew", "rollout_waves",
             "if ours and identity not in waited_for:", "if False:"),
    Mutation("requests do not wait for a swap", "workspaces",
             "hold = not workspace.healthy and world.now < workspace.swap_until", "hold = False"),
    Mutation("requests wait on although the workspace answers", "workspaces",
             "hold = not workspace.healthy and world.now < workspace.swap_until", "hold = bool(workspace.previous)"),
    Mutation("requests wait for whatever does not answer", "workspaces",
             "hold = not workspace.healthy and world.now < workspace.swap_until", "hold = not workspace.healthy"),
    Mutation("a word on the image before counts for the new one", "workspaces",
             "report.generation >= workspace.digest_since or word.digest == workspace.digest", "True"),
    Mutation("those who have not accepted an offer are swapped", "rollout_waves",
             "for ship, each in able if user_of(ship, each) in accepted]", "for ship, each in able]"),
    Mutation("nobody's acceptance is heard", "rollouts",
             "    if offered(rollout, *found):\n", "    if False:\n"),
    Mutation("an acceptance of an earlier push counts", "rollouts",
             "rollout.number != event.number or ", ""),
    Mutation("whoever works is swapped as if they were idle", "rollout_waves",
             "    if rollout.pace.idle:\n", "    if False:\n"),
    Mutation("work in a notebook is not heard of", "rollout_waves",
             "max(world.worked.get(key, 0.0), ", "max(0.0, "),
    Mutation("the time that was set for a rollout is not waited for", "rollout_waves",
             "max(rollout.pace.not_before, world.pages_back_at)", "world.pages_back_at"),
    Mutation("a paused rollout goes on", "rollout_waves",
             "if rollout.paused or not rollout.active", "if not rollout.active"),
    Mutation("a rollout that was ended goes on", "rollout_waves",
             "if rollout.paused or not rollout.active", "if rollout.paused"),
    Mutation("a rollout does not stop itself", "rollouts",
             "rollout.failures <= world.spec.rollout.failures_max:", "rollout.failures >= 0:"),
    Mutation("the earlier of two pushes wins", "rollouts",
             "    if spec is None:\n        return\n    was =",
             "    if spec is None or (before is not None and before.state is RolloutState.RUNNING):\n"
             "        return\n    was ="),
    Mutation("a rollback is rolled back", "rollouts",
             'case "rollback" if rollout.can_be_taken_back:', 'case "rollback":'),
    Mutation("a rollback leads to the image that failed", "rollouts",
             "ProjectPushed(event.project, *rollout.rolls_back_to,",
             "ProjectPushed(event.project, rollout.image, rollout.digest,"),
    Mutation("a rollout is forgotten with the mux", "fleet",
             "commands.append(SaveRollout(rollout) if rollout else ForgetRollout(project))", "pass"),
    Mutation("a machine's word from before its agent joined counts against the ship", "boots",
             "ship.gone or ship.key or ship.failed", "ship.gone or ship.failed"),
)  # fmt: skip


@contextlib.contextmanager
def applied(mutation: Mutation) -> Iterator[None]:
    """The core with a mistake in it. Raises LookupError when the source does not say what is to be changed."""
    module = importlib.import_module(f"mux.core.{mutation.module}")
    source = inspect.getsource(module)
    if source.count(mutation.old) != 1:
        raise LookupError(
            f"{mutation.name!r}: its source stands {source.count(mutation.old)} times in {module.__name__}"
        )
    changed = ModuleType(module.__name__)
    changed.__dict__.update({k: v for k, v in vars(module).items() if k.startswith("__")})
    # Dataclasses look their module up by name while they are made; it stays the original there.
    exec(compile(ast.parse(source.replace(mutation.old, mutation.new)), module.__file__ or "", "exec"), vars(changed))
    undo = list(_exchange(module, changed))
    if not undo:
        raise LookupError(f"{mutation.name!r} changes nothing that can be exchanged")
    try:
        yield
    finally:
        for target, name, before in undo:
            setattr(target, name, before)


def _exchange(module: ModuleType, changed: ModuleType) -> Iterator[tuple[object, str, object]]:
    """Put the changed code and constants into the module; what was changed, to put it back."""
    pairs: list[tuple[object, object]] = [(module, changed)]
    pairs += [(held, vars(changed)[name]) for name, held in vars(module).items() if _own_class(held, module)]
    for here, there in pairs:
        for name, held in list(vars(here).items()):
            other = vars(there).get(name)
            function, changed_one = _function(held), _function(other)
            if function is not None and changed_one is not None:
                if function.__code__ != changed_one.__code__:
                    before, function.__code__ = function.__code__, changed_one.__code__
                    yield function, "__code__", before
            elif isinstance(held, int) and here is module and held != other:
                setattr(module, name, other)
                yield module, name, held


def _function(held: object) -> FunctionType | None:
    """The function that a name of a module or class stands for, or None."""
    if isinstance(held, property):
        held = held.fget
    elif isinstance(held, classmethod):
        held = held.__func__
    return held if isinstance(held, FunctionType) else None


def _own_class(held: object, module: ModuleType) -> bool:
    return isinstance(held, type) and held.__module__ == module.__name__


def caught(mutation: Mutation, seed: int) -> BrokenRuleError | None:
    """What a seed says to a mistake."""
    with applied(mutation):
        return broken(scenario(seed))


def search(mutation: Mutation, seeds: int) -> dict[str, object]:
    """The first seed that catches a mistake, as a row of the table."""
    row: dict[str, object] = {"mutation": mutation.name, "module": mutation.module, "remark": mutation.remark}
    for seed in range(seeds):
        found = caught(mutation, seed)
        if found is not None:
            return row | {"seed": seed, "rule": found.rule, "says": found.text[:160]}
    return row | {"seed": None, "rule": "", "says": f"not caught in {seeds} seeds"}


def _search(job: tuple[Mutation, int]) -> dict[str, object]:
    return search(*job)


def table() -> list[dict[str, object]]:
    """The table as kept."""
    rows: list[dict[str, object]] = json.loads(TABLE.read_text(encoding="utf-8"))
    return rows


def page_table(rows: list[dict[str, object]]) -> str:
    """The table as the page shows it."""
    lines = ["| mistake | in | seed | rule that breaks |", "|---|---|---|---|"]
    for row in rows:
        seed = "none" if row["seed"] is None else row["seed"]
        broken_rule = row["rule"] or f"{row['says']}: {row['remark'] or 'a gap'}"
        lines.append(f"| {row['mutation']} | `{row['module']}` | {seed} | {broken_rule} |")
    return "\n".join(lines)


def write(rows: list[dict[str, object]]) -> None:
    """Keep the table as data, and in the page."""
    TABLE.write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")
    if PAGE.exists():
        text = PAGE.read_text(encoding="utf-8")
        before, _, rest = text.partition(TABLE_BEGINS)
        _, _, after = rest.partition(TABLE_ENDS)
        PAGE.write_text(f"{before}{TABLE_BEGINS}\n{page_table(rows)}\n{TABLE_ENDS}{after}", encoding="utf-8")


def main() -> int:
    """0 when every mistake is caught from which something follows."""
    parser = argparse.ArgumentParser(prog="python -m tests.sim.mutations", description=__doc__)
    parser.add_argument("--search", type=int, default=700, help="seeds to try for each")
    parser.add_argument("--jobs", type=int, default=2, help="processes")
    parser.add_argument("--only", default="", help="mutations whose name contains this; nothing is written")
    chosen = parser.parse_args()
    jobs = [(mutation, chosen.search) for mutation in MUTATIONS if chosen.only in mutation.name]
    with ProcessPoolExecutor(chosen.jobs) as pool:
        rows = list(pool.map(_search, jobs))
    for row in rows:
        sys.stdout.write(f"{row['seed']!s:>5}  {row['rule']:<10} {row['mutation']}: {row['says']}\n")
    if not chosen.only:
        write(rows)
    return int(any(row["seed"] is None and not row["remark"] for row in rows))


if __name__ == "__main__":
    raise SystemExit(main())
