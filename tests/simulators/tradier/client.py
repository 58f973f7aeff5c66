"""A bare HTTP client of the simulated venue, knowing only the vendor's documents."""

from dataclasses import dataclass
from typing import Any

import aiohttp

from simulators.tradier import TradierSimulator

TOKEN = "token-1"
JSON = {"Accept": "application/json", "Authorization": f"Bearer {TOKEN}"}
ACCOUNT = "/v1/accounts/VA1"


@dataclass
class Client:
    simulator: TradierSimulator
    http: aiohttp.ClientSession

    async def call(
        self, method: str, path: str, *, headers: dict[str, str] | None = None, **more: Any
    ) -> tuple[int, Any, dict[str, str]]:
        """Status, body (parsed where it is JSON) and headers; JSON with the token unless `headers` are given."""
        url = self.simulator.url + path
        async with self.http.request(method, url, headers=JSON if headers is None else headers, **more) as response:
            body = await (response.json() if "json" in response.content_type else response.text())
            return response.status, body, dict(response.headers)

    async def order(self, tag: str, /, **changes: str) -> tuple[int, Any]:
        form = {
            "class": "equity", "symbol": "AAPL", "side": "buy", "quantity": "5", "type": "market", "duration": "day",
            "tag": tag,
        }  # fmt: skip
        status, body, _ = await self.call("POST", f"{ACCOUNT}/orders", data=form | changes)
        return status, body

    async def get(self, path: str) -> Any:
        status, body, _ = await self.call("GET", path)
        assert status == 200, body
        return body
