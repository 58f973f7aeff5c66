"""A follower that signs callbacks with the key of its webhook."""

import json
import time
import uuid
from dataclasses import dataclass
from typing import Any

import httpx

from domain import signing


@dataclass
class Follower:
    """`forms`: of the two forms of signature, those that it sends."""

    http: httpx.AsyncClient
    key: bytes
    forms: tuple[str, ...] = ("vanta", "standard")

    async def call_back(
        self,
        fo_id: str,
        *,
        confirmation_id: str | None = None,
        at: int | None = None,
        to: str | None = None,
        raw: bytes | None = None,
        **told: Any,
    ) -> httpx.Response:
        body = json.dumps({"follower_order_id": fo_id, **told}).encode() if raw is None else raw
        signed = signing.headers(
            [self.key], confirmation_id or f"msg_{uuid.uuid4().hex}", int(time.time()) if at is None else at, body
        )
        left_out = {"vanta": "x-vanta", "standard": "webhook-"}
        drop = tuple(prefix for form, prefix in left_out.items() if form not in self.forms)
        headers = {name: value for name, value in signed.items() if not name.lower().startswith(drop or ("\0",))}
        return await self.http.post(f"/v1/follower-orders/{to or fo_id}/confirmations", content=body, headers=headers)


def a_fill(fill_id: str, qty: str, price: str = "200.10") -> dict[str, str]:
    return {"fill_id": fill_id, "qty": qty, "price": price, "ts": "2026-01-31T12:00:00Z"}
