"""Links in the documentation lead somewhere, every page is in its index, and nothing in the tree names a registry."""

from __future__ import annotations

import re
import subprocess
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
KINDS = ("tutorial", "how-to", "reference", "explanation", "decisions")
LINK = re.compile(r"\]\(([^)\s]+)\)")


def tracked(*patterns: str) -> list[Path]:
    """Files that are, or are about to be, in the repository."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard", *patterns],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    return sorted(path for name in listed.stdout.split("\0") if name and (path := ROOT / name).is_file())


def anchors(page: Path) -> set[str]:
    """The anchors that a Markdown page's headings make."""
    headings = re.findall(r"^#+ +(.+)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def name_of(path: Path) -> str:
    return str(path.relative_to(ROOT))


@pytest.mark.parametrize("page", tracked("*.md"), ids=name_of)
def test_every_relative_link_leads_somewhere(page: Path) -> None:
    broken = []
    for target in LINK.findall(page.read_text(encoding="utf-8")):
        if re.match(r"[a-z]+:", target):
            continue
        path, _, anchor = target.partition("#")
        file = (page.parent / path).resolve() if path else page
        if not file.exists() or (anchor and anchor not in anchors(file)):
            broken.append(target)
    assert broken == []


@pytest.mark.parametrize("kind", KINDS)
def test_every_page_is_in_the_index_of_its_kind(kind: str) -> None:
    index = ROOT / "docs" / kind / "README.md"
    pages = {path.name for path in tracked(f"docs/{kind}/*.md")} - {"README.md"}
    listed = {target for target in LINK.findall(index.read_text(encoding="utf-8")) if "/" not in target}
    assert listed == pages


def test_decisions_have_a_number_each_and_their_headings() -> None:
    notes = [path for path in tracked("docs/decisions/*.md") if path.name != "README.md"]
    numbers = [path.name[:4] for path in notes]
    assert all(re.fullmatch(r"\d{3}-", number) for number in numbers)
    assert len(set(numbers)) == len(numbers)
    wanted = {"context", "choice", "what-was-measured", "what-would-change-it"}
    assert {path.name: wanted - anchors(path) for path in notes if wanted - anchors(path)} == {}


def test_every_dependency_has_its_reason() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    names = {re.split(r"[\[<>=;! ]", line, maxsplit=1)[0] for line in project["dependencies"]}
    rows = re.findall(r"^\| `([^`]+)` \|", (ROOT / "docs/reference/dependencies.md").read_text("utf-8"), re.MULTILINE)
    assert sorted(rows) == sorted(names)


def test_no_file_but_the_lock_names_a_package_registry() -> None:
    hosts = [".".join(parts) for parts in (("pypi", "org"), ("pythonhosted", "org"), ("npmjs", "org"))]
    found = []
    for path in tracked():
        if path.name in {"uv.lock", "LICENSE"} or path.suffix in {".png", ".woff2"}:
            continue
        text = path.read_text(encoding="utf-8", errors="replace")
        found += [(name_of(path), host) for host in hosts if host in text]
    assert found == []
