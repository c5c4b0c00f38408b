"""The plan alone: its promises over arbitrary trees."""

from __future__ import annotations

import contextlib
from random import Random

from hypothesis import given, settings
from hypothesis import strategies as st

from ship_agent.files.merge import KEPT_PREFIX, Keep, MakeDir, Take, plan, plan_reset
from ship_agent.files.names import NAME_BYTES_MAX, beside, label_of, numbered
from ship_agent.files.trees import Entry, Meta, Tree, from_json, joined, parent_of, same, to_json

FILES = [Entry("file", Meta(mode, 0, 0), 1, content) for content in "123" for mode in (0o644, 0o600)]
LINKS = [Entry("link", Meta(0o777, 0, 0), target=target) for target in (b"a", b"\xff")]
DIRECTORIES = [Entry("dir", Meta(mode, 0, 0)) for mode in (0o755, 0o700)]
LEAVES = [*FILES, *LINKS]


NAMES = b"a", b"b.x", b"c", b"a.new-n", b"b.new-n.x", b"a.new-n-2", b"before-reset"
"""Those of copies, too: an image or an attendee may have files of such names."""


def tree_of(dice: Random, above: bytes = b"", depth: int = 0) -> dict[bytes, Entry]:
    """A small tree on few names, so that three of them have much in common."""
    tree: dict[bytes, Entry] = {}
    for name in NAMES if depth == 0 else NAMES[:3]:
        what = dice.choice(["nothing", "leaf", "dir"] if depth < 2 else ["nothing", "leaf"])
        path = joined(above, name)
        if what == "leaf":
            tree[path] = dice.choice(LEAVES)
        elif what == "dir":
            tree[path] = dice.choice(DIRECTORIES)
            tree |= tree_of(dice, path, depth + 1)
    return tree


trees = st.integers(0, 1 << 32).map(lambda seed: tree_of(Random(seed)))
"""By a seed, which a failure shows: drawn one by one, most of the time would go into drawing."""


def result(old: Tree, mine: Tree, new: Tree) -> dict[bytes, Entry]:
    """What a plan makes. Every parent is there before what is in it, and no path comes twice."""
    made: dict[bytes, Entry] = {}
    for action in plan(old, mine, new, "n").actions:
        above = parent_of(action.path)
        assert not above or made[above].kind == "dir"
        assert action.path not in made
        match action:
            case MakeDir(path, meta):
                made[path] = Entry("dir", meta)
            case Keep(path, source):
                assert mine[source].kind != "dir"
                made[path] = mine[source]
            case Take(path, source, entry, meta):
                assert new[source] == entry
                made[path] = Entry(entry.kind, meta, entry.size, entry.content, entry.target)
    return made


@settings(max_examples=300, deadline=None)
@given(trees, trees, trees)
def test_nothing_that_was_changed_is_lost_and_nothing_untouched_stays_old(old: Tree, mine: Tree, new: Tree) -> None:
    made = result(old, mine, new)
    for path, entry in mine.items():
        if not same(old.get(path), entry):
            assert same(made.get(path), entry), path
        elif entry.kind != "dir":
            there = made.get(path)
            assert there is None or same(there, new.get(path)), path
    for path, entry in made.items():
        # Nothing comes from nowhere: it is the attendee's or the image's, beside included.
        assert same(entry, mine.get(path)) or same(entry, new.get(path)) or b".new-n" in path, path
        if path in old and path not in mine:
            assert b".new-n" in path, "what was deleted came back"


@settings(max_examples=300, deadline=None)
@given(trees, trees, trees)
def test_what_was_changed_is_there_after_the_next_image_and_the_one_before(old: Tree, mine: Tree, new: Tree) -> None:
    for later in (old, new, {}):
        made = result(plan(old, mine, new, "n").base, result(old, mine, new), later)
        for path, entry in mine.items():
            if entry.kind != "dir" and not same(old.get(path), entry):
                assert same(made.get(path), entry), path


