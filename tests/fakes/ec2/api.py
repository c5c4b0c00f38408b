"""The service as a client meets it: bytes in, bytes out, for EC2, IAM, STS and Service Quotas at one address.

Signatures are not verified; an access key that nobody has is refused as each service does it. Knows no sockets:
:mod:`tests.fakes.ec2.serving` puts it behind HTTP, or into the client's own process.
"""

from __future__ import annotations

import asyncio
import json
import re
import time
from collections.abc import Mapping
from dataclasses import dataclass
from email.utils import formatdate
from uuid import UUID
from xml.etree import ElementTree

from tests.fakes.ec2 import iam
from tests.fakes.ec2.actions import Tokens, perform
from tests.fakes.ec2.catalog import ACCOUNT
from tests.fakes.ec2.cloud import Cloud
from tests.fakes.ec2.errors import ApiError, throttled
from tests.fakes.ec2.faults import Fault, Faults
from tests.fakes.ec2.model import Call, Principal
from tests.fakes.ec2.policies import Touched
from tests.fakes.ec2.wire import encode, encode_error, operation, parse_form

XML = "text/xml;charset=UTF-8"
JSON = "application/x-amz-json-1.1"
SLOW_S = (5.0, 20.0)
EMPTY_S = (60.0, 300.0)
_CREDENTIAL = re.compile(
    r"AWS4-HMAC-SHA256 Credential=([^/,]+)/[^/]*/[^/]*/([^/]+)/aws4_request, .*Signature=[0-9a-f]{64}"
)
_QUOTAS = "ServiceQuotasV20190624."
_STS = "https://sts.amazonaws.com/doc/2011-06-15/"


class ConnectionLostError(Exception):
    """No answer comes; the connection is cut."""


@dataclass(frozen=True)
class Answer:
    """What goes back."""

    status: int
    body: bytes
    content_type: str = XML


