"""The demo takes Docker where it can be had, says why it does not, and never changes under a demo that has begun."""

from __future__ import annotations

import socket
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from mux import demo, demo_runtime
from mux.demo_runtime import Choice, choose
from mux.supervisor import SupervisorError

NOWHERE = {"DOCKER_HOST": "unix:///nonexistent/docker.sock"}


@pytest.fixture
def engine() -> Iterator[dict[str, str]]:
    """Something that answers as an engine does when it is pinged; the environment that leads there."""
    with tempfile.TemporaryDirectory(prefix="mux-") as directory, socket.socket(socket.AF_UNIX) as listener:
        path = str(Path(directory) / "docker.sock")
        listener.bind(path)
        listener.listen()

        def answer() -> None:
            while True:
                try:
                    connection, _ = listener.accept()
                except OSError:
                    return
                with connection:
                    connection.recv(4096)
                    connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nOK")

        threading.Thread(target=answer, daemon=True).start()
        yield {"DOCKER_HOST": f"unix://{path}"}
        listener.shutdown(socket.SHUT_RDWR)


@pytest.fixture
def programs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A checkout whose images are built by a program of the test's, and a machine on which that is all allowed."""
    (tmp_path / "tools").mkdir()
    program = tmp_path / "tools" / "images"
    program.write_text("#!/bin/sh\necho images: building >&2\n")
    program.chmod(0o755)
    for name in ("iptables", "docker"):
        (tmp_path / name).write_text("#!/bin/sh\n")
        (tmp_path / name).chmod(0o755)
    monkeypatch.setattr(demo_runtime, "ROOT", tmp_path)
    monkeypatch.setattr("os.geteuid", lambda: 0)
    return program


def test_without_an_engine_auto_is_processes_and_says_why() -> None:
    assert choose("auto", None, NOWHERE) == Choice(
        "process", "no Docker engine answers at unix:///nonexistent/docker.sock"
    )
    assert "child processes" in str(choose("auto", None, NOWHERE))


def test_without_an_engine_docker_by_name_is_refused_with_the_reason() -> None:
    with pytest.raises(SupervisorError, match="cannot run on Docker: no Docker engine answers"):
        choose("docker", None, NOWHERE)
    with pytest.raises(SupervisorError, match="cannot run on Docker"):
        choose("auto", "docker", NOWHERE)


def test_an_engine_elsewhere_is_none_for_ships_of_this_machine() -> None:
    assert "not a Unix socket" in choose("auto", None, {"DOCKER_HOST": "tcp://192.0.2.1:2375"}).why


def test_with_an_engine_auto_is_docker_once_the_images_are_built(
    engine: dict[str, str], programs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    environ = {**engine, "PATH": f"{tmp_path}:/usr/bin:/bin"}
    assert choose("auto", None, environ) == Choice("docker", f"an engine answers at {engine['DOCKER_HOST']}")
    assert "building" in capsys.readouterr().err
    assert choose("process", None, environ).runtime == "process"
    assert choose("auto", "process", environ) == Choice("process", "this demo began with it")


def test_images_that_cannot_be_built_leave_processes_and_the_builds_last_line(
    engine: dict[str, str], programs: Path, tmp_path: Path
) -> None:
    programs.write_text("#!/bin/sh\necho images: there is no Debian >&2\nexit 1\n")
    environ = {**engine, "PATH": f"{tmp_path}:/usr/bin:/bin"}
    assert "(there is no Debian)" in choose("auto", None, environ).why


def test_only_root_gets_docker(
    engine: dict[str, str], programs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("os.geteuid", lambda: 1000)
    assert "only root" in choose("auto", None, {**engine, "PATH": str(tmp_path)}).why


def test_a_demo_that_has_begun_keeps_its_runtime(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    demo.lay_out(tmp_path, 8000, "process")
    assert demo.kept_runtime(tmp_path) is None, "nothing has run yet"
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "mux.db").touch()
    assert demo.kept_runtime(tmp_path) == "process"
    assert demo.run(tmp_path, runtime="docker") == 1
    assert "began with the runtime process" in capsys.readouterr().err
    demo.lay_out(tmp_path, 8000, "docker")
    assert demo.kept_runtime(tmp_path) == "docker"
    assert 'image = "mux/example"' in (tmp_path / "event.toml").read_text()
