"""How images of all kinds start their Jupyter, and what they are started with here."""

from __future__ import annotations

import subprocess
from collections.abc import Sequence

import pytest

from ship_agent.protocol.messages import Project
from ship_agent.runtimes.base import RuntimeFailure, WorkspaceSpec
from ship_agent.runtimes.docker_command import ANY_JUPYTER, Start, start_of
from ship_agent.runtimes.docker_spec import environment
from ship_agent.runtimes.image_config import Image, image_of
from ship_agent.runtimes.jupyter_words import jupyter_words


def image(**config: object) -> Image:
    """An image by what the engine says of it."""
    return image_of({"Id": "sha256:1", "Config": config})


def spec(**project: object) -> WorkspaceSpec:
    """A workspace of the project ``intro``."""
    described = Project.model_validate(
        {"name": "intro", "image": "intro", "digest": f"sha256:{'0' * 64}", "base_path": "/camp/intro/", **SIZES}
        | project
    )
    return WorkspaceSpec(
        id="w", seat=0, project=described, digest=described.digest, port=20000, token="t" * 32, epoch=0
    )


SIZES = {
    "kind": "jupyter",
    "command": [],
    "environment": {},
    "health_path": "api",
    "port": 8888,
    "memory_bytes": 1 << 30,
    "cpus": 1.0,
    "pids": 256,
    "shm_bytes": 64 << 20,
}


def shell(text: str) -> list[str]:
    return ["/bin/sh", "-c", text]


@pytest.mark.parametrize(
    ("words", "found"),
    [
        (["start-notebook.sh"], ["start-notebook.sh"]),
        (["start-notebook"], ["start-notebook"]),
        (["tini", "--", "/usr/local/bin/start-notebook.py", "--ServerApp.port=80"],
         ["tini", "--", "/usr/local/bin/start-notebook.py"]),
        (["jupyter", "notebook", "--ip", "0.0.0.0"], ["jupyter", "notebook"]),
        (["/opt/conda/bin/jupyter-lab", "--no-browser", "--notebook-dir=/srv/x", "--allow-root"],
         ["/opt/conda/bin/jupyter-lab", "--notebook-dir=/srv/x"]),
        (["start.sh", "jupyter", "lab", "--LabApp.token=", "--collaborative", "--NotebookApp.base_url", "/x"],
         ["start.sh", "jupyter", "lab", "--collaborative"]),
        (["python3", "-m", "jupyterlab", "--port=1", "--LabApp.default_url=/tree"],
         ["python3", "-m", "jupyterlab", "--LabApp.default_url=/tree"]),
        (["python3", "-m", "jupyter", "lab"], ["python3", "-m", "jupyter", "lab"]),
        (shell("jupyter lab --ip 0.0.0.0 --NotebookApp.token='' 2>&1"), [*shell('jupyter lab "$@"'), "sh"]),
        (["bash", "-lc", ". activate e && jupyter lab build && exec jupyter notebook --notebook-dir=$HOME/a; true"],
         ["bash", "-lc",
          '. activate e && jupyter lab build && exec jupyter notebook "--notebook-dir=$HOME/a" "$@"', "bash"]),
        (shell('exec bash -lc "conda activate e && jupyter lab --ip=0.0.0.0"'),
         ["bash", "-lc", 'conda activate e && jupyter lab "$@"', "bash"]),
        (shell("[ -f x ] && (cd y; make); { true; } && if a; then b; fi; jupyter lab --debug"),
         [*shell('[ -f x ] && (cd y; make); { true; } && if a; then b; fi; jupyter lab --debug "$@"'), "sh"]),
        (shell("echo done && x=$(id -u) y=${HOME#/} jupyter lab"),
         [*shell('echo done && x=$(id -u) y=${HOME#/} jupyter lab "$@"'), "sh"]),
        (shell('su jovyan -c "jupyter lab --ip=0.0.0.0"'), None),
        (shell("bash -c 'jupyter lab' && true"), None),
        (shell("(jupyter lab --ip=0.0.0.0)"), None),
        (shell("if true; then jupyter lab; fi"), None),
        (shell("jupyter lab --ip=$(hostname -i | cut -d' ' -f1) --no-browser"), [*shell('jupyter lab "$@"'), "sh"]),
        (shell('jupyter lab --ip `hostname -i` --notebook-dir=$(dirname "/a b/c") & wait'),
         [*shell('jupyter lab "--notebook-dir=$(dirname "/a b/c")" "$@"'), "sh"]),
        (["jupyter", "lab", "--ServerApp.open_browser", "False", "-y", "notes.ipynb"],
         ["jupyter", "lab", "notes.ipynb"]),
        (shell("jupyter lab \0" + "7\0"), None),
        (["tini", "--", "/opt/conda/bin/jupyterhub-singleuser", "--port=80", "--debug"],
         ["tini", "--", "/opt/conda/bin/jupyter", "lab", "--debug"]),
        (["jupyter", "labhub"], ["jupyter", "lab"]),
        (["start-singleuser.sh"], ["start-notebook.sh"]),
        (shell("conda activate e && jupyterhub-singleuser --ip=0.0.0.0"),
         [*shell('conda activate e && jupyter lab "$@"'), "sh"]),
        (shell("exec /usr/local/bin/start-singleuser.py"),
         [*shell('exec /usr/local/bin/start-notebook.py "$@"'), "sh"]),
        (["bash"], None),
        (["jupyter", "trust", "x.ipynb"], None),
        (shell("pip install jupyter && jupyter lab build"), None),
        (["python", "app.py"], None),
        ([], None),
    ],
)  # fmt: skip
def test_what_an_image_starts_is_found_without_what_the_mux_decides(
    words: Sequence[str], found: Sequence[str] | None
) -> None:
    assert jupyter_words(words) == (tuple(found) if found is not None else None)


