"""The query protocol of EC2: forms into parameters, results into XML. Knows shapes, never what they mean.

Both ways follow botocore's own description of the service, so that a member which EC2 does not have is refused on
the way in and cannot slip out. Source: the protocol `ec2` in botocore's serializers and parsers.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import Any
from urllib.parse import parse_qsl
from xml.sax.saxutils import escape

from botocore.loaders import Loader
from botocore.model import ServiceModel

from tests.fakes.ec2.errors import ApiError

Params = dict[str, Any]
NAMESPACE = "http://ec2.amazonaws.com/doc/2016-11-15/"
_DECLARATION = '<?xml version="1.0" encoding="UTF-8"?>'
CHECKED_LATER = {"InstanceType"}  # every action has a refusal of its own for these


@functools.cache
def service(name: str) -> Any:
    """botocore's description of a service. Loading it takes about a second, once in a process."""
    return ServiceModel(Loader().load_service_model(name, "service-2"), name)


def operation(action: str) -> Any:
    """The description of one action of EC2."""
    if action not in service("ec2").operation_names:
        raise ApiError("InvalidAction", f"The action {action} is not valid for this web service.")
    return _operation(action)


@functools.cache
def _operation(action: str) -> Any:
    return service("ec2").operation_model(action)


def parse_form(body: bytes) -> dict[str, str]:
    """A form's fields; empty ones count."""
    return dict(parse_qsl(body.decode(), keep_blank_values=True, strict_parsing=bool(body)))


def decode(action: str, form: Mapping[str, str]) -> Params:
    """A request's parameters by botocore's names.

    Raises:
        ApiError: for what the action does not have, lacks, or what has the wrong form.
    """
    tree: dict[str, Any] = {}
    for name, value in form.items():
        if name in {"Action", "Version"}:
            continue
        at = tree
        *parents, leaf = name.split(".")
        for part in parents:
            at = at.setdefault(part, {})
        at[leaf] = value
    shape = operation(action).input_shape
    decoded: Params = _decode(shape, tree, "")
    return decoded


def _wire_name(name: str, shape: Any) -> str:
    """As botocore's EC2Serializer names a member in a form."""
    if "queryName" in shape.serialization:
        return str(shape.serialization["queryName"])
    location = str(shape.serialization.get("name", name))
    return location[0].upper() + location[1:]


@functools.cache
def _members(shape: Any) -> dict[str, tuple[str, Any]]:
    return {_wire_name(name, member): (name, member) for name, member in shape.members.items()}


def _decode(shape: Any, value: Any, path: str) -> Any:
    match shape.type_name:
        case "structure":
            return _decode_structure(shape, value, path)
        case "list":
            if not isinstance(value, dict) or sorted(value, key=_index) != [str(n + 1) for n in range(len(value))]:
                raise ApiError("InvalidParameterValue", f"{path} is not a list that counts from 1.")
            return [_decode(shape.member, value[key], f"{path}.{key}") for key in sorted(value, key=_index)]
    if not isinstance(value, str):
        raise ApiError("UnknownParameter", f"The parameter {path} has no members.")
    return _scalar(shape, value, path)


def _decode_structure(shape: Any, value: Any, path: str) -> Params:
    if not isinstance(value, dict):
        raise ApiError("InvalidParameterValue", f"{path} is not a structure.")
    decoded = {}
    for wire_name, inner in value.items():
        where = f"{path}.{wire_name}".lstrip(".")
        if wire_name not in _members(shape):
            raise ApiError("UnknownParameter", f"The parameter {where} is not recognized")
        name, member = _members(shape)[wire_name]
        decoded[name] = _decode(member, inner, where)
    for name in shape.required_members:
        if name not in decoded:
            raise ApiError("MissingParameter", f"The request must contain the parameter {f'{path}.{name}'.lstrip('.')}")
    return decoded


def _index(key: str) -> int:
    return int(key) if key.isdigit() else 0


def _scalar(shape: Any, value: str, path: str) -> Any:
    try:
        match shape.type_name:
            case "integer" | "long":
                return int(value)
            case "float" | "double":
                return float(value)
            case "boolean":
                return {"true": True, "false": False}[value]
            case "timestamp":
                return datetime.fromisoformat(value)
    except (ValueError, KeyError):
        raise ApiError("InvalidParameterValue", f"Invalid value '{value}' for {path}.") from None
    if shape.enum and shape.name not in CHECKED_LATER and value not in shape.enum:
        raise ApiError("InvalidParameterValue", f"Invalid value '{value}' for {path}.")
    return value


def encode(action: str, result: Params, request_id: str) -> bytes:
    """An answer. Raises KeyError for a member that EC2's answer does not have: a mistake of the fake."""
    shape = operation(action).output_shape
    parts = [_DECLARATION, f'<{action}Response xmlns="{NAMESPACE}">', f"<requestId>{request_id}</requestId>"]
    if shape is None:
        parts.append("<return>true</return>")
    else:
        _encode_members(parts, shape, result)
    parts.append(f"</{action}Response>")
    return "".join(parts).encode()


@functools.cache
def _answered(shape: Any) -> dict[str, tuple[str, Any]]:
    return {name: (member.serialization.get("name", name), member) for name, member in shape.members.items()}


def _encode_members(parts: list[str], shape: Any, value: Params) -> None:
    known = _answered(shape)
    for name, inner in value.items():
        if inner is not None:
            _encode(parts, *known[name], inner)


def _encode(parts: list[str], tag: str, shape: Any, value: Any) -> None:
    parts.append(f"<{tag}>")
    match shape.type_name:
        case "structure":
            _encode_members(parts, shape, value)
        case "list":
            item = shape.member.serialization.get("name", "item")
            for inner in value:
                _encode(parts, item, shape.member, inner)
        case "boolean":
            parts.append("true" if value else "false")
        case "timestamp":
            parts.append(value.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.000Z"))
        case _:
            parts.append(escape(str(value)))
    parts.append(f"</{tag}>")


def encode_error(error: ApiError, request_id: str) -> bytes:
    """A refusal of EC2's."""
    told = f"<Code>{escape(error.code)}</Code><Message>{escape(error.message)}</Message>"
    return (
        f"{_DECLARATION}<Response><Errors><Error>{told}</Error></Errors><RequestID>{request_id}</RequestID></Response>"
    ).encode()


def leaves(params: Params, path: str = "") -> Iterator[str]:
    """The paths of everything that a request says, ``TagSpecifications.Tags.Key``, without the places in lists."""
    for name, value in params.items():
        yield from _leaves(value, f"{path}.{name}".lstrip("."))


def _leaves(value: Any, path: str) -> Iterator[str]:
    if isinstance(value, dict):
        yield from leaves(value, path)
    elif isinstance(value, list):
        for inner in value:
            yield from _leaves(inner, path)
    else:
        yield path
