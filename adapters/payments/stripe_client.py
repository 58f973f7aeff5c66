"""The official SDK's `StripeClient` on an HTTP client of our own, and its errors as ours.

Nothing is repeated here: a call that got no answer is made again by whoever wanted it, under the same key. The SDK's
own clients would open a hundred connections, and tell Stripe of this machine and of how long the last call took.
"""

import asyncio
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, NoReturn

import httpx
import stripe

from domain.billing import BillingRefused, BillingUnavailable

# What the answers are read by. A later one is taken on purpose, with the changes of its changelog.
API_VERSION = "2026-10-28.endive"
_MAX_MESSAGE = 300
_TOLD = ("X-Stripe-Client-Telemetry", "X-Stripe-Client-User-Agent")
_USER_AGENT = "vanta"

# The SDK has one switch for the process, and writes an id of the machine into a file in the home directory without it.
stripe.enable_telemetry = False


class _Http(stripe.HTTPClient):
    """`timeout_s` bounds a whole request, waiting for a free connection too."""

    name = "httpx"

    def __init__(self, *, timeout_s: float, max_connections: int) -> None:
        super().__init__()
        self._timeout_s = timeout_s
        limits = httpx.Limits(max_connections=max_connections, max_keepalive_connections=max_connections)
        self._client = httpx.AsyncClient(timeout=timeout_s, limits=limits, follow_redirects=False, trust_env=False)

    async def request_async(
        self, method: str, url: str, headers: Mapping[str, str], post_data: Any = None
    ) -> tuple[bytes, int, Mapping[str, str]]:
        sent = {name: value for name, value in headers.items() if name not in _TOLD} | {"User-Agent": _USER_AGENT}
        try:
            async with asyncio.timeout(self._timeout_s):
                answer = await self._client.request(method, url, headers=sent, content=post_data or None)
        except (httpx.HTTPError, httpx.InvalidURL, TimeoutError) as error:
            # The SDK gives its errors no types.
            raise stripe.APIConnectionError(type(error).__name__) from None  # type: ignore[no-untyped-call]
        return answer.content, answer.status_code, answer.headers

    def sleep_async(self, secs: float) -> NoReturn:  # nothing is repeated, so nobody waits
        raise AssertionError(secs)

    async def close_async(self) -> None:
        await self._client.aclose()


class StripeApi:
    """Holds pooled connections, opened by the first call; `close()` it. `url`: Stripe's, or a simulator's."""

    def __init__(self, api_key: str, *, url: str, timeout_ms: int, max_connections: int) -> None:
        self._http = _Http(timeout_s=timeout_ms / 1_000, max_connections=max_connections)
        base = url.rstrip("/")
        self._client = stripe.StripeClient(
            api_key,
            stripe_version=API_VERSION,
            base_addresses={"api": base, "files": base, "connect": base, "meter_events": base},
            max_network_retries=0,
            http_client=self._http,
        )

    @property
    def v1(self) -> Any:
        """The SDK's services. Any: its parameter types refuse dictionaries that are put together at run time."""
        return self._client.v1

    async def close(self) -> None:
        await self._http.close_async()


@contextmanager
def told() -> Iterator[None]:
    """Stripe's errors inside, as BillingUnavailable or BillingRefused. They hold no answer's body, and no key."""
    try:
        yield
    except stripe.StripeError as error:
        raise billing_error(error) from None
    except (AttributeError, IndexError, KeyError, TypeError, ValueError) as error:
        raise BillingUnavailable(f"Stripe's answer cannot be read ({type(error).__name__})") from error


def billing_error(error: stripe.StripeError) -> BillingUnavailable | BillingRefused:
    """`code` of a refusal is Stripe's own, with hyphens."""
    status = error.http_status
    if isinstance(error, stripe.APIConnectionError):
        return BillingUnavailable(f"Stripe could not be reached ({error.user_message or 'no reason'})"[:_MAX_MESSAGE])
    if isinstance(error, stripe.AuthenticationError | stripe.PermissionError):
        # Not the customer's fault, and mended without him: nothing is refused to him for good.
        return BillingUnavailable(f"Stripe does not accept our key for this ({status})")
    if isinstance(error, stripe.RateLimitError) or status is None or status >= 500 or status in (409, 424):
        return BillingUnavailable(f"Stripe answered {status or 'nothing readable'}")
    if isinstance(error, stripe.IdempotencyError):
        return BillingRefused("repeated-otherwise", "The same wish was sent to Stripe with other particulars")
    code = (error.code or "refused").replace("_", "-")
    return BillingRefused(code, f"Stripe: {(error.user_message or 'refused')[:_MAX_MESSAGE]}")
