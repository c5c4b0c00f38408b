"""What a policy of IAM says of a request, by statements that allow something about some resources.

Knows names of actions, wildcards in resources, and equality of strings: whatever else a policy says is an error here,
never passed over. Which resources a request is about is `touching`'s.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import Any


@dataclass(frozen=True)
class Touched:
    """A resource of a request.

    Args:
        permission: that it takes.
        arn: its name; ``*`` where a call is about nothing in particular.
        context: what is known of the request about it, by condition key.
    """

    permission: str
    arn: str = "*"
    context: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Policy:
    """What a role may do.

    Args:
        statements: as policy documents have them.
        used: permissions that something was allowed by.
    """

    statements: Sequence[Mapping[str, Any]]
    used: set[str] = field(default_factory=set)

    @property
    def permissions(self) -> set[str]:
        """All that it speaks of."""
        return {action for statement in self.statements for action in several(statement["Action"])}

    def allows(self, touched: Touched) -> bool:
        """Whether one of the statements does."""
        allowed = any(_allows(statement, touched) for statement in self.statements)
        if allowed:
            self.used.add(touched.permission)
        return allowed


def several(value: Any) -> list[str]:
    """What stands alone or in a list; moto writes None for what CloudFormation leaves out (AWS::NoValue)."""
    return [each for each in ([value] if isinstance(value, str) else value) if each is not None]


def _allows(statement: Mapping[str, Any], touched: Touched) -> bool:
    conditions = statement.get("Condition", {})
    assert set(statement) <= {"Sid", "Effect", "Action", "Resource", "Condition"}, statement
    assert (statement["Effect"], set(conditions) <= {"StringEquals"}) == ("Allow", True), statement
    return (
        touched.permission in several(statement["Action"])
        and any(fnmatchcase(touched.arn, pattern) for pattern in several(statement["Resource"]))
        and all(
            touched.context.get(key) in several(values) for key, values in conditions.get("StringEquals", {}).items()
        )
    )