class Api:
    """All services of one cloud. ``ahead_s``: by how much the Date of answers is ahead of this machine's clock."""

    def __init__(self, cloud: Cloud, faults: Faults | None = None) -> None:
        self.ahead_s = 0.0
        self.cloud = cloud
        self.faults = faults or Faults()
        self._tokens = Tokens()
        self._requests = 0

    async def answer(self, headers: Mapping[str, str], body: bytes) -> Answer:
        """Answer one request, as late as its luck has it.

        Raises:
            ConnectionLostError: there is no answer.
        """
        self.cloud.catch_up()
        self._requests += 1
        request_id = str(UUID(int=self._requests))
        lower = {name.lower(): value for name, value in headers.items()}
        if lower.get("x-amz-target", "").startswith(_QUOTAS):
            return self._quotas(lower, body)
        form = parse_form(body)
        action = form.get("Action", "")
        if action == "GetCallerIdentity":
            return self._identity(lower, request_id)
        if action in ("SimulatePrincipalPolicy", "GetRole"):
            return self._iam(action, form, lower, request_id)
        return await self._ec2(action, form, lower, request_id)

    def headers(self, answer: Answer) -> dict[str, str]:
        """The headers that an answer goes out with."""
        return {"Content-Type": answer.content_type, "Date": formatdate(time.time() + self.ahead_s, usegmt=True)}

    async def _ec2(self, action: str, form: Mapping[str, str], headers: Mapping[str, str], request_id: str) -> Answer:
        fault = self.faults.meet(action)
        code = ""
        try:
            answer = Answer(200, self._performed(action, form, headers, request_id, fault))
        except ApiError as error:
            code = error.code
            answer = Answer(error.status, encode_error(error, request_id))
        self.cloud.calls.append(Call(self.cloud.now, action, code, fault.name if fault else ""))
        if fault in (Fault.RESET, Fault.LOST):
            raise ConnectionLostError
        if fault is Fault.SLOW:
            await asyncio.sleep(self.faults.dice.between(*SLOW_S, "slow", self._requests))
        return answer

    def _performed(
        self, action: str, form: Mapping[str, str], headers: Mapping[str, str], request_id: str, fault: Fault | None
    ) -> bytes:
        operation(action)
        refusal = ApiError("AuthFailure", "AWS was not able to validate the provided access credentials")
        caller = self._caller(headers, refusal)
        match fault:
            case Fault.RESET:
                raise ApiError("Reset", "")
            case Fault.ERROR_BEFORE:
                raise ApiError("InternalError", "An internal error has occurred")
            case Fault.THROTTLED:
                raise throttled()
            case Fault.ZONE_EMPTY:
                self._empty_a_zone()
        result = perform(self.cloud, self._tokens, action, form, caller)
        if fault is Fault.ERROR_AFTER:
            raise ApiError("Unavailable", "The server is overloaded and can't handle the request.")
        return encode(action, result, request_id)

    def _empty_a_zone(self) -> None:
        dice, catalog = self.faults.dice, self.cloud.catalog
        zone = dice.pick(catalog.zones, "which zone", self._requests)
        for_s = dice.between(*EMPTY_S, "how long", self._requests)
        for offer in catalog.types:
            for spot in (False, True):
                self.cloud.capacity_gone(offer.name, zone, spot=spot, for_s=for_s)

    def _caller(self, headers: Mapping[str, str], refusal: ApiError) -> Principal:
        credential = _CREDENTIAL.fullmatch(headers.get("authorization", ""))
        if credential is None or credential[1] not in self.cloud.keys:
            raise refusal
        return self.cloud.keys[credential[1]]

    def _identity(self, headers: Mapping[str, str], request_id: str) -> Answer:
        root = ElementTree.Element("GetCallerIdentityResponse", xmlns=_STS)
        try:
            refusal = ApiError("InvalidClientTokenId", "The security token included in the request is invalid.")
            caller = self._caller(headers, refusal)
        except ApiError as error:
            return _refusal(_STS, error, request_id)
        result = ElementTree.SubElement(root, "GetCallerIdentityResult")
        ElementTree.SubElement(result, "Arn").text = caller.arn
        ElementTree.SubElement(result, "UserId").text = "AIDAEXAMPLE"
        ElementTree.SubElement(result, "Account").text = ACCOUNT
        return Answer(200, ElementTree.tostring(root))

    def _iam(self, action: str, form: Mapping[str, str], headers: Mapping[str, str], request_id: str) -> Answer:
        try:
            refusal = ApiError("InvalidClientTokenId", "The security token included in the request is invalid.")
            caller = self._caller(headers, refusal)
            if action == "GetRole":
                return Answer(200, iam.role(form, caller, spot=self.cloud.settings.spot_role))
            return Answer(200, iam.simulated(form, caller))
        except ApiError as error:
            return _refusal(iam.NAMESPACE, error, request_id)

    def _quotas(self, headers: Mapping[str, str], body: bytes) -> Answer:
        action = headers["x-amz-target"].removeprefix(_QUOTAS)
        try:
            refusal = ApiError("UnrecognizedClientException", "The security token included in the request is invalid.")
            result = self._quota(action, json.loads(body), self._caller(headers, refusal))
        except ApiError as error:
            told = {"__type": error.code, "Message": error.message}
            return Answer(error.status, json.dumps(told).encode(), JSON)
        return Answer(200, json.dumps(result).encode(), JSON)

    def _quota(self, action: str, params: Mapping[str, str], caller: Principal) -> Mapping[str, object]:
        if action != "GetServiceQuota":
            raise ApiError("UnknownOperationException", f"{action} is not part of the fake.")
        permission = f"servicequotas:{action}"
        if permission in caller.denied or (caller.policy and not caller.policy.allows(Touched(permission))):
            raise ApiError("AccessDeniedException", f"User: {caller.arn} is not authorized to perform: {action}")
        service, code = params["ServiceCode"], params["QuotaCode"]
        known = self.cloud.settings.quotas.value(service, code)
        if known is None:
            raise ApiError("NoSuchResourceException", "The request failed because the specified quota does not exist.")
        name, value = known
        quota = {"ServiceCode": service, "QuotaCode": code, "QuotaName": name, "Value": value, "Unit": "None"}
        return {"Quota": quota | {"Adjustable": True, "GlobalQuota": False}}


def _refusal(namespace: str, error: ApiError, request_id: str) -> Answer:
    """As services of the query protocol other than EC2 refuse."""
    root = ElementTree.Element("ErrorResponse", xmlns=namespace)
    told = ElementTree.SubElement(root, "Error")
    ElementTree.SubElement(told, "Type").text = "Sender"
    ElementTree.SubElement(told, "Code").text = error.code
    ElementTree.SubElement(told, "Message").text = error.message
    ElementTree.SubElement(root, "RequestId").text = request_id
    return Answer(error.status, ElementTree.tostring(root))
