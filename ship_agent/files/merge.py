"""What an attendee's directory becomes when its image changes: a pure function of three trees.

`plan` takes the content last applied, the attendee's directory and the new content, and returns what the directory is
to be made of. It reads and writes nothing.

Rules, for each path:
- What the attendee edited or made stays as it is. If the image changed it too, its version is put beside it.
- What the attendee left alone is the new image's: updated, or gone if the image has it no more.
- What the attendee deleted stays deleted, a directory with everything that the image may later have in it.
- What is new in the image appears.
- Owner and mode are merged apart from what is in a file: who changed them, keeps them.
- A directory stays as long as something of the attendee's is in it, and counts as edited then.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from ship_agent.files.names import beside
from ship_agent.files.trees import Entry, Meta, Tree, joined, parent_of, same


@dataclass(frozen=True, slots=True)
class MakeDir:
    """A directory."""

    path: bytes
    meta: Meta


@dataclass(frozen=True, slots=True)
class Keep:
    """The attendee's file, symlink or other entry, as it is, from ``source`` in their directory."""

    path: bytes
    source: bytes


@dataclass(frozen=True, slots=True)
class Take:
    """The image's file or symlink, from ``source`` in its content, with owner and mode of ``meta``."""

    path: bytes
    source: bytes
    entry: Entry
    meta: Meta


Action = MakeDir | Keep | Take


@dataclass(frozen=True, slots=True)
class Plan:
    """What a directory is to be made of; parents come before what is in them. What is not named is not in it.

    Args:
        actions: in this order.
        base: the content that is applied then: ``old`` of the next merge.
        besides: paths of the image's versions that are put beside an attendee's.
    """

    actions: tuple[Action, ...]
    base: Tree = field(repr=False)
    besides: tuple[bytes, ...] = ()


def plan(old: Tree, mine: Tree, new: Tree, label: str) -> Plan:
    """Merge.

    Args:
        old: the content last applied; empty if it is not known, and then everything is the attendee's.
        mine: the attendee's directory. `Entry.content` is known at least where a size is that of old or new.
        new: the content of the new image.
        label: what the new image is called in names beside.
    """
    return _Merge(old, mine, new, label).run()


def plan_reset(old: Tree, mine: Tree, new: Tree, kept_in: bytes) -> Plan:
    """The new content alone, with what the attendee made or edited below the directory ``kept_in``.

    Directories of earlier resets, whose names begin with `KEPT_PREFIX`, stay where they are.
    """
    actions: list[Action] = [
        MakeDir(path, entry.meta) if entry.kind == "dir" else Take(path, path, entry, entry.meta)
        for path, entry in sorted(new.items())
    ]
    own = _own(old, mine)
    top = {path for path in own if (first := path.partition(b"/")[0]).startswith(KEPT_PREFIX) and first not in new}
    if own - top:
        actions.append(MakeDir(kept_in, Meta(0o755, *_owner(mine, own))))
    for path in sorted(own):
        entry = mine[path]
        place = path if path in top else joined(kept_in, path)
        actions.append(MakeDir(place, entry.meta) if entry.kind == "dir" else Keep(place, path))
    return Plan(tuple(actions), new)


KEPT_PREFIX = b"before-reset"


def _owner(mine: Tree, own: set[bytes]) -> tuple[int, int]:
    first = mine[min(own)].meta
    return first.uid, first.gid


def _own(old: Tree, mine: Tree) -> set[bytes]:
    """Paths of what the attendee made or edited, and of the directories that it is in."""
    found: set[bytes] = set()
    for path, entry in mine.items():
        if not same(old.get(path), entry):
            place = path
            while place and place not in found:
                found.add(place)
                place = parent_of(place)
    return found


@dataclass
class _Merge:
    """One merge. ``open``: directories of the result in which the image's new entries count; ``moved``: where a
    directory of the image's has its place that is put beside something; ``alike``: what was applied before, where the
    attendee made the same of it as the image did.
    """

    old: Tree
    mine: Tree
    new: Tree
    label: str
    own: set[bytes] = field(default_factory=set)
    open: set[bytes] = field(default_factory=lambda: {b""})
    moved: dict[bytes, bytes] = field(default_factory=dict)
    names: set[bytes] = field(default_factory=set)
    besides: list[bytes] = field(default_factory=list)
    alike: dict[bytes, Entry] = field(default_factory=dict)

    def run(self) -> Plan:
        self.own = _own(self.old, self.mine)
        actions: list[Action] = []
        # A parent sorts before what is in it: it is a prefix.
        for path in sorted(self.mine.keys() | self.new.keys()):
            above = parent_of(path)
            new = self.new.get(path)
            if new is not None and above in self.moved:
                actions += self._put(joined(self.moved[above], path.rpartition(b"/")[2]), path, new, new.meta)
                new = None
            elif above not in self.open:
                new = None
            actions += self._decide(path, self.mine.get(path), new)
        return Plan(tuple(actions), {**self.new, **self.alike}, tuple(self.besides))

    def _decide(self, path: bytes, mine: Entry | None, new: Entry | None) -> Iterator[Action]:
        old = self.old.get(path)
        if mine is None:
            if new is not None and old is None:
                yield from self._put(path, path, new, new.meta)
        elif path in self.own and not (mine.kind == "dir" and new is not None and new.kind == "dir"):
            yield from self._stay(path, mine, old, new)
        elif new is not None:
            meta = mine.meta if old is None or mine.meta != old.meta else new.meta
            if mine.kind != "dir" and same(mine, new) and mine.meta == meta:
                yield Keep(path, path)
            else:
                yield from self._put(path, path, new, meta if new.kind == mine.kind else new.meta)

    def _stay(self, path: bytes, mine: Entry, old: Entry | None, new: Entry | None) -> Iterator[Action]:
        """The attendee's, and beside it the image's if both changed it."""
        yield MakeDir(path, mine.meta) if mine.kind == "dir" else Keep(path, path)
        if mine.kind != "dir" and same(new, mine):
            # It was not the image that made it so: with the next one, or back to the last, it stays.
            self.alike[path] = old or Entry("file", mine.meta)
        if new is None or same(new, old) or same(new, mine):
            return
        folder, _, name = path.rpartition(b"/")
        mark = f"new-{self.label}"
        place = joined(folder, beside(name, mark, lambda name: self._is_taken(joined(folder, name), path)))
        if place in self.mine:
            return  # it is there already: the same version was put beside it before
        self.names.add(place)
        self.besides.append(place)
        yield from self._put(place, path, new, new.meta)

    def _is_taken(self, place: bytes, path: bytes) -> bool:
        """Whether a place cannot be had for the image's version of a path, which is not there yet, or does not stay."""
        if place not in self.mine:
            return place in self.new or place in self.names
        version = [path]
        if self.new[path].kind == "dir":
            version += [below for below in self.new if below.startswith(path + b"/")]
        return not all(self._stays(place + each[len(path) :], self.new[each]) for each in version)

    def _stays(self, place: bytes, version: Entry) -> bool:
        """Whether a version is at a place, and is there afterwards."""
        there = self.mine.get(place)
        return same(there, version) and (place in self.own or same(self.new.get(place), version))

    def _put(self, path: bytes, source: bytes, new: Entry, meta: Meta) -> Iterator[Action]:
        """The image's entry at ``path``; what is in a directory follows it."""
        if new.kind != "dir":
            yield Take(path, source, new, meta)
            return
        yield MakeDir(path, meta)
        if path == source:
            self.open.add(path)
        else:
            self.moved[source] = path
