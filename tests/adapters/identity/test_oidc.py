"""The provider as a server: discovery, keys that change, the exchange of codes, and answers that are none."""

import asyncio
import base64

import httpx
import pytest
from aiohttp import web
from joserfc.jwk import ECKey
from pydantic import SecretStr

from domain.errors import InvalidGrant, LoginRefused, ProviderUnavailable
from tests.adapters.identity.conftest import Client, MakeClient
from tests.adapters.identity.provider import EMAIL, HostileProvider, sign

DISCOVERY = "/.well-known/openid-configuration"


async def way_in(client: Client) -> httpx.URL:
    return httpx.URL(
        await client.provider.authorization_url(
            redirect_uri="https://app.example/cb?x=1", state="st", nonce="no", challenge="ch"
        )
    )


async def test_the_way_in_is_the_providers_and_asks_for_a_code_under_pkce(
    provider: HostileProvider, client: Client
) -> None:
    provider.metadata = {"authorization_endpoint": provider.issuer + "/authorize?tenant=7"}
    url = await way_in(client)
    assert dict(url.params) == {
        "tenant": "7", "response_type": "code", "client_id": "gateway", "redirect_uri": "https://app.example/cb?x=1",
        "scope": "openid email", "state": "st", "nonce": "no", "code_challenge": "ch", "code_challenge_method": "S256",
    }  # fmt: skip


async def test_a_code_is_exchanged_with_its_verifier_and_the_redirect_uri(
    provider: HostileProvider, client: Client
) -> None:
    assert (await client.log_in("the-code")).email == EMAIL
    assert provider.forms == [
        {
            "grant_type": "authorization_code", "code": "the-code", "redirect_uri": "https://app.example/cb",
            "code_verifier": "v" * 43, "client_id": "gateway",
        }
    ]  # fmt: skip
    await client.log_in()
    assert provider.hits == {DISCOVERY: 1, "/keys": 1, "/token": 2}


async def test_a_client_with_a_secret_says_who_it_is_as_the_provider_wants_it(
    provider: HostileProvider, make_client: MakeClient
) -> None:
    await make_client(client_secret=SecretStr("s:1 2")).log_in()
    basic = provider.headers[1]["authorization"].removeprefix("Basic ")
    assert base64.b64decode(basic) == b"gateway:s%3A1%202"
    assert "client_secret" not in provider.forms[0]

    provider.metadata = {"token_endpoint_auth_methods_supported": ["client_secret_post", "private_key_jwt"]}
    await make_client(client_secret=SecretStr("s:1 2")).log_in()
    assert provider.forms[1]["client_secret"] == "s:1 2"


@pytest.mark.parametrize(
    "metadata",
    [
        {"issuer": "https://evil.example"},
        {"issuer": "SLASH"},
        {"issuer": None},
        {"token_endpoint": "http://evil.example/token"},
        {"token_endpoint": None},
        {"jwks_uri": "file:///etc/passwd"},
        {"jwks_uri": ["https://idp.example/keys"]},
        {"authorization_endpoint": "javascript:alert(1)"},
        {"authorization_endpoint": "https://user:secret@idp.example/"},
        {"authorization_endpoint": "https://"},
    ],
    ids=str,
)
async def test_a_discovery_that_is_not_its_own_or_not_safe_is_refused(
    metadata: dict[str, object], provider: HostileProvider, client: Client
) -> None:
    if metadata.get("issuer") == "SLASH":
        metadata = {"issuer": provider.issuer + "/"}
    provider.metadata = metadata
    with pytest.raises(ProviderUnavailable):
        await way_in(client)


async def test_without_tls_other_machines_are_spoken_to_on_the_embedded_stack_alone(
    provider: HostileProvider, make_client: MakeClient
) -> None:
    provider.metadata = {"authorization_endpoint": "http://idp.example/authorize"}
    assert (await way_in(make_client(plain_http=True))).host == "idp.example"
    with pytest.raises(ProviderUnavailable, match="https"):
        await way_in(make_client())


@pytest.mark.parametrize(
    "answer",
    [
        lambda: web.Response(status=500, text="oops"),
        lambda: web.Response(status=302, headers={"Location": "/elsewhere"}),
        lambda: web.Response(text="<html>"),
        lambda: web.json_response([1]),
        lambda: web.Response(body=b" " * 300_000),
    ],
    ids=["error", "redirect", "page", "list", "oversize"],
)
@pytest.mark.parametrize("path", [DISCOVERY, "/keys", "/token"])
async def test_an_answer_that_is_none_logs_nobody_in(
    path: str, answer: object, provider: HostileProvider, client: Client
) -> None:
    provider.answers[path] = answer  # type: ignore[assignment]
    with pytest.raises((ProviderUnavailable, LoginRefused)):
        await client.log_in()
    assert provider.hits["/elsewhere"] == 0


