"""Payment system → adapter. A new one is one line in `build_billers`."""

from collections.abc import Mapping
from datetime import timedelta
from typing import TYPE_CHECKING, Protocol, runtime_checkable

from adapters.payments.bitcoin_biller import BitcoinBiller
from adapters.payments.btcpay import Btcpay
from adapters.payments.btcpay_wire import Checkout
from adapters.payments.stripe_biller import StripeBiller
from adapters.payments.stripe_client import StripeApi
from domain.billing import Biller, Provider
from domain.bitcoin_charges import Rules
from domain.plans import Catalogue

if TYPE_CHECKING:
    from settings import BtcpaySettings, Settings, StripeSettings


@runtime_checkable
class _Closable(Protocol):
    async def close(self) -> None: ...


def build_billers(settings: "Settings", catalogue: Catalogue) -> dict[Provider, Biller]:
    """Those that the settings name; give them to `close_billers` at the end."""
    billers: dict[Provider, Biller] = {}
    if (api := stripe_api(settings.stripe)) is not None:
        billers[Provider.STRIPE] = StripeBiller(api, catalogue)
    if (server := btcpay_server(settings.btcpay)) is not None:
        lead = timedelta(days=settings.btcpay.lead_days)
        monitoring = timedelta(minutes=settings.btcpay.monitoring_minutes)
        billers[Provider.BTCPAY] = BitcoinBiller(server, Rules(catalogue, lead, monitoring))
    return billers


def stripe_api(stripe: "StripeSettings") -> StripeApi | None:
    """None where there is no key; else `close()` it."""
    key = stripe.api_key.get_secret_value()
    if not key:
        return None
    return StripeApi(key, url=stripe.url, timeout_ms=stripe.timeout_ms, max_connections=stripe.max_connections)


def btcpay_server(btcpay: "BtcpaySettings") -> Btcpay | None:
    """None where there is no url; else `close()` it."""
    if not btcpay.url:
        return None
    return Btcpay(
        btcpay.url,
        btcpay.api_key.get_secret_value(),
        btcpay.store_id,
        Checkout(btcpay.speed_policy, btcpay.expiration_minutes, btcpay.monitoring_minutes),
        timeout_ms=btcpay.timeout_ms,
        max_connections=btcpay.max_connections,
    )


async def close_billers(billers: Mapping[Provider, Biller]) -> None:
    """Close the connections of every adapter that holds some."""
    for biller in billers.values():
        if isinstance(biller, _Closable):
            await biller.close()
