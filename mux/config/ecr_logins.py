"""Logins of Amazon ECR for ships, from a role that may pull and nothing else, which the mux takes for one call.

Owns which hosts are ECR's and how a login is had there. Rules: what ships get is the role's login and never one of the
mux's own credentials; neither is shown or logged. Source: Amazon ECR API reference, GetAuthorizationToken (a login is
good for 12 hours); AWS STS API reference, AssumeRole.
"""

from __future__ import annotations

import asyncio
import base64
import re
from typing import Any, Final

from aiobotocore.config import AioConfig
from aiobotocore.session import AioSession, get_session
from botocore.exceptions import BotoCoreError, ClientError
from botocore.parsers import ResponseParserError

ANSWER_S: Final = 15.0
ATTEMPTS_MAX: Final = 3
SESSION: Final = "mux-ships-pull"
"""The role's session, as the account's trail shows it."""
_HOST: Final = re.compile(r"[0-9]{12}\.dkr\.ecr(?:-fips)?\.([a-z0-9-]{1,64})\.amazonaws\.com(?:\.cn)?")


class EcrError(Exception):
    """ECR gave no login; the text says what AWS answered, and holds no secret."""


def ecr_region(host: str) -> str | None:
    """The region of a registry of ECR; None for any other registry."""
    found = _HOST.fullmatch(host)
    return found[1] if found else None


async def ecr_login(region: str, role: str) -> tuple[str, str]:
    """User name and password of every registry of ECR in a region that a role may pull from.

    Args:
        region: of the registry.
        role: ARN; the mux's credentials, found as the AWS tools find them, must be allowed to assume it.

    Raises:
        EcrError: AWS refused, or did not answer.
    """
    session = get_session()
    await _load(session)
    try:
        assumed = await _call(session, region, "sts", "assume_role", RoleArn=role, RoleSessionName=SESSION)
        keys = assumed["Credentials"]
        as_role = {
            "aws_access_key_id": keys["AccessKeyId"],
            "aws_secret_access_key": keys["SecretAccessKey"],
            "aws_session_token": keys["SessionToken"],
        }
        answer = await _call(session, region, "ecr", "get_authorization_token", as_role)
        token = base64.b64decode(answer["authorizationData"][0]["authorizationToken"], validate=True).decode()
    except ClientError as error:
        raise EcrError(f"{error.operation_name} was answered with {error.response['Error']['Code']}") from error
    except (BotoCoreError, ResponseParserError, OSError, TimeoutError) as error:
        raise EcrError(f"no answer of AWS ({type(error).__name__})") from error
    except (LookupError, ValueError):
        # Not chained: its text would quote the answer.
        raise EcrError("an answer of AWS that cannot be read") from None
    username, colon, password = token.partition(":")
    if not colon:
        raise EcrError("an answer of AWS that cannot be read")
    return username, password


async def _load(session: AioSession) -> None:
    # Reading the descriptions of services takes a while: not on the event loop. The loader keeps what it has read.
    loader = session.get_component("data_loader")
    for service in ("sts", "ecr"):
        for part in ("service-2", "endpoint-rule-set-1"):
            await asyncio.to_thread(loader.load_service_model, service, part)


async def _call(
    session: AioSession, region: str, service: str, action: str, keys: dict[str, str] | None = None, **parameters: str
) -> dict[str, Any]:
    config = AioConfig(connect_timeout=ANSWER_S, read_timeout=ANSWER_S, retries={"total_max_attempts": ATTEMPTS_MAX})
    async with session.create_client(service, region_name=region, config=config, **(keys or {})) as client:
        answer: dict[str, Any] = await getattr(client, action)(**parameters)
        return answer
