"""The registry client against a real registry, with every way to log in; and against servers that misbehave."""

from __future__ import annotations

import base64
import hashlib
import json
import time
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from pathlib import Path

import aiohttp
import pytest
from aiohttp import web
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from mux.registry import (
    ImageMissingError,
    Login,
    LoginRefusedError,
    Reference,
    RegistryAnswerError,
    RegistryBusyError,
    RegistryClient,
    RegistryError,
    RegistryUnreachableError,
)
from tests.certificates import Authority, Issued
from tests.registry.server import PASSWORD, USER, Pusher, Server, free_port, login, registry

LOGIN = Login(USER, PASSWORD)


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with registry(tmp_path_factory.mktemp("plain") / "registry") as server:
        yield server


@pytest.fixture
async def http() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession() as session:
        yield session


@pytest.fixture
async def client() -> AsyncIterator[RegistryClient]:
    async with RegistryClient() as opened:
        yield opened


async def test_a_tag_is_told_by_its_digest_and_the_image_by_its_parts(
    plain: Server, http: aiohttp.ClientSession, client: RegistryClient
) -> None:
    digest = await Pusher(http, f"http://{plain.host}").image("camp/intro", "v1", layers=[b"one" * 999, b"two"])
    reference = Reference.parse(f"{plain.host}/camp/intro:v1")
    assert await client.digest(reference) == digest
    manifest = await client.manifest(reference)
    assert (manifest.digest, manifest.image_digest, manifest.platform) == (digest, digest, "linux/amd64")
    assert len(manifest.layers) == 2
    assert manifest.compressed_bytes == manifest.config.size_bytes + sum(layer.size_bytes for layer in manifest.layers)
    assert await client.manifest(reference.pinned(digest)) == manifest
    assert await client.missing_parts(reference, manifest) == ()


async def test_of_an_index_the_ships_platform_counts(
    plain: Server, http: aiohttp.ClientSession, client: RegistryClient
) -> None:
    pusher = Pusher(http, f"http://{plain.host}")
    digests = {a: await pusher.image("camp/both", architecture=a, layers=[a.encode()]) for a in ("amd64", "arm64")}
    index = await pusher.index("camp/both", "v1", digests)
    reference = Reference.parse(f"{plain.host}/camp/both:v1")
    found = await client.manifest(reference, "linux/arm64")
    assert (found.digest, found.image_digest, found.platform) == (index, digests["arm64"], "linux/arm64")
    with pytest.raises(ImageMissingError, match=r"not there for linux/s390x \(there is linux/amd64, linux/arm64\)"):
        await client.manifest(reference, "linux/s390x")


async def test_an_image_for_other_machines_is_told(
    plain: Server, http: aiohttp.ClientSession, client: RegistryClient
) -> None:
    await Pusher(http, f"http://{plain.host}").image("camp/arm", "v1", architecture="arm64")
    with pytest.raises(ImageMissingError, match="is for linux/arm64; the ships are linux/amd64"):
        await client.manifest(Reference.parse(f"{plain.host}/camp/arm:v1"))


async def test_a_layer_that_the_registry_has_lost_is_found(
    plain: Server, http: aiohttp.ClientSession, client: RegistryClient
) -> None:
    await Pusher(http, f"http://{plain.host}").image("camp/lost", "v1", layers=[b"kept", b"lost"])
    reference = Reference.parse(f"{plain.host}/camp/lost:v1")
    manifest = await client.manifest(reference)
    lost = manifest.layers[1]
    async with http.delete(f"http://{plain.host}/v2/camp/lost/blobs/{lost.digest}") as response:
        assert response.status == 202
    assert await client.missing_parts(reference, manifest) == (lost,)


async def test_what_is_not_there_is_told_with_what_to_do(plain: Server, client: RegistryClient) -> None:
    with pytest.raises(ImageMissingError, match="push it, or correct its name"):
        await client.digest(Reference.parse(f"{plain.host}/camp/nothing:v1"))


async def test_a_registry_that_is_not_there_is_told(client: RegistryClient) -> None:
    with pytest.raises(RegistryUnreachableError) as raised:
        await client.digest(Reference.parse(f"127.0.0.1:{free_port()}/a"))
    assert raised.value.retryable
    assert "cannot be reached (connection refused); try again" in str(raised.value)


# -- logins ---------------------------------------------------------------------------------------------------------


