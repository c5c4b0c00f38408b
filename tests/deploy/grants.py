"""What the template gives the mux's role, read out of its text: enough of CloudFormation's functions for that.

Whatever else the template says in these places is an error here. What moto makes of the same text is `stack`'s.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

import yaml

from tests.fakes.ec2 import ACCOUNT, REGION
from tests.fakes.ec2.policies import several

EVENT = "camp"
_VALUES = {
    "AWS::AccountId": ACCOUNT,
    "AWS::Partition": "aws",
    "AWS::Region": REGION,
    "EventName": EVENT,
    "Files.Arn": "arn:aws:s3:::files",
    "MuxRole.Arn": f"arn:aws:iam::{ACCOUNT}:role/MuxRole",
    "PullRole.Arn": f"arn:aws:iam::{ACCOUNT}:role/PullRole",
    "ShipRole": f"arn:aws:iam::{ACCOUNT}:role/ships",
}


@dataclass(frozen=True)
class Grants:
    """A role, and where its ships are.

    Args:
        role: its name.
        statements: of all its policies.
        subnets, group: of ships.
    """

    role: str
    statements: list[dict[str, Any]]
    subnets: tuple[str, ...]
    group: str


def grants_of(text: str) -> Grants:
    """What a template's text gives the mux's role; of what is there under a condition, all."""
    loader: Any = type("Loader", (yaml.SafeLoader,), {})
    loader.add_multi_constructor("!", _function)
    resources = yaml.load(text, loader)["Resources"]
    documents = [each["PolicyDocument"] for each in resources["MuxRole"]["Properties"]["Policies"]]
    documents += [
        each["Properties"]["PolicyDocument"]
        for each in resources.values()
        if each["Type"] == "AWS::IAM::Policy" and each["Properties"]["Roles"] == ["MuxRole"]
    ]
    statements = [statement for each in documents for statement in each["Statement"]]
    subnets = tuple(name for name in resources if re.fullmatch("ShipsSubnet[A-Z]", name))
    return Grants("MuxRole", statements, subnets, "ShipsGroup")


def _value(name: str) -> str:
    """What a parameter or an attribute is; the name of a resource stands for its id."""
    return _VALUES.get(name, name)


def _function(loader: Any, tag: str, node: Any) -> Any:
    """CloudFormation's functions in their short forms; what needs no value here is left as it is."""
    if tag in ("Ref", "GetAtt"):
        return _value(str(node.value))
    if tag == "Sub" and isinstance(node.value, str):
        return re.sub(r"\$\{([^}]+)\}", lambda found: _value(found[1]), node.value)
    return node.value


def without(statements: list[dict[str, Any]], action: str) -> list[dict[str, Any]]:
    """The same, less one action."""
    return [{**each, "Action": [one for one in several(each["Action"]) if one != action]} for each in statements]
