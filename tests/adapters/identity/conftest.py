"""A hostile provider, and a client of it whose clock the test sets."""

from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, field

import pytest
from pydantic import SecretStr

from adapters.identity.oidc import OidcProvider
from domain.login import Person
from tests.adapters.identity.provider import CLIENT_ID, HostileProvider, hostile_provider


@dataclass
class Config:
    issuer: str
    client_id: str = CLIENT_ID
    client_secret: SecretStr | None = None
    scopes: Sequence[str] = ("openid", "email")
    algorithms: Sequence[str] = ("ES256", "RS256", "PS256", "EdDSA")
    jwks_ttl_s: int = 300
    timeout_ms: int = 5_000


@dataclass
class Client:
    """`OidcProvider` as a login uses it; `now` is the clock's."""

    provider: OidcProvider
    nonce: str
    clock: list[float] = field(default_factory=lambda: [0.0])

    async def log_in(self, code: str = "c", *, email: bool = False) -> Person:
        return await self.provider.exchange(
            code, verifier="v" * 43, redirect_uri="https://app.example/cb", nonce=self.nonce, email=email
        )


MakeClient = Callable[..., Client]


@pytest.fixture
async def provider() -> AsyncIterator[HostileProvider]:
    async with hostile_provider() as made:
        yield made


@pytest.fixture
async def make_client(provider: HostileProvider) -> AsyncIterator[MakeClient]:
    """With changes to its Config."""
    made: list[Client] = []

    def make(*, plain_http: bool = False, **changes: object) -> Client:
        clock = [0.0]
        config = Config(**{"issuer": provider.issuer, **changes})  # type: ignore[arg-type]
        client = OidcProvider(config, leeway_s=5, plain_http=plain_http, clock=lambda: clock[0])
        made.append(Client(client, provider.nonce, clock))
        return made[-1]

    yield make
    for client in made:
        await client.provider.close()


@pytest.fixture
def client(make_client: MakeClient) -> Client:
    return make_client()
