"""Money, shares and the lives of orders."""

from decimal import Decimal

import pytest

from simulators.alpaca import Behaviour, Life
from tests.simulators.alpaca.client import Client


async def account(client: Client) -> tuple[str, str]:
    _, body = await client.call("GET", "/v2/account")
    return body["cash"], body["buying_power"]


async def position(client: Client) -> tuple[str, str]:
    _, body = await client.call("GET", "/v2/positions/AAPL")
    return body["qty"], body["qty_available"]


async def test_a_buy_moves_cash_into_the_position_at_its_average_price(client: Client):
    client.simulator.set_asset("AAPL", Decimal(200))
    await client.order("FO-1", qty="10")
    _, held = await client.call("GET", "/v2/positions/AAPL")
    assert (held["qty"], held["market_value"], held["side"]) == ("20", "4000", "long")
    # The first ten were entered at the list price of 185.25.
    assert (held["avg_entry_price"], held["cost_basis"]) == ("192.625", "3852.5")
    assert await account(client) == ("8000", "8000")


async def test_an_open_buy_reserves_buying_power_and_a_cancel_frees_it(client: Client):
    _, posted = await client.order("FO-1", type="limit", limit_price="90", qty="100")
    assert await account(client) == ("10000", "1000")
    status, body = await client.order("FO-2", qty="11")
    assert (status, body["buying_power"], body["cost_basis"]) == (403, "1000", "1100")
    await client.call("DELETE", f"/v2/orders/{posted['id']}")
    assert await account(client) == ("10000", "10000")


async def test_shares_held_by_an_open_sell_are_not_available(client: Client):
    _, posted = await client.order("FO-1", side="sell", type="limit", limit_price="150", qty="8")
    assert await position(client) == ("10", "2")
    status, body = await client.order("FO-2", side="sell", qty="3")
    assert (status, body["available"], body["held_for_orders"], body["related_orders"]) == (
        403,
        "2",
        "8",
        [posted["id"]],
    )


async def test_a_full_exit_closes_the_position(client: Client):
    await client.order("FO-1", side="sell", qty="10")
    status, body = await client.call("GET", "/v2/positions/AAPL")
    assert (status, body["code"]) == (404, 40410000)
    assert (await client.call("GET", "/v2/positions"))[1] == []
    assert await account(client) == ("11000", "11000")


async def test_a_partial_fill_moves_only_what_was_executed(client: Client):
    client.simulator.script(Behaviour(life=Life(ending="stuck", steps=5, fill_steps=2)), count=1)
    await client.order("FO-1", qty="10")
    assert (await client.find("FO-1"))["filled_qty"] == "4"
    assert await position(client) == ("14", "14")
    assert await account(client) == ("9600", "9000")


async def test_a_short_needs_permission_and_a_cover_needs_no_buying_power(client: Client):
    client.simulator.add_account("AK1", "s1", cash=Decimal(1_000), shorting_enabled=True)
    assert (await client.order("FO-1", side="sell", qty="10"))[0] == 200
    assert (await position(client))[0] == "-10"
    assert await account(client) == ("2000", "0")
    assert (await client.order("FO-2", qty="1", symbol="MSFT"))[0] == 403
    assert (await client.order("FO-3", qty="10"))[0] == 200
    assert await account(client) == ("1000", "1000")


async def test_a_blocked_account_places_no_order(client: Client):
    client.simulator.add_account("AK1", "s1", trading_blocked=True)
    assert (await client.order("FO-1"))[0] == 403


async def test_a_limit_order_waits_for_its_price_and_fills_at_the_market(client: Client):
    await client.order("FO-1", type="limit", limit_price="90")
    assert (await client.find("FO-1"))["status"] == "new"
    client.simulator.set_asset("AAPL", Decimal("89.5"))
    found = await client.find("FO-1")
    assert (found["status"], found["filled_avg_price"]) == ("filled", "89.5")


async def test_what_was_due_before_a_price_change_fills_at_the_old_price(client: Client):
    client.simulator.script(Behaviour(life=Life(steps=2, interval_ms=1_000)), count=1)
    await client.order("FO-1", qty="2")
    client.simulator.set_asset("AAPL", Decimal(200))
    client.advance(1)
    assert (await client.find("FO-1"))["filled_avg_price"] == "150"


@pytest.mark.parametrize("tif", ["ioc", "fok"])
async def test_an_immediate_order_away_from_the_market_is_cancelled(client: Client, tif: str):
    await client.order("FO-1", type="limit", limit_price="90", time_in_force=tif)
    assert (await client.find("FO-1"))["status"] == "canceled"


@pytest.mark.parametrize(("tif", "filled", "status"), [("ioc", "2", "canceled"), ("fok", "5", "filled")])
async def test_only_immediate_or_cancel_keeps_a_partial_fill(client: Client, tif: str, filled: str, status: str):
    client.simulator.script(Behaviour(life=Life(ending="stuck", steps=2, fill_steps=1)), count=1)
    await client.order("FO-1", time_in_force=tif)
    found = await client.find("FO-1")
    assert (found["filled_qty"], found["status"]) == (filled, status)


async def test_steps_smaller_than_a_share_never_show_a_fraction_of_a_whole_order(client: Client):
    client.simulator.script(Behaviour(life=Life(steps=4, interval_ms=1_000)), count=1)
    await client.order("FO-1", qty="2")
    seen = []
    for _ in range(4):
        found = await client.find("FO-1")
        seen.append((found["status"], found["filled_qty"]))
        client.advance(1)
    assert seen == [("new", "0"), ("partially_filled", "1"), ("partially_filled", "1"), ("filled", "2")]


@pytest.mark.parametrize(("ending", "stamp"), [("expired", "expired_at"), ("rejected", "failed_at")])
async def test_a_scripted_ending_comes_at_its_time_and_is_stamped(client: Client, ending: str, stamp: str):
    client.simulator.script(Behaviour(life=Life.model_validate({"ending": ending, "delay_ms": 5_000})), count=1)
    await client.order("FO-1")
    client.advance(4.9)
    assert (await client.find("FO-1"))[stamp] is None
    client.advance(0.2)
    found = await client.find("FO-1")
    assert (found["status"], found[stamp] is not None) == (ending, True)
    assert await account(client) == ("10000", "10000")


async def test_memory_is_bounded_by_forgetting_the_oldest_finished_orders(client: Client):
    client.simulator.exchange._max_orders = 3
    await client.order("FO-open", type="limit", limit_price="50", qty="1")
    for number in range(5):
        await client.order(f"FO-{number}", qty="1")
    assert len(client.simulator.exchange.orders) == 3
    assert [row["client_order_id"] for row in client.simulator.orders()] == ["FO-open", "FO-3", "FO-4"]
