"""Sets the demonstration's stage: the other side's simulators as processes, and everybody enrolled over HTTP."""

import asyncio
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import httpx

from settings import Settings
from stack import Stack
from stack.demo_scenario import MANAGER, TENANT, Cast, Member
from stack.dev_token import dev_token
from stack.errors import StackError
from stack.ports import HOST, pick
from stack.probes import http_status
from stack.seed import seed

_SCOPES = "vault:read mirror:manage follower:manage orders:read audit:read"
_TIMEOUT_S = 30
_AT_ONCE = 4


@dataclass(frozen=True, slots=True)
class Simulators:
    """Where the two simulators listen; chosen before they start, as the workers are told first."""

    receiver_port: int
    alpaca_port: int

    @classmethod
    def choose(cls) -> "Simulators":
        receiver = pick()
        return cls(receiver, pick({receiver}))

    @property
    def receiver(self) -> str:
        return f"http://{HOST}:{self.receiver_port}"

    @property
    def alpaca(self) -> str:
        return f"http://{HOST}:{self.alpaca_port}"

    def start(self, stack: Stack) -> None:
        """As the stack's processes, which end with it. Raises StackError."""
        for name, module, port, health in (
            ("receiver", "simulators.receiver", self.receiver_port, "/healthz"),
            ("alpaca", "simulators.alpaca", self.alpaca_port, "/_control/health"),
        ):
            stack.start_process(
                f"simulator-{name}",
                [sys.executable, "-m", module, "--port", str(port)],
                ready=_answers(port, health),
                address=f"http://{HOST}:{port}",
            )


@dataclass(frozen=True, slots=True)
class Enrolled:
    """A follower as the API created it. `key` is its idempotency key there and its account's key id at the broker."""

    follower_id: str
    key: str
    member: Member
    cast: Cast


class Stage:
    """Speaks HTTP only, as a manager's own program would; what has no route yet comes from stack.seed."""

    def __init__(self, settings: Settings, simulators: Simulators) -> None:
        self._settings = settings
        self.simulators = simulators
        self.api_url = f"http://{settings.api.host}:{settings.api.port}"

    async def set(self, casts: Sequence[Cast]) -> list[Enrolled]:
        """Tenant, prices, vaults, followers, endpoints, accounts. Raises StackError where one is refused."""
        await seed(self._settings, TENANT, "Demonstration", {c.symbol: c.price for c in casts})
        async with self.client() as http:
            assets = [{"symbol": c.symbol, "price": str(c.venue_price)} for c in casts]
            await _post(http, f"{self.simulators.alpaca}/_control/instruments", assets)
            for cast in casts:
                await self._create_vault(http, cast)
            slots = asyncio.Semaphore(_AT_ONCE)
            return await asyncio.gather(*(self._enrol(http, slots, c, m) for c in casts for m in c.members))

    def client(self) -> httpx.AsyncClient:
        """Authorised for everything that the demonstration does; deaf to proxies of the environment."""
        token = dev_token(
            self._settings, tenant_id=UUID(TENANT), role="owner", scopes=_SCOPES, subject=MANAGER, ttl_s=3_600
        )
        return httpx.AsyncClient(
            headers={"Authorization": f"Bearer {token}"}, timeout=_TIMEOUT_S, trust_env=False, follow_redirects=False
        )

    async def _create_vault(self, http: httpx.AsyncClient, cast: Cast) -> None:
        body = {"label": cast.label, "nav_usd": str(cast.nav_usd)}
        made = await _post(http, f"{self.api_url}/v1/vaults", body, key=cast.key)
        if made["vault_id"] != cast.vault_id:
            raise StackError(f"the sample queue names {cast.vault_id}, but the vault is {made['vault_id']}")

    async def _enrol(self, http: httpx.AsyncClient, slots: asyncio.Semaphore, cast: Cast, member: Member) -> Enrolled:
        key = f"demo-{cast.label}-{member.label}".replace(" ", "-")
        async with slots:
            if member.route == "alpaca":
                account = {"key_id": key, "secret": account_secret(key), **member.account}
                await _post(http, f"{self.simulators.alpaca}/_control/accounts", account)
            url = f"{self.api_url}/v1/vaults/{cast.vault_id}/followers"
            made = await _post(http, url, self._follower(member, key), key=key)
            if member.route == "webhook":
                told = {"key": made["signing_secret"], "behaviour": dict(member.receiver)}
                await _post(http, f"{self.simulators.receiver}/control/followers/{made['follower_id']}", told)
        return Enrolled(made["follower_id"], key, member, cast)

    def _follower(self, member: Member, key: str) -> dict[str, Any]:
        body: dict[str, Any] = {
            "label": member.label,
            "mode": member.mode.value,
            "scale": str(member.scale),
            "kill_switch": member.kill_switch,
            "fractional": member.fractional,
        }
        if member.max_pos_usd is not None:
            body["max_pos_usd"] = str(member.max_pos_usd)
        if member.route == "webhook":
            # Without the follower in the path: the receiver finds it in the signed body.
            body["webhook"] = {"url": f"{self.simulators.receiver}/v1/hooks/mirror/dispatch"}
        if member.route == "alpaca":
            body["bridged_brokers"] = {
                "equities": {"venue": "alpaca", "environment": "paper", "key_id": key, "secret": account_secret(key)}
            }
        return body


def account_secret(key: str) -> str:
    """The simulated account's secret."""
    return f"secret-of-{key}"


async def _post(http: httpx.AsyncClient, url: str, body: object, *, key: str | None = None) -> Mapping[str, Any]:
    headers = {} if key is None else {"Idempotency-Key": key}
    answer = await http.post(url, json=body, headers=headers)
    if answer.is_error:
        raise StackError(f"POST {httpx.URL(url).path} was refused ({answer.status_code}): {answer.text[:300]}")
    found: Mapping[str, Any] = answer.json() if answer.content else {}
    return found


def _answers(port: int, path: str) -> Callable[[], bool]:
    return lambda: http_status(port, path) == 200
