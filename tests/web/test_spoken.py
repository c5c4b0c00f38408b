"""What is wrong with a value is said in words for people, not in pydantic's."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import pytest
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from mux.spoken import spoken


class Model(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)

    seats: Annotated[int, Field(ge=1, le=20_000)] = 1
    share: Annotated[float, Field(gt=0, lt=1, allow_inf_nan=False)] = 0.5
    wanted: bool = False
    doors: Literal["auto", "open", "closed"] = "auto"
    name: Annotated[str, Field(min_length=1, max_length=3, pattern="^[a-z]*$")] = "a"
    names: Annotated[list[str], Field(max_length=2)] = []
    inner: dict[str, int] = {}
    odd: int = 1

    @field_validator("odd")
    @classmethod
    def _odd(cls, value: int) -> int:
        if value % 2 == 0:
            raise ValueError("an odd number is meant")
        return value


class Needed(BaseModel):
    seats: int


@pytest.mark.parametrize(
    ("field", "value", "words"),
    [
        ("seats", 20_001, "at most 20000 is allowed"),
        ("seats", 0, "at least 1 is allowed"),
        ("seats", "3", "a whole number is meant"),
        ("seats", 1.5, "a whole number is meant"),
        ("share", 0, "only what is greater than 0 is allowed"),
        ("share", 1, "only what is less than 1 is allowed"),
        ("share", "x", "a number is meant"),
        ("share", float("inf"), "a number is meant"),
        ("wanted", "x", "true or false is meant"),
        ("doors", "ajar", "'auto', 'open' or 'closed' is allowed"),
        ("name", 3, "a text is meant"),
        ("name", "", "1 or more characters are needed"),
        ("name", "abcd", "at most 3 characters are allowed"),
        ("name", "A", "it must match '^[a-z]*$'"),
        ("names", "x", "a list is meant"),
        ("names", ["a", "b", "c"], "at most 2 are allowed"),
        ("inner", 3, "an object is meant"),
        ("odd", 2, "an odd number is meant"),
        ("other", 3, "nothing of that name is known here"),
    ],
)
def test_a_fault_is_said_in_words_for_people(field: str, value: Any, words: str) -> None:
    with pytest.raises(ValidationError) as refused:
        Model.model_validate({field: value})
    assert spoken(refused.value.errors()[0]["msg"]) == words


def test_what_is_missing_is_said_and_what_is_not_known_stays_as_it_is() -> None:
    with pytest.raises(ValidationError) as refused:
        Needed.model_validate({})
    assert spoken(refused.value.errors()[0]["msg"]) == "it must be given"
    assert spoken("Something new") == "Something new"
    assert spoken("Invalid value for '--port': Input should be less than or equal to 65535") == (
        "Invalid value for '--port': at most 65535 is allowed"
    )
