"""Images in an engine, run by a real ship agent: what only containers can be told of, and that nothing stays."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from mux.imagecheck.check import Bounds, Result, check
from mux.imagecheck.errors import ImageCheckError
from mux.imagecheck.subject import Wishes, subject_of
from mux.preflight.finding import Finding
from tests.docker_engine import ROOT, Engine
from tests.images.conftest import build
from tests.ship_agent.images import SERVER
from tests.ship_agent.runtimes.docker_image import BASE, HOME, have_base
from tests.ship_agent.runtimes.docker_lab import COMMAND

START_S = 90.0
DOCKERFILE = f"""\
FROM {BASE}
COPY --chown=1000:100 home {HOME}
ENV HOME={HOME} PATH=/usr/local/bin:/usr/bin:/bin HOST=0.0.0.0
WORKDIR {HOME}
ENTRYPOINT ["start.sh"]
"""
BOUNDS = Bounds(START_S, silence_s=1.0)
WISHES = Wishes(kind="http", command=tuple(COMMAND))


class Desk:
    """An author's: directories with Dockerfiles, and the engine that builds them.

    Args:
        place: for directories.
        engine: which one.
    """

    def __init__(self, place: Path, engine: Engine) -> None:
        self.place = place
        self.environ = {"DOCKER_HOST": engine.host, "DOCKER_BUILDKIT": "0"}

    def lay_out(self, *lines: str) -> Path:
        """A directory; ``lines`` are further ones of its Dockerfile."""
        directory = self.place / "tutorial"
        (directory / "home").mkdir(parents=True)
        (directory / "home" / "server.py").write_text(SERVER)
        (directory / "Dockerfile").write_text(DOCKERFILE + "\n".join(lines) + "\n")
        return directory

    async def checked(
        self, directory: Path, wishes: Wishes = WISHES, bounds: Bounds = BOUNDS, **project: Any
    ) -> tuple[Result, dict[str, Finding]]:
        """A whole check, and its findings by what was looked at."""
        subject = await subject_of(str(directory), wishes, self.environ)
        ordered = (await subject.project(self.environ)).model_copy(update=project)
        result = await check(subject.runtime, ordered, bounds, lambda _: None)
        return result, {finding.check: finding for finding in result.findings}


@pytest.fixture
async def desk(docker_engine: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Desk]:
    """A desk; nothing of its checks stays on the disk and in the engine."""
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    monkeypatch.setenv("DOCKER_HOST", docker_engine.host)
    monkeypatch.setenv("TMPDIR", str(temporary))
    monkeypatch.setattr("tempfile.tempdir", None)
    have_base(docker_engine.host)
    before = things_in(docker_engine)
    yield Desk(tmp_path, docker_engine)
    assert list(temporary.iterdir()) == []
    assert things_in(docker_engine) <= before


def things_in(engine: Engine) -> set[str]:
    """Containers, networks and volumes."""
    found = {" ".join(each["Names"]) for each in engine.ask("GET", "/containers/json?all=1")}
    found |= {each["Name"] for each in engine.ask("GET", "/networks")}
    return found | {each["Name"] for each in engine.ask("GET", "/volumes")["Volumes"] or []}


async def test_a_container_is_told_with_user_size_memory_and_paths(desk: Desk) -> None:
    result, found = await desk.checked(desk.lay_out("USER jovyan"), health_path="api")
    # This server has nothing at its base path.
    assert found.pop("base path").outcome == "failure"
    assert found["user"].said == "jovyan (uid 1000)"
    assert found["image"].number and found["image"].number > 1 << 20
    assert found["memory"].number
    assert found["writable paths"].outcome == "warning"
    assert "mux.read-only=true" in found["writable paths"].remedy
    assert {name for name, finding in found.items() if finding.outcome != "ok"} == {"writable paths"}
    assert 'image = "mux-image/tutorial"' in result.toml


@pytest.mark.long
async def test_an_image_that_starts_as_root_or_whose_hook_fails_is_told(desk: Desk) -> None:
    result, found = await desk.checked(desk.lay_out("USER root"))
    assert (result.outcome, list(found)) == ("failure", ["user"])
    assert "give it a USER" in found["user"].said
    (desk.place / "tutorial" / "Dockerfile").write_text(
        f"{DOCKERFILE}COPY hook.sh /usr/local/bin/start-notebook.d/10-data.sh\nENV HOOKS_GO_ON=1\nUSER jovyan\n"
    )
    (desk.place / "tutorial" / "hook.sh").write_text("exit 4\n")
    # An image that goes on after a hook may be healthy before its log is read: then it is ended a moment later.
    result, found = await desk.checked(desk.place / "tutorial")
    assert found["hooks"].outcome == "failure", result
    assert "10-data.sh" in found["hooks"].said


@pytest.mark.long
async def test_a_build_that_fails_is_told_with_its_last_lines(desk: Desk) -> None:
    with pytest.raises(ImageCheckError, match="mend its Dockerfile") as told:
        await desk.checked(desk.lay_out("RUN echo so far so good && false"))
    assert any("so far so good" in line for line in told.value.detail)


@pytest.mark.long
async def test_an_example_is_well_and_what_it_writes_is_named(desk: Desk, docker_engine: Engine) -> None:
    build(docker_engine)
    directory = desk.place / "example"
    directory.mkdir()
    (directory / "Dockerfile").write_text(
        "FROM mux/example\nLABEL mux.read-only=false\nUSER root\nRUN mkdir /opt/w && chmod 777 /opt/w\n"
        'RUN echo "touch /opt/w/here" > /usr/local/bin/start-notebook.d/20-write.sh\nUSER 1000:100\n'
    )
    result, found = await desk.checked(directory, Wishes())
    assert {name for name, finding in found.items() if finding.outcome != "ok"} == {"writable paths"}, result
    assert found["writable paths"].said == "it writes outside its home: /opt/w/here"
    assert found["notebooks"].said.startswith("2 of 2 ran")


LESSON = json.dumps({"cells": [], "metadata": {}, "nbformat": 4, "nbformat_minor": 5})
BINDER = (
    "FROM mux/base",
    "ENV REPO_DIR=/home/jovyan",
    "COPY --chown=1000:100 home /home/jovyan",
    "RUN mkdir /home/jovyan/.jupyter && echo \"c.ServerApp.token = 'own'; c.ServerApp.base_url = '/own/'; "
    "c.ServerApp.certfile = '/none'; c.ServerApp.ip = 'localhost'; c.ServerApp.port = 9999\" "
    "> /home/jovyan/.jupyter/jupyter_server_config.py",
    'ENTRYPOINT ["env", "THROUGH=entrypoint"]',
    'CMD ["jupyter", "lab", "--ip", "127.0.0.1", "--ServerApp.token=own", "--LabApp.default_url=/lab/tree/x.ipynb"]',
)
"""As repo2docker and others make them, with settings that do not fit."""


@pytest.mark.long
@pytest.mark.parametrize(
    ("lines", "wrong"),
    [
        (BINDER, {}),
        ((*BINDER[:-2], "ENTRYPOINT exec jupyter lab --port=1234"), {}),
        ((*BINDER[:-2], "RUN echo 'jupyter lab --no-browser --port=8888' > /home/jovyan/run.sh",
          'ENTRYPOINT ["sh", "/home/jovyan/run.sh"]'), {}),
        ((*BINDER[:-2], "ENTRYPOINT []", "CMD jupyterhub-singleuser --port=80"), {}),
        ((*BINDER, "USER root", "RUN mkdir /srv/lessons", "USER 1000",
          'CMD ["jupyter", "lab", "--notebook-dir=/srv/lessons"]'),
         {"saving": "Jupyter cannot save where it starts: "}),
        ((*BINDER, "LABEL mux.read-only=false", "USER root", "RUN mkdir -m 777 /srv/lessons", "USER 1000",
          'CMD ["jupyter", "lab", "--notebook-dir=/srv/lessons"]'), {"saving": "lies outside the home"}),
        ((*BINDER[:-2], "ENTRYPOINT exec $(echo jupyter) lab --ip=127.0.0.1 --port=8890 --ServerApp.certfile="),
         {"health path": "nothing listens on port 8888, but on 127.0.0.1:8890"}),
        ((*BINDER[:-2], "ENV NOTEBOOK_ARGS=--IdentityProvider.token=own"),
         {"token": "/camp/tutorial/api/contents with it is answered with 403"}),
    ],
    ids=["settings", "shell", "script", "hub", "unwritable", "outside", "deaf", "token"],
)  # fmt: skip
async def test_an_image_of_others_runs_or_is_told_what_to_change(
    lines: Sequence[str], wrong: Mapping[str, str], desk: Desk, docker_engine: Engine
) -> None:
    build(docker_engine, ROOT / "images/base")
    directory = desk.lay_out()
    (directory / "home" / "lesson.ipynb").write_text(LESSON)
    (directory / "Dockerfile").write_text("\n".join(lines) + "\n")
    bounds = Bounds(8.0 if "health path" in wrong else START_S, silence_s=1.0)
    result, found = await desk.checked(directory, Wishes(), bounds)
    failures = {finding.check: finding.said for finding in result.findings if finding.outcome == "failure"}
    assert failures.keys() == wrong.keys(), result
    assert all(said in failures[check] for check, said in wrong.items()), failures
    assert wrong or found["notebooks"].said.startswith("1 of 1 ran")
