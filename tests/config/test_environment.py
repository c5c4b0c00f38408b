from __future__ import annotations

from pathlib import Path

from mux.config import Listener, unknown_variables
from mux.config.environment import VARIABLES
from mux.config.schema import TABLES
from tests.config.files import VALID, faults_in, parsed


def test_variables_override_listeners_and_paths() -> None:
    file = parsed(
        VALID + '[listen]\nadmin = "127.0.0.1:9"\n',
        MUX_LISTEN_ADMIN="127.0.0.1:9001",
        MUX_DATA_DIRECTORY="/var/lib/mux",
        MUX_AUTH_ROSTER="people.csv",
    )
    assert file.listen.admin == Listener("127.0.0.1", 9001)
    assert file.listen.public == Listener("127.0.0.1", 8000)
    assert file.data_directory == Path("/var/lib/mux")
    assert file.auth.roster == Path("people.csv")


def test_variables_override_nothing_but_listeners_paths_and_secrets() -> None:
    kinds = {
        entry.said.kind.name
        for variable in VARIABLES.values()
        if variable.overrides
        for entry in TABLES[variable.overrides[0]].entries()
        if entry.name == variable.overrides[1]
    }
    assert kinds == {"listener", "path"}


def test_a_wrong_variable_is_reported_under_its_own_name() -> None:
    faults = faults_in(VALID, MUX_LISTEN_PUBLIC="0.0.0.0:8000", MUX_LISTEN_ADMIN="admin")
    assert {key: fault.where for key, fault in faults.items()} == {
        "MUX_LISTEN_PUBLIC": "for listen.public",
        "MUX_LISTEN_ADMIN": "for listen.admin",
    }


def test_a_variable_mends_what_is_wrong_in_the_file() -> None:
    text = VALID + '[listen]\npublic = "nowhere"\n'
    assert set(faults_in(text)) == {"listen.public"}
    assert parsed(text, MUX_LISTEN_PUBLIC="127.0.0.1:8000").listen.public == Listener("127.0.0.1", 8000)


def test_a_variable_does_not_hide_that_a_table_is_none() -> None:
    assert set(faults_in("listen = 3\n" + VALID, MUX_LISTEN_PUBLIC="127.0.0.1:8000")) == {"listen"}


def test_unknown_variables_are_warned_about_with_the_nearest_name_and_without_value() -> None:
    environ = {"MUX_LISTEN_PUBLC": "hunter", "MUX_ZZZZZZZZ": "", "MUX_URL": "", "PATH": "", "MUX_PASSCODE": ""}
    warnings = unknown_variables(environ, also_known={"MUX_URL"})
    assert [(warning.name, warning.nearest) for warning in warnings] == [
        ("MUX_LISTEN_PUBLC", "MUX_LISTEN_PUBLIC"),
        ("MUX_ZZZZZZZZ", None),
    ]
    assert "hunter" not in "".join(map(str, warnings))
