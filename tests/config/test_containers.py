"""The keys that are about containers, and what image names stand for."""

from __future__ import annotations

import pytest

from mux.config import differences
from mux.config.container_kinds import allowances, egress, is_image_name, oci_runtime
from mux.config.engine_images import image_digest
from mux.config.faults import Refused
from tests.config.files import VALID, changed, faults_in, parsed

DOCKER = VALID.replace("[fleet]", '[fleet]\nruntime = "docker"')


def with_project(lines: str) -> str:
    return changed('memory = "2GiB"', f'memory = "2GiB"\n{lines}', DOCKER)


@pytest.mark.parametrize(
    "value", ["open", "none", ["a.example:443"], ["192.0.2.0/24", "192.0.2.1:80", "10.0.0.0/8:22"]]
)
def test_egress_is_a_word_or_a_list(value: object) -> None:
    assert egress().read(value) == (value if isinstance(value, str) else tuple(value))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "value", ["all", [], ["a.example"], ["a.example:0"], ["2001:db8::/32"], ["10.0.0.1/8"], 1, [1]]
)
def test_other_egress_is_refused(value: object) -> None:
    with pytest.raises(Refused):
        egress().read(value)


@pytest.mark.parametrize("value", [["roots"], ["SYS_PTRACE"], ["CAP_EVERYTHING"], "root", [1]])
def test_an_opt_in_that_does_not_exist_is_refused(value: object) -> None:
    with pytest.raises(Refused):
        allowances().read(value)


def test_opt_ins_and_oci_runtimes_are_read() -> None:
    assert allowances().read(["root", "CAP_SYS_PTRACE", "root"]) == ("root", "CAP_SYS_PTRACE")
    assert oci_runtime().read("runsc") == "runsc"
    with pytest.raises(Refused):
        oci_runtime().read("run sc")


@pytest.mark.parametrize(
    "name", ["intro", "intro:1", "host:5000/camp/intro", f"a/b@sha256:{'0' * 64}", "h.example/x_y"]
)
def test_image_names_are_told_from_paths(name: str) -> None:
    assert is_image_name(name)


@pytest.mark.parametrize("name", ["./images/intro", "/images/intro", "Intro", "a:b:c", "a@sha256:0", "", "a/../b"])
def test_paths_are_no_image_names(name: str) -> None:
    assert not is_image_name(name)


def test_faults_of_containers_are_told_for_docker_only() -> None:
    wrong = with_project('shm = "1GiB"\nallow = ["host_network"]\negress = "none"').replace(
        'image = "images/intro"', 'image = "./images/intro"', 1
    )

    assert set(faults_in(wrong)) == {"project[0].image", "project[0].shm", "project[0].egress"}
    assert parsed(with_project('shm = "1GiB"\nallow = ["shm"]')).projects[0].shm_bytes == 1 << 30


def test_an_opt_in_is_shown_when_it_comes_whether_the_project_is_new_or_not() -> None:
    plain, weak = parsed(DOCKER), parsed(with_project('allow = ["docker_socket"]'))

    first = [change for change in differences(None, weak) if change.key == "project[intro].allow"]
    later = [change for change in differences(plain, weak) if change.key == "project[intro].allow"]

    assert "root on the ship" in first[0].effect
    assert later[0].after == '["docker_socket"]'
    assert "root on the ship" in later[0].effect


def test_a_name_stands_for_its_manifest_in_its_own_registry_or_for_the_image_itself() -> None:
    image = {"Id": "sha256:1", "RepoDigests": ["host:5000/camp/other@sha256:2", "host:5000/camp/intro@sha256:3"]}

    assert image_digest("host:5000/camp/intro:latest", image) == "sha256:3"
    assert image_digest("intro:latest", image) == "sha256:1"
    assert image_digest("intro", {"Id": "sha256:1", "RepoDigests": ["intro@sha256:4"]}) == "sha256:4"
    assert image_digest("intro", {"Id": "sha256:1", "RepoDigests": None}) == "sha256:1"