async def test_a_provider_that_does_not_answer_is_waited_for_once(
    provider: HostileProvider, make_client: MakeClient
) -> None:
    provider.hold = held = asyncio.Event()
    client = make_client(timeout_ms=100)
    for _ in range(3):
        with pytest.raises(ProviderUnavailable):
            await way_in(client)
    assert provider.hits[DISCOVERY] == 1
    provider.hold = None
    held.set()
    client.clock[0] += 11
    await way_in(client)


async def test_nobody_listening_is_told_as_such(make_client: MakeClient) -> None:
    with pytest.raises(ProviderUnavailable, match="ConnectError"):
        await way_in(make_client(issuer="http://127.0.0.1:1"))


async def test_all_who_wait_share_one_fetch(provider: HostileProvider, client: Client) -> None:
    await asyncio.gather(*(client.log_in() for _ in range(20)))
    assert (provider.hits[DISCOVERY], provider.hits["/keys"], provider.hits["/token"]) == (1, 1, 20)


async def test_a_new_key_is_found_at_once_and_an_old_one_is_forgotten(
    provider: HostileProvider, client: Client
) -> None:
    await client.log_in()
    old, new = provider.key, ECKey.generate_key("P-256", auto_kid=True)
    provider.publish(new)
    provider.key = new
    client.clock[0] += 11
    await asyncio.gather(*(client.log_in() for _ in range(20)))
    assert provider.hits["/keys"] == 2
    provider.token = lambda claims: sign(old, claims)
    with pytest.raises(LoginRefused, match="no such key"):
        await client.log_in()


async def test_unknown_keys_do_not_make_us_ask_more_often_than_now_and_then(
    provider: HostileProvider, client: Client
) -> None:
    await client.log_in()
    provider.token = lambda claims: sign(provider.key, claims, kid="made-up")
    for _ in range(5):
        with pytest.raises(LoginRefused, match="no such key"):
            await client.log_in()
    assert provider.hits["/keys"] == 1
    client.clock[0] += 11
    for _ in range(5):
        with pytest.raises(LoginRefused, match="no such key"):
            await client.log_in()
    assert provider.hits["/keys"] == 2


async def test_keys_are_believed_for_their_time_only(provider: HostileProvider, client: Client) -> None:
    await client.log_in()
    provider.publish(ECKey.generate_key("P-256", auto_kid=True))
    client.clock[0] += 299
    await client.log_in()
    client.clock[0] += 2
    with pytest.raises(LoginRefused, match="no such key"):
        await client.log_in()


async def test_keys_that_cannot_be_fetched_any_more_are_not_believed_any_longer(
    provider: HostileProvider, client: Client
) -> None:
    await client.log_in()
    provider.answers["/keys"] = lambda: web.Response(status=500)
    client.clock[0] += 301
    with pytest.raises(ProviderUnavailable):
        await client.log_in()


async def test_a_code_that_the_provider_does_not_know_is_an_invalid_grant(
    provider: HostileProvider, client: Client
) -> None:
    provider.answers["/token"] = lambda: web.json_response({"error": "invalid_grant"}, status=400)
    with pytest.raises(InvalidGrant):
        await client.log_in()


async def test_a_client_that_the_provider_does_not_know_is_told_to_operators(
    provider: HostileProvider, client: Client, caplog: pytest.LogCaptureFixture
) -> None:
    provider.answers["/token"] = lambda: web.json_response({"error": "invalid_client"}, status=401)
    with pytest.raises(ProviderUnavailable, match="HTTP 401"):
        await client.log_in("a-secret-code")
    assert "invalid_client" in caplog.text
    assert "a-secret-code" not in caplog.text


async def test_an_address_may_be_told_by_userinfo_alone(provider: HostileProvider, make_client: MakeClient) -> None:
    """OpenID Connect Core 1.0, 5.4: that is where a provider may keep it."""
    provider.metadata = {"userinfo_endpoint": provider.issuer + "/userinfo"}
    provider.userinfo = dict(provider.person)
    provider.person = {"sub": "ada"}
    client = make_client()
    assert (await client.log_in()).email is None
    assert (await client.log_in(email=True)).email == EMAIL
    assert provider.headers[-1]["authorization"] == "Bearer theirs"

    provider.userinfo["sub"] = "eve"
    with pytest.raises(LoginRefused, match="userinfo"):
        await client.log_in(email=True)
    provider.userinfo = {"sub": "ada", "email": EMAIL, "email_verified": False}
    assert (await client.log_in(email=True)).email is None


async def test_a_provider_without_userinfo_tells_no_address(provider: HostileProvider, client: Client) -> None:
    provider.person = {"sub": "ada"}
    assert (await client.log_in(email=True)).email is None
