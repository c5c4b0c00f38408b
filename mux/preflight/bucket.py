"""The bucket of ``[files]``: whether attendees' files can be kept there, and whether they stay between us.

Facts are gathered first, then judged. Rules: the one thing that is written is a small object of the check's own below
``<prefix>check/``, which the store of files does not look at; it is removed, or it is said that it was not.
"""

from __future__ import annotations

import base64
import hashlib
import secrets
from collections.abc import Awaitable, Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from botocore.exceptions import BotoCoreError, ClientError
from botocore.parsers import ResponseParserError

from mux.config import EventFile
from mux.files.s3 import Connect, connected
from mux.preflight.finding import Finding, failure, ok, warning

CHECK = "bucket"
PROBE = b"mux check"
MISSING_CODES = frozenset({"404", "NoSuchBucket"})
REFUSED_CODES = frozenset({"403", "AccessDenied", "AllAccessDisabled"})
TAKEN_CODES = frozenset({"412", "PreconditionFailed"})
"""What ``If-None-Match`` is answered with where there is something already."""
BLOCKS = ("BlockPublicAcls", "BlockPublicPolicy", "IgnorePublicAcls", "RestrictPublicBuckets")
NOT_BLOCKED = "NoSuchPublicAccessBlockConfiguration"
NOT_ENCRYPTED = "ServerSideEncryptionConfigurationNotFoundError"
OBJECT_ACTIONS = ("s3:ListBucket", "s3:PutObject", "s3:GetObject", "s3:DeleteObject")
PUBLIC = "s3:GetBucketPublicAccessBlock"
ENCRYPTION = "s3:GetEncryptionConfiguration"
VERSIONS = "s3:GetBucketVersioning"


@dataclass(frozen=True, slots=True)
class BucketFacts:
    """A bucket.

    Args:
        there: the code that asking for it was answered with; empty for yes.
        region: where it is, as S3 says; empty where the service does not say.
        codes: permission to the code that its use was answered with; empty for allowed. Nothing for what was not tried.
        overwritten: the service wrote over an object that it was told to leave.
        left: key of the check's own object, if it could not be removed.
        blocks: of ``BLOCKS``, those that are on.
        encryption: how objects are encrypted; empty for not.
        versions: whether old versions are kept: ``Enabled``, ``Suspended`` (of those there were), or empty.
    """

    there: str = ""
    region: str = ""
    codes: Mapping[str, str] = field(default_factory=dict)
    overwritten: bool = False
    left: str = ""
    blocks: frozenset[str] = frozenset()
    encryption: str = ""
    versions: str = ""


async def checked(file: EventFile, connect: Connect | None = None) -> list[Finding]:
    """Every finding about the bucket of an event that keeps its files in one.

    Args:
        file: the event file.
        connect: makes the client; None for one with the credentials that the AWS tools would find.
    """
    files = file.files
    connect = connect or partial(connected, files.region, files.endpoint or "")
    facts = await gathered(connect, files.bucket, files.prefix)
    return judged(facts, files.bucket, files.prefix, files.region)


# -- facts -------------------------------------------------------------------------------------------------------------


async def gathered(connect: Connect, bucket: str, prefix: str) -> BucketFacts:
    """Facts about a bucket. Never raises for what S3 says."""
    try:
        async with connect() as client:
            return await _Look(client, bucket).facts(prefix)
    except (BotoCoreError, ResponseParserError, OSError, TimeoutError) as error:
        return BucketFacts(there=type(error).__name__)


class _Look:
    """One look at a bucket; notes what each permission's use was answered with."""

    def __init__(self, client: Any, bucket: str) -> None:
        self._client = client
        self._bucket = bucket
        self._codes: dict[str, str] = {}

    async def facts(self, prefix: str) -> BucketFacts:
        here = await self._ask("", self._client.head_bucket)
        if there := self._codes.pop(""):
            return BucketFacts(there=there)
        overwritten, left = await self._probe(f"{prefix}check/{secrets.token_hex(8)}")
        public = await self._ask(PUBLIC, self._client.get_public_access_block)
        blocks = public.get("PublicAccessBlockConfiguration", {})
        encryption = await self._ask(ENCRYPTION, self._client.get_bucket_encryption)
        rules = encryption.get("ServerSideEncryptionConfiguration", {}).get("Rules", ())
        how = [rule.get("ApplyServerSideEncryptionByDefault", {}).get("SSEAlgorithm", "") for rule in rules]
        versions = await self._ask(VERSIONS, self._client.get_bucket_versioning)
        return BucketFacts(
            region=here.get("BucketRegion", ""),
            codes=self._codes,
            overwritten=overwritten,
            left=left,
            blocks=frozenset(name for name in BLOCKS if blocks.get(name)),
            encryption=", ".join(filter(None, how)),
            versions=versions.get("Status", ""),
        )

    async def _probe(self, key: str) -> tuple[bool, str]:
        """Put, put again, read, list and delete an object; whether it was written over, and the key if it is left."""
        checksum = base64.b64encode(hashlib.sha256(PROBE).digest()).decode()
        put = partial(self._client.put_object, Key=key, Body=PROBE, ChecksumSHA256=checksum, IfNoneMatch="*")
        await self._ask("s3:PutObject", put)
        if self._codes["s3:PutObject"]:
            await self._ask("s3:ListBucket", self._client.list_objects_v2, Prefix=key)
            return False, ""
        try:
            await self._ask("again", put)
            overwritten = self._codes.pop("again") not in TAKEN_CODES
            await self._ask("s3:GetObject", self._client.get_object, Key=key)
            listed = await self._ask("s3:ListBucket", self._client.list_objects_v2, Prefix=key)
            if listed and key not in {each["Key"] for each in listed.get("Contents", ())}:
                self._codes["s3:ListBucket"] = "a listing without what was put"
        finally:
            deleted = await self._ask(
                "s3:DeleteObject", self._client.delete_objects, Delete={"Objects": [{"Key": key}]}
            )
        if errors := deleted.get("Errors"):
            self._codes["s3:DeleteObject"] = str(errors[0].get("Code"))
        return overwritten, key if self._codes["s3:DeleteObject"] else ""

    async def _ask(self, permission: str, call: Callable[..., Awaitable[Any]], **parameters: Any) -> dict[str, Any]:
        """The answer, or nothing; the code is noted."""
        try:
            answer: dict[str, Any] = await call(Bucket=self._bucket, **parameters)
        except ClientError as error:
            self._codes[permission] = str(error.response["Error"]["Code"])
        except (BotoCoreError, ResponseParserError, OSError, TimeoutError) as error:
            self._codes[permission] = type(error).__name__
        else:
            self._codes[permission] = ""
            return answer
        return {}


