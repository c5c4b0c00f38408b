"""Situations by a seed: any image, anything that an attendee may do, any next image. What must come of them is what the
pure plan says of the three trees, as they are read without the code under test.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from random import Random

from ship_agent.files.merge import Keep, MakeDir, plan
from ship_agent.files.place import remove_tree
from ship_agent.files.trees import Entry, Meta
from tests.ship_agent.files.situations import LABEL, Situation
from tests.ship_agent.files.trees import D, F, L, Spec, Thing, seen, write

NAMES = (
    *("a.py", "A.py", "a.new-fix7.py", "a.new-fix7-2.py", "b", "b.", "d", "before-reset", ".hidden"),
    *("two\nlines", "no \udcff utf-8", "ä" * 126 + ".py", " "),
)
"""Of copies, too, and odd ones; few, so that both sides mean the same."""
TEXTS = ("", "1", "2", "3", "x" * 5000)
TARGETS = ("a.py", "..", "/etc/hostname", "nowhere", "d")
EDITS_MAX = 12
DEPTH_MAX = 2


def situation(seed: int) -> Situation:
    """The one of a seed."""
    dice = Random(seed)
    old, new = image(dice), image(dice)
    new = {**{path: thing for path, thing in old.items() if dice.random() < 0.6}, **new} if seed % 3 else new
    new = consistent(new)

    def edit(home: Path) -> None:
        hands = Random(seed)
        for _ in range(hands.randrange(EDITS_MAX)):
            hands.choice(DEEDS)(home, hands)

    return Situation(f"seed {seed}", old, edit, new, expected(old, edit, new))


def image(dice: Random, above: str = "", depth: int = 0) -> dict[str, Thing]:
    """Some content."""
    found: dict[str, Thing] = {}
    for name in NAMES:
        path = f"{above}{name}"
        match dice.choice(("nothing", "nothing", "file", "link", "dir")):
            case "file":
                found[path] = F(dice.choice(TEXTS), dice.choice((0o644, 0o600, 0o444, 0o755)))
            case "link":
                found[path] = L(dice.choice(TARGETS))
            case "dir" if depth < DEPTH_MAX:
                found[path] = D(dice.choice((0o755, 0o700, 0o555)))
                if dice.random() < 0.4:
                    found |= image(dice, f"{path}/", depth + 1)
    return found


def consistent(spec: Mapping[str, Thing]) -> dict[str, Thing]:
    """Without what lies in no directory."""
    found: dict[str, Thing] = {}
    for path in sorted(spec):
        above = path.rpartition("/")[0]
        if not above or isinstance(found.get(above), D):
            found[path] = spec[path]
    return found


def expected(old: Spec, edit: Callable[[Path], None], new: Spec) -> dict[str, Thing]:
    """What there is after the change, by the plan."""
    place = Path(tempfile.mkdtemp(prefix="mux-chance-"))
    try:
        trees = []
        for name, spec in {"old": old, "mine": old, "new": new}.items():
            write(place / name, spec)
            if name == "mine":
                edit(place / name)
            trees.append(seen(place / name))
    finally:
        remove_tree(place)
    first, mine, after = trees
    made: dict[str, Thing] = {}
    for action in plan(as_tree(first), as_tree(mine), as_tree(after), LABEL).actions:
        path = os.fsdecode(action.path)
        match action:
            case MakeDir(meta=meta):
                made[path] = D(meta.mode, meta.uid)
            case Keep(source=source):
                made[path] = mine[os.fsdecode(source)]
            case _:
                thing = after[os.fsdecode(action.source)]
                made[path] = replace(thing, mode=action.meta.mode) if isinstance(thing, F) else thing
    return made


def as_tree(things: Mapping[str, Thing]) -> dict[bytes, Entry]:
    """As the plan takes it."""
    found = {}
    for path, thing in things.items():
        match thing:
            case F(text=text):
                held = text if isinstance(text, bytes) else text.encode()
                meta = Meta(thing.mode, thing.uid or 0, thing.uid or 0)
                entry = Entry("file", meta, len(held), hashlib.sha256(held).hexdigest())
            case D():
                entry = Entry("dir", Meta(thing.mode, thing.uid or 0, thing.uid or 0))
            case L(target=target):
                entry = Entry("link", Meta(0o777, 0, 0), target=os.fsencode(target))
            case _:
                entry = Entry("other", Meta(0o644, 0, 0))
        found[os.fsencode(path)] = entry
    return found


# --- what attendees do


def somewhere(home: Path, hands: Random) -> Path:
    """A path that may be there, in a directory that is."""
    folders = [Path(top) for top, _, _ in os.walk(home)]
    return hands.choice(sorted(folders)) / hands.choice(NAMES)


def clear(place: Path) -> None:
    if place.is_dir() and not place.is_symlink():
        shutil.rmtree(place)
    else:
        place.unlink(missing_ok=True)


def write_file(home: Path, hands: Random) -> None:
    place, text = somewhere(home, hands), hands.choice(TEXTS)
    if place.is_symlink() or place.is_dir() or place.is_fifo():
        clear(place)
    place.write_text(text)


def append(home: Path, hands: Random) -> None:
    place = somewhere(home, hands)
    if place.is_file() and not place.is_symlink():
        with place.open("a") as file:
            file.write("mine")


def delete(home: Path, hands: Random) -> None:
    clear(somewhere(home, hands))


def rename(home: Path, hands: Random) -> None:
    one, other = somewhere(home, hands), somewhere(home, hands)
    # No directory: an overlay has its renames done by the one who asks, as copies.
    is_leaf = os.path.lexists(one) and (one.is_symlink() or not one.is_dir())
    if is_leaf and one not in (other, *other.parents) and other not in one.parents:
        clear(other)
        one.rename(other)


def make_directory(home: Path, hands: Random) -> None:
    place = somewhere(home, hands)
    clear(place)
    place.mkdir()
    (place / hands.choice(NAMES)).write_text(hands.choice(TEXTS))


def make_link(home: Path, hands: Random) -> None:
    place = somewhere(home, hands)
    clear(place)
    place.symlink_to(hands.choice(TARGETS))


def make_hard_link(home: Path, hands: Random) -> None:
    one, other = somewhere(home, hands), somewhere(home, hands)
    if one.is_file() and not one.is_symlink() and one != other and one not in other.parents:
        clear(other)
        os.link(one, other)


def make_pipe(home: Path, hands: Random) -> None:
    place = somewhere(home, hands)
    clear(place)
    os.mkfifo(place)


def change_mode(home: Path, hands: Random) -> None:
    place = somewhere(home, hands)
    if os.path.lexists(place) and not place.is_symlink():
        place.chmod(hands.choice((0o600, 0o755, 0o700)))


DEEDS = (
    *(write_file, write_file, append, append, delete, delete, rename, make_directory),
    *(make_link, make_hard_link, make_pipe, change_mode),
)
