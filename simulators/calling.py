"""How the reference receiver tells what it has filled: signed callbacks, one after another, until each is answered."""

import asyncio
import json
import logging
import time
from dataclasses import dataclass
from typing import Any, Literal

from aiohttp import ClientError, ClientSession, ClientTimeout
from pydantic import BaseModel, ConfigDict, Field

from domain.signing import headers

_TIMEOUT_S = 10
_AGAIN_S = (0.5, 1, 2, 4, 8, 16)
_log = logging.getLogger(__name__)


class CallBack(BaseModel):
    """What a follower tells of each order after it has answered: `parts` of its quantity one after another, each as a
    fill of its own, then `status`. Sent again for a while where nobody answers, or with 5xx."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    api: str = Field(description="The base URL of the API.", examples=["http://127.0.0.1:8080"])
    parts: tuple[str, ...] = Field(default=(), description="Decimal strings.")
    price: str = Field(default="100", description="Of every part.")
    status: Literal["confirmed", "rejected"] | None = None
    reason: str | None = Field(default=None, description="rejected: why.")
    pause_ms: int = Field(default=0, ge=0, le=60_000, description="Before each callback.")


@dataclass(frozen=True, slots=True)
class CallBackAnswer:
    """What the API said to one callback."""

    delivery_id: str
    confirmation_id: str
    status: int
    body: str


class Calls:
    """The callbacks of one receiver, and what the API said to them."""

    def __init__(self) -> None:
        self.answers: list[CallBackAnswer] = []
        self._calling: set[asyncio.Task[None]] = set()
        self._changed = asyncio.Condition()

    async def close(self) -> None:
        for task in self._calling:
            task.cancel()
        await asyncio.gather(*self._calling, return_exceptions=True)

    async def tell(
        self, api: str, key: bytes, fo_id: str, confirmation_id: str, told: dict[str, Any]
    ) -> CallBackAnswer:
        """Raises aiohttp.ClientError, TimeoutError."""
        body = json.dumps({"follower_order_id": fo_id, **told}).encode()
        signed = headers([key], confirmation_id, int(time.time()), body)
        url = f"{api}/v1/follower-orders/{fo_id}/confirmations"
        timeout = ClientTimeout(total=_TIMEOUT_S)
        async with ClientSession(timeout=timeout) as http, http.post(url, data=body, headers=signed) as answer:
            said = CallBackAnswer(fo_id, confirmation_id, answer.status, await answer.text())
        async with self._changed:
            self.answers.append(said)
            self._changed.notify_all()
        return said

    async def wait(self, fo_id: str, count: int = 1, timeout_s: float = 10) -> list[CallBackAnswer]:
        """The answers to an order's callbacks, once there are `count`. Raises TimeoutError."""
        async with asyncio.timeout(timeout_s), self._changed:
            await self._changed.wait_for(lambda: len(self._of(fo_id)) >= count)
        return self._of(fo_id)

    def begin(self, how: CallBack, key: bytes, fo_id: str) -> None:
        task = asyncio.create_task(self._tell_all(how, key, fo_id))
        self._calling.add(task)
        task.add_done_callback(self._calling.discard)

    def _of(self, fo_id: str) -> list[CallBackAnswer]:
        return [said for said in self.answers if said.delivery_id == fo_id]

    async def _tell_all(self, how: CallBack, key: bytes, fo_id: str) -> None:
        told: list[dict[str, Any]] = [
            {"fills": [{"fill_id": f"{fo_id}-{number}", "qty": qty, "price": how.price}]}
            for number, qty in enumerate(how.parts, 1)
        ]
        if how.status is not None:
            told.append({"status": how.status, **({} if how.reason is None else {"reason": how.reason})})
        for number, one in enumerate(told, 1):
            await asyncio.sleep(how.pause_ms / 1000)
            # The id comes from the order, so that a repeat is known for one.
            await self._insist(how.api, key, fo_id, f"{fo_id}-confirmation-{number}", one)

    async def _insist(self, api: str, key: bytes, fo_id: str, confirmation_id: str, told: dict[str, Any]) -> None:
        for wait_s in (*_AGAIN_S, None):
            try:
                said = await self.tell(api, key, fo_id, confirmation_id, told)
                if said.status < 500 and said.status != 429:
                    return
            except (ClientError, TimeoutError) as error:
                _log.warning("callback %s got no answer: %s", confirmation_id, error)
            if wait_s is not None:
                await asyncio.sleep(wait_s)
