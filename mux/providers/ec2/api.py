"""One call to EC2: paced, translated, tried again where that is safe.

Owns the client, the pace, and how often a call is tried again. botocore's own retries are off: they would sleep through
throttling without telling anybody. Every call that is made here may be made twice: it bears a client token, or does
nothing the second time.
"""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from typing import Any, cast

import structlog
from aiobotocore.config import AioConfig
from aiobotocore.session import get_session
from botocore import xform_name
from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    CredentialRetrievalError,
    EndpointConnectionError,
    HTTPClientError,
    NoCredentialsError,
    PartialCredentialsError,
)
from botocore.parsers import ResponseParserError

from mux.providers.ec2.answers import NOT_AWS_CODE, NOT_AWS_REMEDY, is_answer
from mux.providers.ec2.faults import Ec2Error, Kind, fault_of, quoted
from mux.providers.ec2.pace import Pace

log = structlog.get_logger(__name__)

CONNECT_S = 10.0
ANSWER_S = 60.0
"""A fleet of type instant is answered when every pool has been tried."""
CONNECTIONS_MAX = 50
"""Calls under way at once; the pace allows no more than that in two seconds."""
THROTTLED_S = 480.0
"""How long a throttled call is tried before it counts as failed: below the bound of any effect."""
TRIES_MAX = 4
"""Of a call that got no answer, or one that says that EC2 is in trouble."""
PAUSE_S = 0.5
PAUSE_MAX_S = 20.0
"""Pauses between tries: doubling, with chance, between these two."""
PAGE = 200
"""Machines on a page of a listing: the answer is parsed on the event loop, in some 50 ms."""
PAGES_MAX = 100
"""Of one listing: twice the largest fleet, should EC2 page more finely than asked."""


Connect = Callable[[], AbstractAsyncContextManager[Any]]
"""Makes botocore's client."""


@asynccontextmanager
async def connected(region: str, endpoint: str = "") -> AsyncIterator[Any]:
    """A client of a region, with the credentials that the AWS tools would find.

    Args:
        region: of every call.
        endpoint: address of the API; empty for the region's.
    """
    session = get_session()
    # Reading the description of EC2's API takes a second: not on the event loop. The loader keeps what it has read.
    loader = session.get_component("data_loader")
    for part in ("service-2", "endpoint-rule-set-1"):
        await asyncio.to_thread(loader.load_service_model, "ec2", part)
    config = AioConfig(
        connect_timeout=CONNECT_S,
        read_timeout=ANSWER_S,
        max_pool_connections=CONNECTIONS_MAX,
        retries={"total_max_attempts": 1},
        user_agent_extra="mux",
    )
    made = session.create_client("ec2", region_name=region, endpoint_url=endpoint or None, config=config)
    async with made as client:
        yield client


class Ec2Api:
    """EC2, called at its pace.

    Args:
        connect: makes the client when it is first needed.
    """

    def __init__(self, connect: Connect) -> None:
        self._connect = connect
        self._stack = AsyncExitStack()
        self._pace = Pace()
        self._dice = random.Random()  # noqa: S311 - spreads pauses
        self._client: Any = None
        self._opening = asyncio.Lock()
        self._slow = False
        self.calls: Counter[str] = Counter()

    async def close(self) -> None:
        """Let go of connections."""
        self._client = None
        await self._stack.aclose()

    async def call(self, action: str, *, machines: int = 1, **parameters: Any) -> dict[str, Any]:
        """Make one call, when its turn has come.

        Args:
            action: as the API names it, e.g. ``DescribeInstances``.
            machines: how many it makes, starts or ends.
            parameters: the request.

        Raises:
            Ec2Error: what EC2 answered, or that it did not.
        """
        clock = asyncio.get_running_loop().time
        give_up_at = clock() + THROTTLED_S
        tries = 0
        pause = PAUSE_S
        while True:
            await asyncio.sleep(self._pace.reserve(action, machines, clock()))
            try:
                answer = await self._once(action, parameters)
            except Ec2Error as fault:
                tries += fault.kind is not Kind.THROTTLED
                if fault.kind is Kind.THROTTLED:
                    self.throttled(action)
                if fault.kind not in (Kind.THROTTLED, Kind.AGAIN) or tries >= TRIES_MAX or clock() >= give_up_at:
                    raise
            else:
                self._pace.went_well(action)
                return answer
            await asyncio.sleep(pause * self._dice.uniform(0.5, 1.0))
            pause = min(2 * pause, PAUSE_MAX_S)

    def throttled(self, action: str, *, inside: bool = False) -> None:
        """EC2 throttled a call: the next ones are made more slowly. Said to the log, not to the organizers.

        Args:
            action: of the API.
            inside: EC2 took the request, and throttled the machines of it.
        """
        self._pace.throttled(action, asyncio.get_running_loop().time(), inside=inside)
        if not self._slow:
            log.info("EC2 throttles; mux slows down", action=action)
        self._slow = True

    async def pages(self, action: str, **parameters: Any) -> AsyncIterator[dict[str, Any]]:
        """The pages of a listing. Raises Ec2Error."""
        after: dict[str, Any] = {}
        for _ in range(PAGES_MAX):
            answer = await self.call(action, MaxResults=PAGE, **after, **parameters)
            yield answer
            if not answer.get("NextToken"):
                return
            after = {"NextToken": answer["NextToken"]}
        raise Ec2Error(Kind.WRONG, action, "pages", f"EC2's answer to {action} has more than {PAGES_MAX} pages.")

    async def _once(self, action: str, parameters: dict[str, Any]) -> dict[str, Any]:
        try:
            client = await self._opened()
            self.calls[action] += 1
            answer = cast(dict[str, Any], await getattr(client, xform_name(action))(**parameters))
        except ClientError as error:
            details = error.response.get("Error", {})
            status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
            code, message = str(details.get("Code", "")), str(details.get("Message", ""))
            raise fault_of(action, code, message, status) from error
        except ResponseParserError as error:
            raise _not_aws(action) from error
        except (NoCredentialsError, PartialCredentialsError, CredentialRetrievalError) as error:
            text = "mux finds no AWS credentials; set AWS_PROFILE, or give the mux's machine a role."
            raise Ec2Error(Kind.DENIED, action, "NoCredentials", text) from error
        except (HTTPClientError, EndpointConnectionError, TimeoutError, OSError) as error:
            raise fault_of(action, type(error).__name__, "", 503) from error
        except BotoCoreError as error:
            raise Ec2Error(
                Kind.WRONG, action, type(error).__name__, f"{action} cannot be asked: {quoted(str(error))}"
            ) from error
        if not is_answer(action, answer):
            raise _not_aws(action)
        return answer

    async def _opened(self) -> Any:
        async with self._opening:
            if self._client is None:
                self._client = await self._stack.enter_async_context(self._connect())
            return self._client


def _not_aws(action: str) -> Ec2Error:
    """Somebody else has answered. The call may have taken effect, and the way may be mended meanwhile."""
    text = f"what answers {action} is not EC2; {NOT_AWS_REMEDY}. mux tries again."
    return Ec2Error(Kind.AGAIN, action, NOT_AWS_CODE, text)
