"""Every example tutorial is what `docs/reference` says an image is, and its notebooks run from top to bottom."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

IMAGES = Path(__file__).parents[2] / "images"
EXAMPLES = sorted(path for path in IMAGES.iterdir() if (path / "home").is_dir())
NOTEBOOKS = sorted(path for example in EXAMPLES for path in (example / "home").rglob("*.ipynb"))


def name_of(path: Path) -> str:
    return str(path.relative_to(IMAGES))


def test_there_are_two_examples_with_two_notebooks_each() -> None:
    assert [name_of(path) for path in EXAMPLES] == ["example", "example-stats"]
    assert len(NOTEBOOKS) == 4


@pytest.mark.parametrize("path", NOTEBOOKS, ids=name_of)
def test_a_notebook_is_valid_and_carries_no_results(path: Path) -> None:
    notebook = nbformat.read(path, as_version=nbformat.NO_CONVERT)  # type: ignore[no-untyped-call]
    nbformat.validate(notebook)
    ids = [cell["id"] for cell in notebook.cells]
    assert len(set(ids)) == len(ids)
    code = [cell for cell in notebook.cells if cell["cell_type"] == "code"]
    assert code
    assert all(cell["outputs"] == [] and cell["execution_count"] is None for cell in code)


@pytest.mark.parametrize("path", NOTEBOOKS, ids=name_of)
async def test_a_notebook_runs_from_top_to_bottom(path: Path, tmp_path: Path) -> None:
    home = tmp_path / "home"
    shutil.copytree(path.parent, home)
    (tmp_path / "ipython").mkdir()
    environment = os.environ | {"HOME": str(home), "IPYTHONDIR": str(tmp_path / "ipython")}
    notebook = nbformat.read(home / path.name, as_version=4)  # type: ignore[no-untyped-call]
    client = NotebookClient(notebook, timeout=60, resources={"metadata": {"path": str(home)}})
    await client.async_execute(env=environment)
    outputs = [output for cell in notebook.cells if cell["cell_type"] == "code" for output in cell["outputs"]]
    assert any("image/svg+xml" in output.get("data", {}) for output in outputs)
    assert not [output for output in outputs if output["output_type"] == "error" or output.get("name") == "stderr"]


@pytest.mark.parametrize("path", NOTEBOOKS, ids=name_of)
def test_links_between_notebooks_lead_somewhere(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    targets = [part.split(")")[0] for part in text.split("](")[1:]]
    assert all((path.parent / target).exists() for target in targets)


@pytest.mark.parametrize("example", EXAMPLES, ids=name_of)
class TestHook:
    """`start-notebook.d`: runs before the server, and fails where the data is not what the notebooks need."""

    def run(self, example: Path, home: Path) -> subprocess.CompletedProcess[str]:
        (hook,) = (example / "start-notebook.d").iterdir()
        assert os.access(hook, os.X_OK)
        return subprocess.run(
            [str(hook)], env=os.environ | {"HOME": str(home)}, capture_output=True, text=True, check=False
        )

    def test_it_passes_on_a_fresh_copy(self, example: Path, tmp_path: Path) -> None:
        home = tmp_path / "home with spaces"
        shutil.copytree(example / "home", home)
        done = self.run(example, home)
        assert (done.returncode, done.stderr) == (0, "")

    def test_it_fails_without_the_data(self, example: Path, tmp_path: Path) -> None:
        done = self.run(example, tmp_path)
        assert done.returncode == 1
        assert "is missing or cannot be read" in done.stderr

    def test_it_fails_on_an_empty_table(self, example: Path, tmp_path: Path) -> None:
        home = tmp_path / "home"
        shutil.copytree(example / "home", home)
        (table,) = (home / "data").glob("*.csv")
        table.write_text("only,a,header\n", encoding="utf-8")
        done = self.run(example, home)
        assert done.returncode == 1
        assert "has no rows" in done.stderr
