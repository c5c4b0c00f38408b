"""What pydantic says of a value that it refuses, in words for people.

Owns the translation alone; imports no pydantic, since commands need it too. A sentence that is not known stays as it
is.
"""

from __future__ import annotations

import re

_SAID = (
    (r"Input should be less than or equal to (\S+)", r"at most \1 is allowed"),
    (r"Input should be greater than or equal to (\S+)", r"at least \1 is allowed"),
    (r"Input should be (less|greater) than (\S+)", r"only what is \1 than \2 is allowed"),
    (r"Input should be a valid integer\b.*", "a whole number is meant"),
    (r"Input should be a (?:valid|finite) number\b.*", "a number is meant"),
    (r"Input should be a valid boolean\b.*", "true or false is meant"),
    (r"Input should be a valid string", "a text is meant"),
    (r"Input should be a valid (?:list|array)", "a list is meant"),
    (r"Input should be an? (?:valid dictionary|object|valid object)\b.*", "an object is meant"),
    (r"Input should be ('.+')", r"\1 is allowed"),
    (r"String should have at most (\d+) characters?", r"at most \1 characters are allowed"),
    (r"String should have at least (\d+) characters?", r"\1 or more characters are needed"),
    (r"String should match pattern (.+)", r"it must match \1"),
    (r"(?:List|Tuple|Dictionary|Set) should have at most (\d+) items? .+", r"at most \1 are allowed"),
    (r"Field required", "it must be given"),
    (r"Extra inputs are not permitted", "nothing of that name is known here"),
    (r"Value error, (.+)", r"\1"),
)


def spoken(message: str) -> str:
    """A message of pydantic's for people.

    Args:
        message: of one fault, or a text that ends in it.
    """
    for said, words in _SAID:
        found, count = re.subn(said + r"$", words, message, count=1)
        if count:
            return found
    return message
