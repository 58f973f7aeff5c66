"""Send one claimed order by its route: open the secret, build what goes out, hand it to the adapter."""

import logging
import time
from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from datetime import UTC, datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Protocol

import orjson

from domain import signing
from domain.credentials import unsealed
from domain.dispatch import PendingOrder, SealedKey, webhook_body
from domain.errors import SecretUnavailable
from domain.ports import (
    STOPPED,
    Broker,
    BrokerCredentials,
    OutcomeKind,
    Refused,
    SendOutcome,
    WebhookRequest,
    WebhookSender,
)
from domain.sizing import plain

if TYPE_CHECKING:
    from adapters.secretbox import SecretBox

_log = logging.getLogger("vanta.sending")


def _exact(value: Any) -> Any:
    if isinstance(value, Decimal):
        return orjson.Fragment(plain(value))
    raise TypeError(f"{type(value).__name__} has no place in a webhook body")


def open_credentials(box: "SecretBox", sealed: SealedKey, environment: str) -> BrokerCredentials:
    """Raises SecretUnavailable, SecretUnreadable."""
    return unsealed(sealed.ref, box.open(sealed.key_id, sealed.sealed, aad=sealed.ref), environment)


class Watch(Protocol):
    """What `adapters.kill.watch.KillWatch` offers."""

    @property
    def mark(self) -> int: ...
    @property
    def opens_held(self) -> bool: ...
    def flight(self, order: PendingOrder, /) -> AbstractContextManager[Refused]: ...


class Unwatched:
    """For what sends without kill paths: tests of other things."""

    mark = 0
    opens_held = False

    def flight(self, _order: PendingOrder) -> AbstractContextManager[Refused]:
        return nullcontext(lambda: None)


class Sending:
    """Never raises for one order's trouble: in a wave, a follower whose secret is broken is that follower's outcome."""

    def __init__(
        self, webhooks: WebhookSender, brokers: Mapping[str, Broker], box: "SecretBox", watch: Watch | None = None
    ) -> None:
        self._watch = watch or Unwatched()
        self._webhooks = webhooks
        self._brokers = brokers
        self._box = box

    async def send(self, order: PendingOrder) -> SendOutcome:
        try:
            with self._watch.flight(order) as refused:
                return await self._send(order, refused)
        except SecretUnavailable as error:
            return SendOutcome(OutcomeKind.FINAL, error.code, str(error))
        except Exception as error:  # noqa: BLE001  a fault of ours with one order must not end the others' wave
            _log.exception("sending %s failed", order.fo_id)
            return SendOutcome(OutcomeKind.AMBIGUOUS, "internal_error", type(error).__name__)

    def flight(self, order: PendingOrder) -> AbstractContextManager[Refused]:
        """Around whatever else leaves for an order: asked immediately before, it says why nothing may."""
        return self._watch.flight(order)

    @property
    def mark(self) -> int:
        """Taken before a claim begins: kills that are heard of later stop the order."""
        return self._watch.mark

    @property
    def opens_held(self) -> bool:
        return self._watch.opens_held

    async def _send(self, order: PendingOrder, refused: Refused) -> SendOutcome:
        if order.is_webhook:
            return await self._webhooks.send(self._request(order, refused))
        broker, credentials = self.broker(order), self.credentials(order)
        if (why := refused()) is not None:
            return SendOutcome(OutcomeKind.RETRYABLE, STOPPED, why)
        return await broker.submit(credentials, order.child_order())

    def broker(self, order: PendingOrder) -> Broker:
        """Raises SecretUnavailable where no adapter serves the route (a worker that lacks the venue's settings)."""
        broker = self._brokers.get(order.route)
        if broker is None:
            raise SecretUnavailable(f"no adapter for venue {order.route!r} in this worker")
        return broker

    def credentials(self, order: PendingOrder) -> BrokerCredentials:
        """Raises SecretUnavailable."""
        sealed = order.credential
        if sealed is None:
            raise SecretUnavailable(f"follower {order.follower_id} has no active {order.route} credential")
        return open_credentials(self._box, sealed, order.environment)

    def _request(self, order: PendingOrder, refused: Refused) -> WebhookRequest:
        if order.url is None or not order.keys:
            raise SecretUnavailable(f"follower {order.follower_id} has no webhook or no signing key")
        keys = [self._box.open(key.key_id, key.sealed, aad=key.ref) for key in order.keys]
        body = orjson.dumps(webhook_body(order, order.attempts, datetime.now(UTC)), default=_exact)
        headers = signing.headers(keys, order.fo_id, int(time.time()), body)
        return WebhookRequest(order.url, body, headers, order.fo_id, refused)