def test_a_shell_hands_the_arguments_on() -> None:
    words = jupyter_words(["/bin/sh", "-c", "PATH=. jupyter lab --notebook-dir='a b' --port=1; true"])
    assert words is not None
    printed = [word.replace("jupyter lab", "printf %s,") for word in words]
    run = subprocess.run([*printed, "--ServerApp.port=2", "x y"], capture_output=True, text=True, check=True)
    assert run.stdout == "--notebook-dir=a b,--ServerApp.port=2,x y,"


@pytest.mark.parametrize(
    "text",
    [
        'bash -lc "jupyter lab --ip=0.0.0.0"', "bash -c 'jupyter lab' && true", '(jupyter lab --ip="0.0.0.0")',
        "while true; do jupyter lab; done", "{ jupyter lab --port=1; }", "echo \"$(jupyter lab)\"",
    ],
)  # fmt: skip
def test_a_text_that_starts_jupyter_somewhere_within_becomes_none_that_no_shell_reads(text: str) -> None:
    words = jupyter_words(shell(text))
    assert words is None or subprocess.run(["bash", "-n", "-c", words[2]], check=False).returncode == 0


@pytest.mark.parametrize(
    ("config", "begins", "entrypoint"),
    [
        ({"Entrypoint": ["tini", "--", "start.sh"], "Cmd": ["start-notebook.sh"]}, ["start-notebook.sh"], None),
        ({"Entrypoint": ["tini", "--"]}, list(ANY_JUPYTER), None),
        ({"Entrypoint": ["tini", "-g", "--", "start.sh"]}, list(ANY_JUPYTER), None),
        ({}, list(ANY_JUPYTER), None),
        ({"Cmd": ["/bin/bash", "-l"]}, list(ANY_JUPYTER), None),
        ({"Cmd": shell("sleep infinity")}, list(ANY_JUPYTER), None),
        ({"Entrypoint": ["tini", "--"], "Cmd": ["/bin/bash"]}, list(ANY_JUPYTER), None),
        ({"Cmd": ["jupyterhub-singleuser", "--ip=0.0.0.0"]}, ["jupyter", "lab"], None),
        ({"Entrypoint": ["tini", "--", "jupyterhub-singleuser"]}, ["tini", "--", "jupyter", "lab"], ()),
        ({"Entrypoint": ["/repo2docker-entrypoint"], "Cmd": ["jupyter", "notebook", "--ip", "0.0.0.0"]},
         ["jupyter", "notebook"], None),
        ({"Entrypoint": ["tini", "jupyter", "lab"], "Cmd": ["--ip=0.0.0.0", "--debug"]},
         ["tini", "jupyter", "lab", "--debug"], ()),
        ({"Entrypoint": shell("exec jupyter lab --port=80"), "Cmd": ["ignored"]},
         [*shell('exec jupyter lab "$@"'), "sh"], ()),
    ],
)  # fmt: skip
def test_jupyter_is_started_as_its_image_does(
    config: dict[str, object], begins: Sequence[str], entrypoint: tuple[str, ...] | None
) -> None:
    start = start_of(spec(), image(**config))
    assert start.command is not None
    own, ours = start.command[: len(begins)], start.command[len(begins) :]
    assert (list(own), start.entrypoint) == (begins, entrypoint)
    assert {"--ServerApp.base_url=/camp/intro/", "--NotebookApp.base_url=/camp/intro/"} < set(ours)
    names = [argument.partition("=")[0] for argument in ours]
    assert len(names) == len(set(names))
    assert "--ServerApp.allow_root=True" not in ours
    assert "--ServerApp.allow_root=True" in (start_of(spec(allow=["root"]), image(**config)).command or ())


