"""The event file: one place that says what an event is.

`load` and `parse` read it, `template` writes a new one, `differences` says what a change does, `to_spec` gives the core
its part.

Modules: schema (tables and keys), tables (what they are made of), kinds (how a value is read), faults (what
is wrong, in words), environment (``MUX_…``), load, checks (rules that span keys), reading, secrets, images, spec,
template, diff.

Must not know: the engine, the store, or anything that runs.
"""

from mux.config.checks import ports_per_ship
from mux.config.diff import Change, differences, image_differences, secret_differences
from mux.config.environment import UnknownVariable, unknown_variables
from mux.config.faults import ConfigError, Fault
from mux.config.images import resolve_images
from mux.config.kinds import Address, Listener, PortRange
from mux.config.load import load, parse, read_text
from mux.config.schema import (
    DATA_DIRECTORY_DEFAULT,
    EventFile,
    ProjectTable,
    health_path_default,
    port_default,
    resolved,
)
from mux.config.secrets import Secrets, read_passcode, read_secrets, secrets_for
from mux.config.spec import to_spec
from mux.config.template import starter_files, template

__all__ = [
    "DATA_DIRECTORY_DEFAULT",
    "Address",
    "Change",
    "ConfigError",
    "EventFile",
    "Fault",
    "Listener",
    "PortRange",
    "ProjectTable",
    "Secrets",
    "UnknownVariable",
    "differences",
    "health_path_default",
    "image_differences",
    "load",
    "parse",
    "port_default",
    "ports_per_ship",
    "read_passcode",
    "read_secrets",
    "read_text",
    "resolve_images",
    "resolved",
    "secret_differences",
    "secrets_for",
    "starter_files",
    "template",
    "to_spec",
    "unknown_variables",
]