async def test_basic_login(tmp_path: Path) -> None:
    with registry(tmp_path / "registry", auth=login(tmp_path / "auth")) as server:
        headers = {"Authorization": aiohttp.encode_basic_auth(USER, PASSWORD)}
        async with aiohttp.ClientSession(headers=headers) as pushing:
            digest = await Pusher(pushing, f"http://{server.host}").image("camp/intro", "v1")
        reference = Reference.parse(f"{server.host}/camp/intro:v1")
        async with RegistryClient({server.host: LOGIN}) as client:
            assert await client.digest(reference) == digest
        async with RegistryClient() as client:
            with pytest.raises(LoginRefusedError, match="wants a login"):
                await client.digest(reference)
        async with RegistryClient({server.host: Login(USER, "wrong-horse")}) as client:
            with pytest.raises(LoginRefusedError) as raised:
                await client.digest(reference)
    assert "wrong-horse" not in str(raised.value) + repr(Login(USER, "wrong-horse"))


class Tokens:
    """A token service (distribution's token specification) that signs for who knows the password."""

    def __init__(self, signer: Issued) -> None:
        key = load_pem_private_key(signer.key, None)
        assert isinstance(key, ec.EllipticCurvePrivateKey)
        self._key = key
        self._certificate = "".join(signer.chain.decode().splitlines()[1:-1])
        self.asked: list[tuple[str, str]] = []

    async def token(self, request: web.Request) -> web.Response:
        given = request.headers.get("Authorization", "")
        if given and given != aiohttp.encode_basic_auth(USER, PASSWORD):
            return web.json_response({}, status=401)
        self.asked.append((request.query["scope"], given.partition(" ")[0]))
        kind, name, actions = request.query["scope"].split(":")
        access = [{"type": kind, "name": name, "actions": actions.split(",")}] if given else []
        return web.json_response({"token": self.signed(request.query["service"], access)})

    def signed(self, service: str, access: Sequence[Mapping[str, object]]) -> str:
        now = int(time.time())
        claims = {"iss": "tests", "aud": service, "exp": now + 600, "nbf": now - 60, "iat": now, "access": access}
        header = {"typ": "JWT", "alg": "ES256", "x5c": [self._certificate]}
        signed = ".".join(_url(json.dumps(part).encode()) for part in (header, claims))
        r, s = decode_dss_signature(self._key.sign(signed.encode(), ec.ECDSA(SHA256())))
        return f"{signed}.{_url(r.to_bytes(32, 'big') + s.to_bytes(32, 'big'))}"