@pytest.mark.parametrize(
    "config",
    [
        {"Cmd": ["./serve.sh"]},
        {"Entrypoint": ["/entrypoint.sh"]},
        {"Entrypoint": ["tini", "--", "/start.sh"]},
        {"Entrypoint": ["/bin/bash", "-c"], "Cmd": ["jupyter lab --ip=0.0.0.0"]},
        {"Entrypoint": shell(". /env && exec /run.sh")},
        {"Cmd": shell("bash -c 'jupyter lab' && true")},
    ],
)
def test_a_script_that_starts_jupyter_is_started_as_it_is(config: dict[str, object]) -> None:
    assert start_of(spec(), image(**config)) == Start(None)


def test_a_command_of_the_project_goes_before_and_other_kinds_have_their_own() -> None:
    theirs = image(Entrypoint=["jupyter", "lab"], Cmd=["--x"])
    assert start_of(spec(command=["serve", "{port}{base_path}"]), theirs) == Start(("serve", "8888/camp/intro/"))
    assert start_of(spec(kind="http"), theirs) == Start(None)
    with pytest.raises(RuntimeFailure, match="has a command"):
        start_of(spec(kind="http"), image())


LAB = {"Cmd": ["jupyter", "lab"]}
STACKS = {"Cmd": ["start-notebook.py"], "Env": ["HOME=/home/jovyan"]}


@pytest.mark.parametrize(
    ("config", "home", "variable"),
    [
        ({**STACKS, "WorkingDir": "/home/jovyan"}, "/home/jovyan", "/home/jovyan"),
        ({**STACKS, "WorkingDir": "/home/jovyan/work"}, "/home/jovyan", "/home/jovyan"),
        ({**STACKS, "WorkingDir": "/opt/tutorial/"}, "/opt/tutorial", "/home/jovyan"),
        ({**STACKS, "WorkingDir": "/opt"}, "/home/jovyan", "/home/jovyan"),
        ({**STACKS, "WorkingDir": "/opt/tutorial", "Labels": {"mux.content": "/opt/tutorial"}},
         "/home/jovyan", "/home/jovyan"),
        ({**STACKS, "WorkingDir": "/opt/tutorial", "Labels": {"mux.read-only": "true"}},
         "/opt/tutorial", "/opt/tutorial"),
        ({**STACKS, "Cmd": ["serve"], "WorkingDir": "/app"}, "/home/jovyan", "/home/jovyan"),
        ({**LAB, "WorkingDir": "/app", "User": "app"}, "/app", None),
        ({**LAB, "WorkingDir": "/app", "User": "1000"}, "/app", "/app"),
        ({**LAB, "WorkingDir": "/workspace"}, "/workspace", "/workspace"),
        (LAB, "/home/jovyan", "/home/jovyan"),
    ],
)  # fmt: skip
def test_an_attendees_files_are_where_jupyter_starts(
    config: dict[str, object], home: str, variable: str | None
) -> None:
    found = image(**config)
    assert found.home == home
    assert environment(spec(environment={"HOME": "/x"}), found).get("HOME") == variable


@pytest.mark.parametrize(
    ("config", "project", "home"),
    [
        ({"Cmd": ["./run.sh"], "WorkingDir": "/app"}, {}, "/app"),
        ({"Cmd": ["./run.sh"], "WorkingDir": "/app"}, {"kind": "http"}, "/home/jovyan"),
        ({"Cmd": ["./run.sh"], "WorkingDir": "/app"}, {"command": ["serve"]}, "/home/jovyan"),
        ({"Cmd": ["bash"], "WorkingDir": "/app"}, {}, "/home/jovyan"),
    ],
)
def test_a_script_of_an_image_for_notebooks_starts_where_files_are(
    config: dict[str, object], project: dict[str, object], home: str
) -> None:
    described = {"Id": "sha256:1", "Config": {"Env": ["HOME=/home/jovyan"], **config}}
    assert image_of(described, project=spec(**project).project).home == home


def test_volumes_below_the_home_are_known() -> None:
    volumes: dict[str, object] = {"/home/jovyan": {}, "/home/jovyan/work/": {}, "/home/jovyan2": {}, "/data": {}}
    assert image(**STACKS, Volumes=volumes).volumes == ("/home/jovyan/work",)


def test_tools_in_notebooks_find_the_base_path_unless_the_project_says_otherwise() -> None:
    name = "JUPYTERHUB_SERVICE_PREFIX"
    assert environment(spec(), image(**LAB))[name] == spec().project.base_path
    assert environment(spec(environment={name: "/own/"}), image(**LAB))[name] == "/own/"
    assert name not in environment(spec(kind="http"), image(**LAB))