@settings(max_examples=100, deadline=None)
@given(trees, trees)
def test_who_changed_nothing_gets_the_image(old: Tree, new: Tree) -> None:
    assert result(old, old, new) == new
    assert result({}, {}, new) == new


@settings(max_examples=100, deadline=None)
@given(trees, trees)
def test_an_image_that_changed_nothing_changes_nothing(old: Tree, mine: Tree) -> None:
    made = result(old, mine, old)
    for path, entry in mine.items():
        assert same(made.get(path), entry)
    assert made.keys() == mine.keys()


@settings(max_examples=300, deadline=None)
@given(trees, trees, trees)
def test_what_both_changed_is_there_in_both_versions(old: Tree, mine: Tree, new: Tree) -> None:
    made = result(old, mine, new)
    for path, entry in new.items():
        there = mine.get(path)
        if there is None or "dir" in (there.kind, entry.kind) or same(old.get(path), there):
            continue
        above = path
        while (above := parent_of(above)) and all(above in tree and tree[above].kind == "dir" for tree in (mine, new)):
            continue
        if not above and not same(old.get(path), entry) and not same(there, entry):
            beside = [made[each] for each in made if b".new-n" in each and parent_of(each) == parent_of(path)]
            assert any(same(each, entry) for each in beside), path


@settings(max_examples=100, deadline=None)
@given(trees, trees, trees)
def test_a_version_is_not_put_beside_a_file_twice(old: Tree, mine: Tree, new: Tree) -> None:
    made, base = result(old, mine, new), plan(old, mine, new, "n").base
    for later in (old, new, old, new):
        before, made, base = made, result(base, made, later), plan(base, made, later, "n").base
    later = result(base, made, old)
    assert later.keys() == before.keys()


@settings(max_examples=200, deadline=None)
@given(trees, trees, trees)
def test_a_reset_is_the_image_and_everything_that_was_changed(old: Tree, mine: Tree, new: Tree) -> None:
    kept_in = numbered(KEPT_PREFIX, lambda name: name in mine or name in new)
    made: dict[bytes, MakeDir | Keep | Take] = {}
    for action in plan_reset(old, mine, new, kept_in).actions:
        above = parent_of(action.path)
        assert not above or isinstance(made[above], MakeDir)
        assert action.path not in made
        made[action.path] = action
    assert {path for path in made if not path.startswith(KEPT_PREFIX)} == {
        path for path in new if not path.startswith(KEPT_PREFIX)
    }
    assert set(new) <= set(made)
    for path, entry in mine.items():
        if not same(old.get(path), entry):
            kept = [made.get(path), made.get(joined(kept_in, path))]
            assert any(isinstance(each, MakeDir if entry.kind == "dir" else Keep) for each in kept), path


@given(trees)
def test_a_tree_is_written_down_and_read_back(tree: Tree) -> None:
    assert from_json(to_json(tree)) == tree


def test_labels() -> None:
    digest = "sha256:0123456789abcdef"
    assert label_of("registry.example.org:5000/intro:fix7", digest) == "fix7"
    assert label_of("registry.example.org:5000/intro", digest) == "01234567"
    assert label_of(f"intro:fix7@{digest}", digest) == "fix7"
    assert label_of("/srv/images/intro", digest) == "01234567"
    assert label_of("intro:a:b", digest) == "a-b"


@given(st.binary(min_size=1, max_size=NAME_BYTES_MAX) | st.text("aä€😀.", min_size=1, max_size=80).map(str.encode))
def test_a_name_beside_fits_and_is_text_if_it_was_text(name: bytes) -> None:
    name = name[:NAME_BYTES_MAX].replace(b"/", b"_").replace(b"\0", b"_")
    made, is_text = beside(name, "new-fix7", lambda _: False), False
    assert len(made) <= NAME_BYTES_MAX
    assert b".new-fix7" in made
    with contextlib.suppress(UnicodeDecodeError):
        name.decode()
        is_text = True
    assert not is_text or made.decode()
