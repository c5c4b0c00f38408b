"""An image by the contract of the RISECamp tutorials behind the data plane: the project kind ``camp``."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest

from tests.docker_engine import ROOT, Engine
from tests.images.conftest import build

pytestmark = pytest.mark.timeout(700)

CAPABILITIES = ("CHOWN", "DAC_OVERRIDE", "FOWNER", "KILL", "SETGID", "SETUID")
START_S_MAX = 180.0
TOKEN = "cafe" * 8
FLAGS = "--NotebookApp.allow_origin='*' --NotebookApp.allow_remote_access=True"
ASK = """\
import http.client, sys
connection = http.client.HTTPConnection("127.0.0.1", 8080)
connection.request("GET", sys.argv[1], headers={"Host": "camp.test:8000", "Authorization": "token " + sys.argv[2]})
answer = connection.getresponse()
print(answer.status, answer.getheader("Location", ""))
"""


@pytest.fixture(scope="module")
def camp(built: Engine) -> Iterator[str]:
    """The id of a container of the camp image, started as a ship starts one with root allowed."""
    build(built, ROOT / "tests/images/camp")
    container = built.run_docker(
        "run", "--detach", "--cap-drop=ALL", *(f"--cap-add={name}" for name in CAPABILITIES),
        "--security-opt=no-new-privileges", "--network=none", "--init",
        "--env=CONTAINER_BASE_URL=camp/spark", f"--env=CONTAINER_AUTH_TOKEN={TOKEN}", f"--env=NOTEBOOK_FLAGS={FLAGS}",
        "--env=CAMP_HOST=camp.test:8000", "mux/camp",
    )  # fmt: skip
    try:
        deadline = time.monotonic() + START_S_MAX
        while ask(built, container, "/camp/spark/jupyter/api") != "200":
            assert time.monotonic() < deadline, built.run_docker("logs", container)
            time.sleep(0.2)
        yield container
    finally:
        built.run_docker("rm", "--force", container)


def ask(engine: Engine, container: str, path: str) -> str:
    try:
        return engine.run_docker("exec", container, "python", "-c", ASK, path, TOKEN)
    except AssertionError:
        return "no answer"


def test_the_image_keeps_the_contract(built: Engine, camp: str) -> None:
    assert ask(built, camp, "/") == "404"
    assert ask(built, camp, "/camp/spark/") == "404"
    assert ask(built, camp, "/camp/spark") == "302 http://camp.test:8080/camp/spark/jupyter/lab"
    assert ask(built, camp, "/camp/spark/jupyter/api/contents/tutorial.txt") == "200"


def test_root_is_left_behind_by_the_notebook(built: Engine, camp: str) -> None:
    users = built.run_docker("exec", camp, "bash", "-c", "stat -c '%U %n' /proc/[0-9]*; cat /proc/[0-9]*/cmdline")
    assert TOKEN not in users
    notebook = built.run_docker(
        "exec", camp, "bash", "-c", "stat -c %U $(dirname $(grep -l jupyter-lab /proc/[0-9]*/comm))"
    )
    assert notebook == "jovyan"