# -- what they mean ----------------------------------------------------------------------------------------------------


def judged(facts: BucketFacts, bucket: str, prefix: str, region: str) -> list[Finding]:
    """What they mean, in the order in which people should read it.

    Args:
        facts: what was found.
        bucket, prefix, region: what the event file says.
    """
    if facts.there:
        return [_not_there(facts.there, bucket)]
    return [
        _place(facts, bucket, region),
        *_objects(facts, bucket, prefix),
        _public(facts),
        _encryption(facts),
        *_versions(facts),
    ]


def _not_there(code: str, bucket: str) -> Finding:
    if code in MISSING_CODES:
        return failure(CHECK, f"there is no bucket {bucket}", "make it, or correct files.bucket")
    if code in REFUSED_CODES:
        text = f"S3 denies {bucket} to mux"
        return failure(CHECK, text, "allow s3:ListBucket to mux's role; or it is somebody else's: correct files.bucket")
    if code in ("NoCredentialsError", "PartialCredentialsError"):
        return failure(CHECK, "there are no credentials to ask S3 with", "give mux some, as the AWS tools find them")
    remedy = "check files.region, files.endpoint and the network"
    return failure(CHECK, f"asking for {bucket} was answered with {code}", remedy)


def _place(facts: BucketFacts, bucket: str, region: str) -> Finding:
    if facts.region and facts.region != region:
        return failure(
            CHECK, f"{bucket} is in {facts.region}, not in {region}", f'set files.region to "{facts.region}"'
        )
    return ok(CHECK, f"{bucket} is there, in {facts.region}" if facts.region else f"{bucket} is there")


def _objects(facts: BucketFacts, bucket: str, prefix: str) -> Iterator[Finding]:
    check = "bucket permissions"
    below = f"{bucket}/{prefix}"
    bad = {action: facts.codes[action] for action in OBJECT_ACTIONS if facts.codes.get(action)}
    denied = [action for action, code in bad.items() if code in REFUSED_CODES]
    if denied:
        remedy = "add them to the policy of mux's role, and what the bucket's own KMS key wants, if it has one"
        yield failure(check, f"denied below {below}: {', '.join(denied)}", remedy)
    for action, code in bad.items():
        if action not in denied:
            yield failure(check, f"{action} below {below} was answered with {code}", "mend that, and check again")
    if facts.left:
        yield warning(check, f"the check's own object is left in {bucket}: {facts.left}", "delete it")
    if facts.overwritten:
        text = "the service writes over what is there: it passes If-None-Match over"
        yield failure(check, text, "take one that does not: a ship could replace what an attendee's snapshot names")
    if not bad and not facts.overwritten:
        yield ok(check, f"an object was put, read, listed and deleted below {below}")


def _public(facts: BucketFacts) -> Finding:
    check = "bucket access"
    code = facts.codes.get(PUBLIC, "")
    if code and code != NOT_BLOCKED:
        return _unknown(check, PUBLIC, code, "that nobody else may read it")
    missing = [name for name in BLOCKS if name not in facts.blocks]
    if missing:
        text = f"public access is not blocked: {', '.join(missing)}"
        return warning(check, text, "block all public access to the bucket: one wrong policy would show people's files")
    return ok(check, "public access is blocked")


def _encryption(facts: BucketFacts) -> Finding:
    check = "bucket encryption"
    code = facts.codes.get(ENCRYPTION, "")
    if code and code != NOT_ENCRYPTED:
        return _unknown(check, ENCRYPTION, code, "that it encrypts what it keeps")
    if not facts.encryption:
        return warning(check, "objects are not encrypted by themselves", "set the bucket's default encryption")
    return ok(check, f"objects are encrypted ({facts.encryption})")


def _versions(facts: BucketFacts) -> Iterator[Finding]:
    check = "bucket versions"
    if code := facts.codes.get(VERSIONS, ""):
        yield _unknown(check, VERSIONS, code, "that it keeps no old versions")
    elif facts.versions:
        text = f"versioning is {facts.versions.lower()}: what is deleted of attendees' files may stay as old versions"
        yield warning(check, text, "take a bucket without, or expire old versions by a lifecycle rule")


def _unknown(check: str, permission: str, code: str, what: str) -> Finding:
    text = f"cannot be found out: {permission} was answered with {code}"
    return warning(check, text, f"allow it to mux's role, or see for yourself {what}")
