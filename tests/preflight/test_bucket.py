"""The bucket of attendees' files is looked at before the event: asked of moto, and judged."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import nullcontext
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from mux.config import parse
from mux.files.s3 import connected
from mux.preflight.bucket import BLOCKS, OBJECT_ACTIONS, PUBLIC, BucketFacts, checked, gathered, judged
from mux.preflight.finding import Finding, Outcome
from mux.preflight.run import preflight
from tests.config.files import VALID
from tests.e2e.harness import free_ports
from tests.files.conftest import moto_server
from tests.files.places import BUCKET, PREFIX, S3Place, s3_place

__all__ = ["moto_server"]  # a fixture

ALLOWED = dict.fromkeys(OBJECT_ACTIONS, "")
WELL = BucketFacts(region="eu-central-1", codes=ALLOWED, blocks=frozenset(BLOCKS), encryption="AES256")


@pytest.fixture
async def place(moto_server: str) -> AsyncIterator[S3Place]:
    """A fresh bucket."""
    async with s3_place(moto_server, 0.0) as made:
        yield made


async def facts_of(place: S3Place, bucket: str = BUCKET) -> BucketFacts:
    return await gathered(lambda: nullcontext(place.client), bucket, PREFIX)


async def all_keys(place: S3Place) -> list[str]:
    page = await place.client.list_objects_v2(Bucket=BUCKET)
    return [each["Key"] for each in page.get("Contents", ())]


def by_check(findings: list[Finding]) -> dict[str, Finding]:
    return {finding.check: finding for finding in findings}


async def test_a_bucket_as_it_should_be_is_ok_and_left_as_it_was(place: S3Place) -> None:
    public = {"PublicAccessBlockConfiguration": dict.fromkeys(BLOCKS, True)}
    await place.client.put_public_access_block(Bucket=BUCKET, **public)
    rules = {"Rules": [{"ApplyServerSideEncryptionByDefault": {"SSEAlgorithm": "AES256"}}]}
    await place.client.put_bucket_encryption(Bucket=BUCKET, ServerSideEncryptionConfiguration=rules)
    findings = judged(await facts_of(place), BUCKET, PREFIX, "eu-central-1")
    assert {finding.outcome for finding in findings} == {Outcome.OK}, findings
    assert await all_keys(place) == []


async def test_what_a_bucket_lacks_is_told(place: S3Place) -> None:
    found = by_check(judged(await facts_of(place), BUCKET, PREFIX, "eu-west-1"))
    assert found["bucket"].outcome is Outcome.FAILURE
    assert 'files.region to "eu-central-1"' in found["bucket"].remedy
    assert found["bucket permissions"].outcome is Outcome.OK
    assert found["bucket access"].outcome is found["bucket encryption"].outcome is Outcome.WARNING
    assert "bucket versions" not in found


@pytest.mark.parametrize("action", ["s3:PutObject", "s3:GetObject", "s3:DeleteObject"])
async def test_a_permission_that_is_missing_is_named(place: S3Place, action: str) -> None:
    statement = {"Effect": "Deny", "Principal": "*", "Action": action, "Resource": f"arn:aws:s3:::{BUCKET}/*"}
    policy = json.dumps({"Version": "2012-10-17", "Statement": [statement]})
    await place.client.put_bucket_policy(Bucket=BUCKET, Policy=policy)
    if action == "s3:PutObject":  # nothing is put, of which an old version would be left
        await place.client.put_bucket_versioning(Bucket=BUCKET, VersioningConfiguration={"Status": "Enabled"})
    facts = await facts_of(place)
    assert facts.versions == ("Enabled" if action == "s3:PutObject" else "")
    await place.client.delete_bucket_policy(Bucket=BUCKET)
    found = by_check(judged(facts, BUCKET, PREFIX, "eu-central-1"))
    left = await all_keys(place)
    if action == "s3:DeleteObject":
        assert left == [facts.left]
        await place.client.delete_object(Bucket=BUCKET, Key=facts.left)
        [permissions, told] = [one for one in judged(facts, BUCKET, "", "") if one.check == "bucket permissions"]
        assert facts.left in told.said
    else:
        assert left == []
        permissions = found["bucket permissions"]
    assert permissions.outcome is Outcome.FAILURE
    assert permissions.said.endswith(f": {action}")


async def test_a_bucket_that_is_not_there_is_one_failure(place: S3Place) -> None:
    [finding] = judged(await facts_of(place, "nobodys-files"), "nobodys-files", PREFIX, "eu-central-1")
    assert (finding.outcome, finding.said) == (Outcome.FAILURE, "there is no bucket nobodys-files")


@pytest.mark.long
async def test_a_service_that_is_not_there_is_one_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "testing")
    [port] = free_ports(1)
    facts = await gathered(partial(connected, "eu-central-1", f"http://127.0.0.1:{port}"), BUCKET, PREFIX)
    [finding] = judged(facts, BUCKET, PREFIX, "eu-central-1")
    assert finding.outcome is Outcome.FAILURE
    assert finding.said == f"asking for {BUCKET} was answered with EndpointConnectionError"


async def test_an_event_with_a_bucket_is_checked_with_it(
    place: S3Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "testing")
    more = f'\n[files]\nstore = "s3"\nbucket = "{BUCKET}"\nregion = "eu-central-1"\nendpoint = "{place.url}"\n'
    file = parse(VALID + more, base=tmp_path, environ={}, files=False)
    found = by_check(await preflight(file, {}))
    assert found["bucket"].outcome is Outcome.OK
    assert found["bucket permissions"].outcome is Outcome.OK
    assert next(iter(await checked(file))).check == "bucket"


@pytest.mark.parametrize(
    ("facts", "check", "outcome", "said"),
    [
        ({"there": "403"}, "bucket", Outcome.FAILURE, "S3 denies camp-files to mux"),
        ({"there": "NoCredentialsError"}, "bucket", Outcome.FAILURE, "no credentials"),
        ({"there": "EndpointConnectionError"}, "bucket", Outcome.FAILURE, "EndpointConnectionError"),
        ({"region": ""}, "bucket", Outcome.OK, "is there"),
        ({"overwritten": True}, "bucket permissions", Outcome.FAILURE, "writes over what is there"),
        ({"codes": ALLOWED | {"s3:ListBucket": "SlowDown"}}, "bucket permissions", Outcome.FAILURE, "SlowDown"),
        ({"codes": ALLOWED | {PUBLIC: "AccessDenied"}}, "bucket access", Outcome.WARNING, "cannot be found out"),
        ({"blocks": frozenset(BLOCKS[1:])}, "bucket access", Outcome.WARNING, "BlockPublicAcls"),
        ({"versions": "Suspended"}, "bucket versions", Outcome.WARNING, "suspended"),
    ],
)
def test_what_is_found_is_judged(facts: dict[str, Any], check: str, outcome: Outcome, said: str) -> None:
    made = {name: getattr(WELL, name) for name in BucketFacts.__slots__} | facts
    found = by_check(judged(BucketFacts(**made), BUCKET, PREFIX, "eu-central-1"))
    assert (found[check].outcome, said in found[check].said) == (outcome, True), found[check]
    assert all(finding.remedy for finding in found.values() if finding.outcome is not Outcome.OK)