def _url(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


async def serving(app: web.Application) -> tuple[web.AppRunner, int]:
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    port: int = runner.addresses[0][1]
    return runner, port


async def test_token_login(tmp_path: Path) -> None:
    authority = Authority()
    tokens = Tokens(authority.issue("signer"))
    (tmp_path / "roots.pem").write_bytes(authority.pem)
    app = web.Application()
    app.router.add_get("/token", tokens.token)
    runner, port = await serving(app)
    auth = {
        "token": {
            "realm": f"http://127.0.0.1:{port}/token",
            "service": "registry of tests",
            "issuer": "tests",
            "rootcertbundle": str(tmp_path / "roots.pem"),
        }
    }
    access: list[Mapping[str, object]] = [{"type": "repository", "name": "camp/a", "actions": ["push", "pull"]}]
    pusher_token = tokens.signed("registry of tests", access)
    with registry(tmp_path / "registry", auth=auth) as server:
        headers = {"Authorization": f"Bearer {pusher_token}"}
        async with aiohttp.ClientSession(headers=headers) as pushing:
            digest = await Pusher(pushing, f"http://{server.host}").image("camp/a", "v1")
        reference = Reference.parse(f"{server.host}/camp/a:v1")
        async with RegistryClient({server.host: LOGIN}) as client:
            assert await client.digest(reference) == digest
            await client.manifest(reference)
            assert tokens.asked == [("repository:camp/a:pull", "Basic")]  # one token, for pulling only, used again
        async with RegistryClient({server.host: Login(USER, "wrong")}) as client:
            with pytest.raises(LoginRefusedError, match="check user and password"):
                await client.digest(reference)
        async with RegistryClient() as client:
            with pytest.raises(LoginRefusedError):
                await client.digest(reference)
    await runner.cleanup()


# -- TLS ------------------------------------------------------------------------------------------------------------


async def test_tls_is_verified_and_never_left(tmp_path: Path) -> None:
    authority = Authority()
    files = authority.issue("127.0.0.1").write(tmp_path, "registry")
    with registry(tmp_path / "registry", tls=files) as server:
        reference = Reference.parse(f"{server.host}/camp/intro:v1")
        async with aiohttp.ClientSession() as http:
            pusher = Pusher(http, f"https://{server.host}", ssl=authority.trusting())
            digest = await pusher.image("camp/intro", "v1")
        async with RegistryClient(tls=authority.trusting()) as client:
            assert await client.digest(reference) == digest
        async with RegistryClient() as client:
            with pytest.raises(RegistryUnreachableError, match="certificate that is not trusted"):
                await client.digest(reference)


async def test_without_tls_only_on_this_machine(plain: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    # The name leads here all the same, so that nothing leaves this machine.
    elsewhere = Reference.parse(f"{plain.host}/camp/intro:v1")
    monkeypatch.setattr(Reference, "loopback", property(lambda _: False))
    async with RegistryClient() as client:
        with pytest.raises(RegistryUnreachableError, match="does not speak TLS"):
            await client.digest(elsewhere)


# -- servers that misbehave -----------------------------------------------------------------------------------------

MANIFEST = json.dumps(
    {"schemaVersion": 2, "layers": [], "config": {"digest": "sha256:" + "0" * 64, "size": 2}}
).encode()


def answer(status: int = 200, body: bytes = MANIFEST, **headers: str) -> web.Response:
    return web.Response(status=status, body=body, headers={name.replace("_", "-"): v for name, v in headers.items()})


@pytest.mark.parametrize(
    ("response", "error", "words"),
    [
        ({"status": 429}, RegistryBusyError, "try again in a minute"),
        ({"status": 503}, RegistryBusyError, "try again in a minute"),
        ({"status": 418}, RegistryAnswerError, "is it an image registry"),
        ({"status": 403}, LoginRefusedError, "does not let this login pull"),
        ({"body": b"x" * (5 << 20)}, RegistryAnswerError, "sent more than"),
        ({"body": b"<html>"}, RegistryAnswerError, "not JSON"),
        ({"body": b'{"schemaVersion": 1}'}, RegistryAnswerError, "not known"),
        ({"body": b'{"schemaVersion": 2, "layers": 3}'}, RegistryAnswerError, "cannot be read"),
        ({"body": b'{"schemaVersion": 2, "manifests": {}}'}, RegistryAnswerError, "cannot be read"),
        ({"body": b"[" * 100_000}, RegistryAnswerError, "not JSON"),
        ({"Docker_Content_Digest": "sha256:" + "1" * 64}, RegistryAnswerError, "does not match its digest"),
        ({"status": 401, "WWW_Authenticate": "Negotiate"}, LoginRefusedError, "give mux a login"),
        ({"status": 401, "WWW_Authenticate": "Bearer"}, RegistryAnswerError, "without TLS|no token service"),
        ({"status": 302, "Location": "/v2/a/manifests/latest"}, RegistryAnswerError, "in circles"),
    ],
)
async def test_what_a_registry_may_send_ends_in_one_sentence(
    client: RegistryClient, response: dict[str, object], error: type[RegistryError], words: str
) -> None:
    app = web.Application()

    async def handler(_: web.Request) -> web.Response:
        return answer(**response)  # type: ignore[arg-type]

    app.router.add_route("*", "/{path:.*}", handler)
    runner, port = await serving(app)
    with pytest.raises(error, match=words):
        await client.manifest(Reference.parse(f"127.0.0.1:{port}/a"))
    await runner.cleanup()


async def test_a_login_does_not_follow_to_another_host(client: RegistryClient) -> None:
    seen: list[str | None] = []

    async def store(request: web.Request) -> web.Response:
        seen.append(request.headers.get("Authorization"))
        return answer()

    elsewhere = web.Application()
    elsewhere.router.add_get("/elsewhere", store)
    other, other_port = await serving(elsewhere)

    async def registry_of(request: web.Request) -> web.Response:
        if "Authorization" not in request.headers:
            return answer(401, WWW_Authenticate='Basic realm="x"')
        return answer(307, Location=f"http://127.0.0.1:{other_port}/elsewhere")

    app = web.Application()
    app.router.add_route("*", "/v2/{path:.*}", registry_of)
    runner, port = await serving(app)
    async with RegistryClient({f"127.0.0.1:{port}": LOGIN}) as logged_in:
        digest = await logged_in.digest(Reference.parse(f"127.0.0.1:{port}/a"))
    assert digest == "sha256:" + hashlib.sha256(MANIFEST).hexdigest()
    assert seen == [None]
    await runner.cleanup()
    await other.cleanup()
