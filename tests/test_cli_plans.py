"""`vanta plans` against the simulator of Stripe."""

from collections.abc import AsyncIterator
from pathlib import Path
from types import SimpleNamespace

import pytest
from typer.testing import CliRunner

import cli_plans
from adapters.payments.catalogue import SHIPPED
from settings import BillingSettings, StripeSettings
from simulators.stripe.process import StripeProcess


@pytest.fixture(scope="module")
async def server() -> AsyncIterator[StripeProcess]:
    async with StripeProcess() as started:
        yield started


def _catalogue(folder: Path, price: int, title: str) -> Path:
    shipped = SHIPPED.read_text()
    file = folder / "catalogue.yaml"
    file.write_text(
        shipped.replace("price_minor: 4900", f"price_minor: {price}").replace("title: Core", f"title: {title}")
    )
    return file


def test_plans_are_brought_to_stripe_and_a_changed_price_is_a_conflict(
    server: StripeProcess, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
):
    def vanta(*args: str, price: int = 4900, title: str = "Core") -> tuple[int, list[list[str]]]:
        billing = BillingSettings(catalogue_path=_catalogue(tmp_path, price, title))
        stripe = StripeSettings(api_key="sk_test_simulated", url=server.url)
        monkeypatch.setattr(cli_plans, "_settings", lambda _data: SimpleNamespace(billing=billing, stripe=stripe))
        done = CliRunner().invoke(cli_plans.plans, list(args))
        return done.exit_code, [line.split(maxsplit=2) for line in done.output.splitlines()]

    code, rows = vanta("sync")
    assert code == 0
    assert [row[1] for row in rows[1:]] == ["created"] * 6
    assert "vanta_core_v1" in {row[0] for row in rows}
    assert {row[1] for row in vanta("sync")[1][1:]} == {"unchanged"}
    renamed = {row[0]: row[1] for row in vanta("sync", title="Kernel")[1]}
    assert (renamed["vanta_core"], renamed["vanta_core_v1"]) == ("updated", "updated")
    code, rows = vanta("sync", price=5900, title="Kernel")
    assert code == 1
    [(_, state, advice)] = [row for row in rows if row[0] == "vanta_core_v1"]
    assert state == "conflict"
    assert "amount 4900" in advice
    assert "version 2" in advice
    code, rows = vanta("list")
    assert code == 0
    assert "vanta_pro_v1" in " ".join(" ".join(row) for row in rows)


def test_without_a_key_there_is_nowhere_to_bring_them(monkeypatch: pytest.MonkeyPatch):
    settings = SimpleNamespace(billing=BillingSettings(), stripe=StripeSettings())
    monkeypatch.setattr(cli_plans, "_settings", lambda _data: settings)
    assert "VANTA_STRIPE__API_KEY" in str(CliRunner().invoke(cli_plans.plans, ["sync"]).exception)
