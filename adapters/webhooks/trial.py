"""Test deliveries: by the same sender and address guard as orders, one at a time per follower."""

import time
import uuid
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import orjson

from adapters.secretbox import SecretBox
from adapters.store.endpoints import Trial, TrialStore
from domain import signing
from domain.errors import SecretUnavailable
from domain.ports import OutcomeKind, SendOutcome, WebhookRequest, WebhookSender
from domain.trial import ID_PREFIX, TEST_HEADER, TrialResult, trial_body

# Longer than any delivery may take: after this a test whose process has died makes way for the next.
_MOST = timedelta(seconds=15)


class WebhookTester:
    def __init__(
        self,
        store: TrialStore,
        sender: WebhookSender,
        box: SecretBox,
        *,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._store = store
        self._sender = sender
        self._box = box
        self._now = now

    async def test(self, tenant_id: str, follower_id: str, *, actor: str) -> TrialResult:
        """Send one, and enable a disabled endpoint that answers 2xx; any other answer changes nothing.

        Raises NotFound, and Conflict `no-webhook` or `test-under-way`.
        """
        trial = await self._store.begin(tenant_id, follower_id, most=_MOST)
        delivery_id, began = f"{ID_PREFIX}{uuid.uuid4().hex}", time.monotonic()
        outcome = await self._send(trial, delivery_id)
        took_ms = round((time.monotonic() - began) * 1000)
        ok = outcome.kind is OutcomeKind.ACK
        told = {
            "delivery_id": delivery_id,
            "ok": ok,
            "code": outcome.code,
            "http_status": outcome.http_status,
            "latency_ms": took_ms,
        }
        enabled, re_enabled = await self._store.end(tenant_id, follower_id, ok=ok, told=told, actor=actor)
        return TrialResult(
            delivery_id, ok, outcome.code, outcome.detail[:500], outcome.http_status, took_ms, enabled, re_enabled
        )

    async def _send(self, trial: Trial, delivery_id: str) -> SendOutcome:
        now = self._now()
        body = orjson.dumps(trial_body(trial.follower_id, trial.vault_id, now))
        try:
            keys = [self._box.open(key.key_id, key.sealed, aad=key.ref) for key in trial.keys]
        except SecretUnavailable as error:
            return SendOutcome(OutcomeKind.FINAL, error.code, str(error))
        headers = {**signing.headers(keys, delivery_id, int(now.timestamp()), body), TEST_HEADER: "true"}
        return await self._sender.send(WebhookRequest(trial.url, body, headers, delivery_id))
