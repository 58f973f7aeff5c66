"""Payment system → adapter. A new one is one line in `build_billers`."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Protocol, runtime_checkable

from adapters.payments.stripe_biller import StripeBiller
from adapters.payments.stripe_client import StripeApi
from domain.billing import Biller, Provider
from domain.plans import Catalogue

if TYPE_CHECKING:
    from settings import Settings, StripeSettings


@runtime_checkable
class _Closable(Protocol):
    async def close(self) -> None: ...


def build_billers(settings: "Settings", catalogue: Catalogue) -> dict[Provider, Biller]:
    """Those that the settings name; give them to `close_billers` at the end."""
    billers: dict[Provider, Biller] = {}
    if (api := stripe_api(settings.stripe)) is not None:
        billers[Provider.STRIPE] = StripeBiller(api, catalogue)
    return billers


def stripe_api(stripe: "StripeSettings") -> StripeApi | None:
    """None where there is no key; else `close()` it."""
    key = stripe.api_key.get_secret_value()
    if not key:
        return None
    return StripeApi(key, url=stripe.url, timeout_ms=stripe.timeout_ms, max_connections=stripe.max_connections)


async def close_billers(billers: Mapping[Provider, Biller]) -> None:
    """Close the connections of every adapter that holds some."""
    for biller in billers.values():
        if isinstance(biller, _Closable):
            await biller.close()
