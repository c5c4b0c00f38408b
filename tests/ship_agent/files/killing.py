"""A program that changes an image with a `kill -9`, or a full disk, at every call that changes the disk.

    python -m tests.ship_agent.files.killing WAY STRIDE SITUATION…

For each situation: a child process is to bring an attendee's directory to the next image and is killed at its Nth call;
then the next one brings it there, or first back to the image before. N rises until nobody is killed. A situation
may be ``seed N``, see `tests.ship_agent.files.chance`. Prints JSON. A program of its own: it forks, and the process of
a test run has threads.
"""

from __future__ import annotations

import errno
import json
import os
import signal
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from typing import Any

from ship_agent.files import mounts
from ship_agent.files.base import FilesFailure
from ship_agent.files.place import remove_tree
from ship_agent.files.record import Record
from tests.ship_agent.files.chance import situation as by_chance
from tests.ship_agent.files.situations import SITUATIONS, Situation, go_deep
from tests.ship_agent.files.trees import F, L, Thing
from tests.ship_agent.files.ways import Room

FILLING = ("open", "write", "mkdir", "link", "symlink", "mknod", "ftruncate", "fsync", "setxattr")
"""Calls that a full disk can refuse."""
CHANGING = (*FILLING, "rename", "rmdir", "unlink", "chmod", "fchmod", "chown", "fchown", "removexattr")
MOUNTING = ("mount", "unmount")


def count_calls(at: Callable[[int, str, Any], None]) -> Callable[[], None]:
    """Have ``at`` called with a number before each call that changes the disk; what is returned undoes it."""
    numbers = count(1)
    originals: list[tuple[Any, str, Any]] = []

    def wrap(module: Any, name: str) -> None:
        original = getattr(module, name)
        originals.append((module, name, original))

        def wrapped(*args: Any, **named: Any) -> Any:
            if name != "open" or args[1] & os.O_CREAT:
                at(next(numbers), name, args)
            return original(*args, **named)

        setattr(module, name, wrapped)

    for name in CHANGING:
        wrap(os, name)
    for name in MOUNTING:
        wrap(mounts, name)

    def undo() -> None:
        for module, name, original in originals:
            setattr(module, name, original)

    return undo


@contextmanager
def a_room(way: str) -> Iterator[Room]:
    directory = Path(tempfile.mkdtemp(prefix="mux-kills-"))
    room = Room(directory, way)
    try:
        yield room
    finally:
        room.close()
        remove_tree(directory)


def killed(room: Room, work: Callable[[], object], step: int) -> bool:
    """Do work in a child that is killed at a step; half of what it was about to write then is written."""
    write = os.write

    def at(number: int, name: str, args: Any) -> None:
        if number == step:
            if name == "write":
                write(args[0], args[1][: len(args[1]) // 2])
            os.kill(os.getpid(), signal.SIGKILL)

    child = os.fork()
    if child == 0:
        try:
            count_calls(at)
            work()
        except BaseException as error:  # the child must not go on as if it were its parent
            sys.stderr.write(f"the child failed: {error!r}\n")
            sys.stderr.flush()
            os._exit(1)
        os._exit(0)
    status = os.waitpid(child, 0)[1]
    if os.WIFEXITED(status) and os.WEXITSTATUS(status) != 0:
        raise AssertionError(f"step {step}: the child failed")
    return os.WIFSIGNALED(status)


def survivors(situation: Situation, room: Room, before: dict[str, Thing]) -> dict[str, F | L]:
    """What the attendee made or edited, and must find again whatever image follows. A mode alone goes with its file."""
    old = room.full(situation.old)
    return {
        path: thing for path, thing in before.items() if isinstance(thing, F | L) and what(thing) != what(old.get(path))
    }


def what(thing: Thing | None) -> object:
    """What somebody has written: a file's bytes, or where a symlink leads."""
    return thing.text if isinstance(thing, F) else thing


def kills(way: str, situation: Situation, stride: int) -> int:
    """Kill at every step. Returns how often; raises AssertionError at what is lost or mixed."""
    return next(done for done in count() if not _kill(way, situation, 1 + done * stride, done))


def _kill(way: str, situation: Situation, step: int, turn: int) -> bool:
    with a_room(way) as room:
        old = room.content(situation.old, "first")
        room.bring_to(old)
        situation.edit(room.way.home)
        new = room.content(situation.new)
        before, then = room.seen(), room.full(situation.then)
        hit = killed(room, lambda: room.way.bring_to(new), step)
        if hit and turn % 3 == 1:
            # The image was withdrawn meanwhile: whatever there is of either, the attendee's is there.
            room.bring_to(old)
            there = room.seen()
            for path, thing in survivors(situation, room, before).items():
                assert there.get(path) == thing, f"{situation.name}, step {step}: {path!r} is lost"
        else:
            if hit and turn % 3 == 2:
                killed(room, lambda: room.way.bring_to(new), 1 + turn % 7)  # and who repairs it, too
            room.bring_to(new)
            assert room.seen() == then, f"{situation.name}, step {step}: {room.seen()} instead of {then}"
        assert left_over(room) == set(), f"{situation.name}, step {step}: left over: {left_over(room)}"
    return hit


def full_disk(way: str, situation: Situation, stride: int) -> int:
    """Have the disk full from every step on. Returns how often."""
    return next(done for done in count() if not _fill(way, situation, 1 + done * stride))


def _fill(way: str, situation: Situation, step: int) -> bool:
    hit: list[str] = []

    def at(number: int, name: str, args: Any) -> None:
        if number >= step and name in FILLING:
            hit.append(name)
            raise OSError(errno.ENOSPC, "No space left on device")

    with a_room(way) as room:
        new = room.prepare(situation)
        before, then = room.seen(), room.full(situation.then)
        undo = count_calls(at)
        try:
            room.way.bring_to(new)
        except FilesFailure as failure:
            assert failure.code == "disk_full", failure.detail
        finally:
            undo()
        # An overlay that could not be changed is not mounted until the next try.
        if way != "overlay" or mounts.upper_at(room.way.home) is not None:
            assert room.seen() in (before, then), f"{situation.name}, step {step}: a mix"
        room.bring_to(new)
        assert room.seen() == then, f"{situation.name}, step {step}"
    return bool(hit)


def left_over(room: Room) -> set[str]:
    """What should not be beside the directory."""
    allowed = {"home", "outside", "files.json"}
    if room.name == "overlay":
        upper = Record.load(room.workspace / "files.json")
        allowed |= {upper.upper, upper.upper.replace("upper", "work")} if upper else set()
    return {path.name for path in room.workspace.iterdir()} - allowed


def main(way: str, stride: str, *names: str) -> None:
    """Print, for each situation, how many steps there were."""
    told: dict[str, dict[str, int]] = {"kills": {}, "full_disk": {}}
    known = {situation.name: situation for situation in SITUATIONS}
    for name in names or known:
        situation = known.get(name) or by_chance(int(name.removeprefix("seed ")))
        # One has hundreds of directories, and as many steps that are alike.
        every = int(stride) * (41 if situation.edit is go_deep else 1)
        told["kills"][situation.name] = kills(way, situation, every)
        told["full_disk"][situation.name] = full_disk(way, situation, every)
    sys.stdout.write(json.dumps(told))


if __name__ == "__main__":
    main(*sys.argv[1:])
