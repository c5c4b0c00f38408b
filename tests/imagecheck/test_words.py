"""What is suggested, what is said, and what an author is told who points to nothing."""

from __future__ import annotations

import os
import sys
import tomllib
from pathlib import Path

import pytest

from mux.cli.app import run
from mux.imagecheck.limits import Suggested, snippet, suggested
from mux.imagecheck.subject import Wishes, project_name, subject_of
from mux.imagecheck.words import ended, never_healthy, saving, start, token
from ship_agent.gauges import SCRATCH, listened_on, written_outside
from ship_agent.protocol.trial import TrialClosed, TrialEnded
from tests.ship_agent.images import make_image, project_of

MIB = 1 << 20


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("Deep Learning 101", "deep-learning-101"),
        ("intro", "intro"),
        ("--", "image"),
        ("Ä", "image"),
        ("x" * 40, "x" * 31),
    ],
)
def test_a_project_is_named_after_its_directory(text: str, name: str) -> None:
    assert project_name(text) == name


@pytest.mark.parametrize(
    ("peak", "processes", "limits"),
    [
        (0, 0, Suggested(512 * MIB, 256)),
        (500 * MIB, 100, Suggested(768 * MIB, 256)),
        (512 * MIB, 129, Suggested(768 * MIB, 320)),
        (513 * MIB, 500, Suggested(896 * MIB, 1024)),
    ],
)
def test_suggested_limits_leave_room(peak: int, processes: int, limits: Suggested) -> None:
    assert suggested(peak, processes) == limits


def test_the_snippet_is_a_project_of_an_event_file(tmp_path: Path) -> None:
    project = project_of(make_image(tmp_path / "image"), allow=["root"], command=["a", "b c"], port=8050)
    assert tomllib.loads(snippet(project, Suggested(768 * MIB, 320))) == {
        "project": [
            {
                "name": "intro",
                "image": str(tmp_path / "image"),
                "kind": "http",
                "port": 8050,
                "health_path": "api",
                "memory": "768MiB",
                "pids": 320,
                "command": ["a", "b c"],
                "allow": ["root"],
            }
        ]
    }


