"""The plans at the embedded stack's Stripe, so that a checkout can name one."""

import asyncio

from adapters.payments.catalogue import load_catalogue
from adapters.payments.registry import stripe_api
from adapters.payments.stripe_plans import sync_plans
from domain.billing import BillingError
from settings import Settings
from stack.errors import StackError


def sell(settings: Settings) -> None:
    """Bring the plans of the catalogue to Stripe, for a checkout to name; may be repeated. Raises StackError."""
    try:
        asyncio.run(_sync(settings))
    except BillingError as error:
        raise StackError(f"stripe: cannot bring the plans there: {error}") from error


async def _sync(settings: Settings) -> None:
    api = stripe_api(settings.stripe)
    if api is None:
        return
    try:
        await sync_plans(api, load_catalogue(settings.billing.catalogue_path))
    finally:
        await api.close()
