"""`mux image check` judges notebooks as nbclient does, which runs them in CI everywhere: decision 010."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import nbformat
import pytest
from jupyter_client.kernelspec import NoSuchKernel
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError, CellTimeoutError, DeadKernelError

from mux.imagecheck.check import Bounds, check
from mux.imagecheck.subject import Wishes, subject_of

pytestmark = [pytest.mark.long, pytest.mark.timeout(600)]
CELL_S = 20.0
"""Far longer than any cell but one."""

Cell = str | tuple[str, str]
"""Source, and a tag."""
NOTEBOOKS: dict[str, tuple[Cell, ...]] = {
    "runs": ("x = 41", "", "assert x + 1 == 42"),
    "raises": ("1", "1 / 0", "2"),
    "does-not-parse": ("for",),
    "is-expected-to-raise": (("1 / 0", "raises-exception"), "2"),
    "is-skipped": (("1 / 0", "skip-execution"), "2"),
    "asks": ("input('Your name? ')",),
    "exits": ("raise SystemExit(3)", "2"),
    "is-interrupted": ("raise KeyboardInterrupt",),
    "dies": ("import os; os._exit(3)",),
    "hangs": ("import time; time.sleep(1000)",),
    "awaits": ("import asyncio; await asyncio.sleep(0)",),
    "uses-magics": ("%%time\n1", "%matplotlib --list", "!true"),
    "has-wrong-magics": ("%no_such_magic",),
    "prints-much": ("for _ in range(200): print('x' * 50_000)",),
    "updates-what-it-shows": ("shown = display(1, display_id=True)", "shown.update(2)"),
    "talks-to-its-page": ("from comm import create_comm\ncreate_comm(target_name='counted', data={}).send({'a': 1})",),
    "runs-threads": ("import threading\nthreading.Thread(target=lambda: print('late')).start()", "2"),
}
UNKNOWN_KERNEL = "wants-another-kernel"


def notebook(cells: tuple[Cell, ...], kernel: str = "python3") -> Any:
    """A notebook of code cells."""
    pairs = [(cell, "") if isinstance(cell, str) else cell for cell in cells]
    return nbformat.v4.new_notebook(  # type: ignore[no-untyped-call]
        cells=[
            nbformat.v4.new_code_cell(source, metadata={"tags": [tag]} if tag else {})  # type: ignore[no-untyped-call]
            for source, tag in pairs
        ],
        metadata={"kernelspec": {"name": kernel, "display_name": kernel, "language": "python"}},
    )


async def by_nbclient(path: Path) -> str:
    """What stops a notebook, by nbclient's word; empty if nothing does."""
    content = nbformat.read(path, as_version=4)  # type: ignore[no-untyped-call]
    client = NotebookClient(content, timeout=CELL_S, resources={"metadata": {"path": str(path.parent)}})
    try:
        await client.async_execute()
    except CellExecutionError as error:
        return str(error.ename)
    except CellTimeoutError:
        return "too long"
    except DeadKernelError:
        return "dead"
    except NoSuchKernel:
        return "no kernel"
    return ""


def by_check(said: str) -> str:
    """The same, of a finding's words."""
    if found := re.search(r"code cell \d+ fails: (\w+)", said):
        return found[1]
    for words, verdict in (("takes longer", "too long"), ("died", "dead"), ("cannot be started", "no kernel")):
        if words in said:
            return verdict
    return said


async def test_a_check_finds_in_each_notebook_what_nbclient_finds(tmp_path: Path) -> None:
    home = tmp_path / "image" / "home"
    home.mkdir(parents=True)
    for name, cells in NOTEBOOKS.items():
        nbformat.write(notebook(cells), home / f"{name}.ipynb")  # type: ignore[no-untyped-call]
    nbformat.write(notebook(("1",), "no-such-kernel"), home / f"{UNKNOWN_KERNEL}.ipynb")  # type: ignore[no-untyped-call]
    expected = {path.name: await by_nbclient(path) for path in sorted(home.iterdir())}

    subject = await subject_of(str(home.parent), Wishes(memory="4GiB"), {})
    result = await check("process", await subject.project({}), Bounds(300.0, 0.0, CELL_S), lambda _: None)
    found = [finding.said.partition(": ") for finding in result.findings if finding.check == "notebooks"]
    verdicts = dict.fromkeys(expected, "") | {name: by_check(said) for name, _, said in found}
    assert verdicts == expected
    assert sorted(filter(None, expected.values()))[-2:] == ["no kernel", "too long"]
