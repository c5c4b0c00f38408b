"""What a table of an event file is made of: the base of its models, and what is said of each key beside its type.

Knows no table and no key. Rules: tables are frozen, nothing unknown is accepted, and a key's kind alone reads its
value.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, ClassVar

from pydantic import BaseModel, ConfigDict, GetCoreSchemaHandler
from pydantic_core import CoreSchema, core_schema

from mux.config.kinds import Kind


@dataclass(frozen=True, slots=True)
class Key:
    """What is said of one key beside its type.

    Args:
        kind: how it is read.
        doc: one line for people.
        example: a value that is allowed, as TOML gives it.
    """

    kind: Kind
    doc: str
    example: object

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        """The kind alone reads the value."""
        return core_schema.no_info_plain_validator_function(self.kind.read)


@dataclass(frozen=True, slots=True)
class Entry:
    """One key of a table.

    Args:
        name: as the file writes it.
        attribute: as the model calls it.
        required: it must be given.
        default: its value otherwise.
        said: the rest.
    """

    name: str
    attribute: str
    required: bool
    default: object
    said: Key


class Table(BaseModel):
    """Base of every table: frozen, nothing unknown. ``doc`` is for people, one line."""

    model_config = ConfigDict(frozen=True, extra="forbid", arbitrary_types_allowed=True, hide_input_in_errors=True)
    doc: ClassVar[str] = ""

    @classmethod
    def entries(cls) -> Iterator[Entry]:
        """Every key of the table, in order."""
        for attribute, field in cls.model_fields.items():
            for said in field.metadata:
                if isinstance(said, Key):
                    yield Entry(
                        field.alias or attribute,
                        attribute,
                        field.is_required(),
                        field.get_default(call_default_factory=True),
                        said,
                    )

    def value(self, entry: Entry) -> object:
        """The value of one of `entries`."""
        value: object = getattr(self, entry.attribute)
        return value
