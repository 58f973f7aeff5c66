"""`vanta plans`: what is sold, and bringing it to Stripe. By the settings of the environment or of the stack."""

import asyncio
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cli_http import table

if TYPE_CHECKING:
    from adapters.payments.stripe_plans import Synced
    from domain.plans import Catalogue
    from settings import Settings

plans = typer.Typer(no_args_is_help=True, help="The catalogue of plans: list, sync.")
DataDir = Annotated[Path, typer.Option("--data", envvar="VANTA_DATA", help="Where the embedded stack keeps its data.")]
_DATA = Path(".vanta")


@plans.command("list")
def list_plans(data: DataDir = _DATA) -> None:
    """Every version of every plan, the cheapest first."""
    catalogue = _catalogue(_settings(data))
    sold = {plan.ref for plan in catalogue.sold()}
    rows = [
        (
            plan.plan_id,
            plan.title,
            plan.version,
            f"{plan.price_minor // 100}.{plan.price_minor % 100:02d} {plan.currency.upper()}",
            plan.interval,
            plan.trial_days,
            "yes" if plan.ref in sold else "no",
            plan.ref,
        )
        for plan in catalogue.plans
    ]
    table(("plan", "title", "version", "price", "per", "trial days", "sold", "at Stripe"), rows)


@plans.command()
def sync(data: DataDir = _DATA) -> None:
    """Create and update products and plans at Stripe; may be repeated. Exit code 1 where a price differs there."""
    from adapters.payments.stripe_plans import SyncState

    settings = _settings(data)
    done = asyncio.run(_sync(settings, _catalogue(settings)))
    table(("at Stripe", "state", "detail"), [(each.ref, each.state, each.detail) for each in done])
    if any(each.state is SyncState.CONFLICT for each in done):
        raise typer.Exit(1)


async def _sync(settings: "Settings", catalogue: "Catalogue") -> "Sequence[Synced]":
    from adapters.payments.registry import stripe_api
    from adapters.payments.stripe_plans import sync_plans
    from domain.errors import InvalidInput

    api = stripe_api(settings.stripe)
    if api is None:
        raise InvalidInput("VANTA_STRIPE__API_KEY", "is not set: there is no Stripe to bring the plans to")
    try:
        return await sync_plans(api, catalogue)
    finally:
        await api.close()


def _catalogue(settings: "Settings") -> "Catalogue":
    from adapters.payments.catalogue import load_catalogue

    return load_catalogue(settings.billing.catalogue_path)


def _settings(data: Path) -> "Settings":
    from stack.environment import find_settings

    return find_settings(data)