def test_only_what_is_written_outside_home_and_scratch_is_named() -> None:
    paths = ["/lib/m", "/lib/m/__pycache__", "/lib/m/__pycache__/a.pyc", "/opt", "/opt/app", "/opt/app/cache"]
    paths += ["/home", "/home/jovyan", "/home/jovyan/x", "/tmp/y", "/tmpfile"]
    assert written_outside([*paths, "/run/z", "/var", "/var/log"], ("/home/jovyan", *SCRATCH)) == [
        "/opt/app/cache",
        "/tmpfile",
        "/var/log",
    ]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["./nowhere"], "./nowhere: there is no such directory; name one, or an image"),
        (["EMPTY"], "there is neither a Dockerfile nor a directory home/"),
        (["EMPTY", "--runtime", "docker"], "there is no Dockerfile to build"),
        (["some/image:1", "--runtime", "process"], "the runtime process takes no other image"),
        (["some/image:1"], "no Docker engine answers at unix:///nowhere/docker.sock"),
        (["FULL", "--memory", "1 potato"], "1 potato"),
    ],
)
def test_what_cannot_be_tried_is_said_in_a_line(
    words: list[str],
    said: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("DOCKER_HOST", "unix:///nowhere/docker.sock")
    (tmp_path / "empty").mkdir()
    (tmp_path / "full" / "home").mkdir(parents=True)
    words = [str(tmp_path / word.lower()) if word.isupper() else word for word in words]
    assert run(["image", "check", *words]) == 2
    lines = capsys.readouterr().err.splitlines()
    assert said in lines[0]
    assert lines[0].startswith("mux: ")
    assert not [line for line in lines if "Traceback" in line]


async def test_a_directory_without_a_dockerfile_is_a_directory_image(tmp_path: Path) -> None:
    image = make_image(tmp_path / "My Tutorial")
    subject = await subject_of(
        str(image), Wishes(kind="http", memory="2GiB", port=8050, command=("sleep", "{port}")), {}
    )
    project = await subject.project(os.environ)
    assert (subject.runtime, project.name, project.memory_bytes, project.port) == (
        "process",
        "my-tutorial",
        2 << 30,
        8050,
    )
    assert project.digest == project_of(image).digest


TCP = """\
  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 0100007F:22BA 00000000:0000 0A 00000000:00000000 00:00000000 00000000  1000        0 1 1 0 100 0 0 10 0
   1: 0100007F:22BA 0100007F:9C40 01 00000000:00000000 00:00000000 00000000  1000        0 2 1 0 100 0 0 10 0
"""
TCP6 = """\
  sl  local_address                         remote_address                        st
   0: 00000000000000000000000001000000:22B8 00000000000000000000000000000000:0000 0A 0
"""


@pytest.mark.skipif(sys.byteorder != "little", reason="these tables are of a machine of the other byte order")
def test_what_listens_is_read_of_the_kernels_tables() -> None:
    assert listened_on(TCP) == [("127.0.0.1", 8890)]
    assert listened_on(TCP6) == [("::1", 8888)]


@pytest.mark.parametrize(
    ("status", "listening", "said"),
    [
        (None, [], "nothing answers"),
        (None, ["127.0.0.1:8888"], "it listens on 127.0.0.1:8888 alone, out of reach"),
        (None, ["0.0.0.0:8890"], "nothing listens on port 8888, but on 0.0.0.0:8890"),
        (None, ["0.0.0.0:8888", "127.0.0.1:99"], "no HTTP answer comes from 0.0.0.0:8888"),
        (404, ["0.0.0.0:8888"], "the answer is 404"),
    ],
)
def test_a_server_that_does_not_answer_is_told_by_where_it_listens(
    status: int | None, listening: list[str], said: str
) -> None:
    closed = TrialClosed(
        memory_peak_bytes=0, processes_peak=0, token_in_log=False, hook="", changed=None, keeps=False,
        listening=listening, log_tail="",
    )  # fmt: skip
    hint = never_healthy(9.0, "/camp/x/api", status, closed, 8888, kind="http").remedy
    assert ("--project-port 8890" in hint) is ("8890" in said)
    told = never_healthy(9.0, "/camp/x/api", status, closed, 8888, kind="http", may_insist=False).remedy
    assert "--project-port" not in told
    assert ("{port}" in hint) is ("8890" in said)
    assert (
        never_healthy(9.0, "/camp/x/api", status, closed, 8888, kind="jupyter").said == f"/camp/x/api: {said} after 9 s"
    )


def test_a_health_path_that_is_dear_to_answer_is_told() -> None:
    _, cheap, _ = start(3.0, 90.0, "/camp/x/", 200, 0.1)
    _, dear, _ = start(3.0, 90.0, "/camp/x/", 200, 1.4)
    assert (cheap.outcome, dear.outcome) == ("ok", "warning")
    assert dear.said == "/camp/x/ takes 1.4 s to answer, and a ship asks every 3 s"
    assert "--health-path" in dear.remedy


async def test_a_health_path_of_ones_own_is_the_projects(tmp_path: Path) -> None:
    image = make_image(tmp_path / "image")
    subject = await subject_of(str(image), Wishes(kind="http", command=("a",), health_path="static/x.js"), {})
    project = await subject.project(os.environ)
    assert project.health_path == "static/x.js"
    assert 'health_path = "static/x.js"' in snippet(project, Suggested(512 * MIB, 256))


HTTP_ANSWERS = [(200, ""), (302, "/x/hello?next=login"), (302, "./login?to="), (401, "")]
"""Statuses and places that an application answers with, which knows no token."""


def test_a_token_that_is_refused_and_files_that_do_not_stay_are_failures() -> None:
    assert [token(403, "/x", with_it).outcome for with_it in (200, 403)] == ["ok", "failure"]
    assert token(200, "/x", 200).outcome == "warning"
    http = [token(200, "/x/", status, kind="http", leads=leads).outcome for status, leads in HTTP_ANSWERS]
    assert http == ["ok", "ok", "failure", "failure"]
    assert [saving("", keeps=keeps).outcome for keeps in (True, False)] == ["ok", "failure"]
    assert "403 no" in saving("403 no", keeps=False).said


def test_an_image_whose_user_may_not_write_is_told_what_to_do() -> None:
    denied = TrialEnded(code="exited", detail="exited with code 1", log_tail="PermissionError: Permission denied: '/x'")
    assert "chown" in ended(denied, "").remedy
    assert ended(TrialEnded(code="exited", detail="exited with code 1"), "").remedy == "see the log below"
