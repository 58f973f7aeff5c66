"""USD into USDC and back: quoted, then committed. Fee and peg are set by `/_control/conversions`."""

import asyncio
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import ROUND_DOWN, Decimal

from aiohttp import web
from pydantic import BaseModel, ConfigDict, Field

from simulators.coinbase.requests import number, read_fields, text
from simulators.coinbase.routes import PREFIX
from simulators.market.exchange import Exchange
from simulators.market.gate import ACCOUNT
from simulators.market.ledger import Account
from simulators.market.refusals import Reason, Refusal
from simulators.market.text import decimal_text

_CENT = Decimal("0.000001")
_PAIR = {"USD", "USDC"}
_MAX_TRADES = 10_000


class ConversionSpec(BaseModel):
    """`usdc_price` is what one USDC is worth in USD; `fee_bps` of what is received.

    The next `lost_answers` commits are carried out, and their connections broken before the answer.
    """

    model_config = ConfigDict(extra="forbid")

    usdc_price: Decimal = Field(default=Decimal(1), gt=0)
    fee_bps: Decimal = Field(default=Decimal(0), ge=0, lt=10_000)
    lost_answers: int = Field(default=0, ge=0)


@dataclass(slots=True)
class Trade:
    account: str
    source: str
    target: str
    amount: Decimal
    rate: Decimal  # target units for one of the source's
    fee: Decimal
    status: str = "TRADE_STATUS_CREATED"

    @property
    def received(self) -> Decimal:
        return (self.amount * self.rate).quantize(_CENT, rounding=ROUND_DOWN) - self.fee


class Conversions:
    """`commits` are the trades that moved money, by the account's key."""

    def __init__(self, exchange: Exchange) -> None:
        self.terms = ConversionSpec()
        self.commits: dict[str, list[str]] = {}
        self._exchange = exchange
        self._trades: dict[str, Trade] = {}

    def table(self) -> list[web.RouteDef]:
        return [
            web.post(f"{PREFIX}/convert/quote", self._quote),
            web.post(f"{PREFIX}/convert/trade/{{trade_id}}", self._commit),
            web.get(f"{PREFIX}/convert/trade/{{trade_id}}", self._look_up),
            web.post("/_control/conversions", self._set),
        ]

    async def _quote(self, request: web.Request) -> web.Response:
        fields = read_fields(await request.read())
        source, target, amount = text(fields, "from_account"), text(fields, "to_account"), number(fields, "amount")
        if {source, target} != _PAIR:
            raise Refusal(Reason.NOT_ALLOWED, "Unsupported account in this conversion")
        self._check_money(request[ACCOUNT], source, amount)
        price = self.terms.usdc_price
        rate = 1 / price if target == "USDC" else price
        fee = (amount * rate * self.terms.fee_bps / 10_000).quantize(_CENT)
        if len(self._trades) >= _MAX_TRADES:
            self._trades.pop(next(iter(self._trades)))
        trade_id = str(uuid.uuid4())
        self._trades[trade_id] = Trade(request[ACCOUNT].key_id, source, target, amount, rate, fee)
        return _answer(trade_id, self._trades[trade_id])

    async def _commit(self, request: web.Request) -> web.Response:
        trade_id, trade = self._find(request, read_fields(await request.read()))
        account = request[ACCOUNT]
        if trade.status == "TRADE_STATUS_CREATED":
            self._check_money(account, trade.source, trade.amount)
            account.wallets[trade.source] -= trade.amount
            account.wallets[trade.target] = account.wallets.get(trade.target, Decimal(0)) + trade.received
            trade.status = "TRADE_STATUS_COMPLETED"
            self.commits.setdefault(account.key_id, []).append(trade_id)
        if self.terms.lost_answers:
            self.terms.lost_answers -= 1
            if request.transport is not None:
                request.transport.abort()
            raise asyncio.CancelledError  # nobody is left to answer
        return _answer(trade_id, trade)

    async def _look_up(self, request: web.Request) -> web.Response:
        return _answer(*self._find(request, request.query))

    async def _set(self, request: web.Request) -> web.Response:
        try:
            self.terms = ConversionSpec.model_validate(read_fields(await request.read()))
        except (ValueError, Refusal) as error:
            return web.json_response({"message": str(error)}, status=400)
        return web.Response(status=204)

    def _find(self, request: web.Request, said: Mapping[str, object]) -> tuple[str, Trade]:
        trade_id = request.match_info["trade_id"]
        trade = self._trades.get(trade_id)
        if trade is None or trade.account != request[ACCOUNT].key_id:
            raise Refusal(Reason.NOT_FOUND, "trade not found")
        if (said.get("from_account"), said.get("to_account")) != (trade.source, trade.target):
            raise Refusal(Reason.INVALID, "the accounts are not those of the trade")
        return trade_id, trade

    def _check_money(self, account: Account, currency: str, amount: Decimal) -> None:
        self._exchange.settle(account)
        if currency not in account.wallets:
            raise Refusal(Reason.NO_WALLET, f"account is not available: no {currency} wallet")
        if account.buying_power(self._exchange.instruments, currency) < amount:
            raise Refusal(Reason.INSUFFICIENT_FUNDS, "Insufficient balance in source account")


def _answer(trade_id: str, trade: Trade) -> web.Response:
    def money(value: Decimal, currency: str) -> dict[str, str]:
        return {"value": decimal_text(value), "currency": currency}

    fee = {"title": "Fee", "description": "", "amount": money(trade.fee, trade.target), "label": "Fee"}
    body = {
        "id": trade_id,
        "status": trade.status,
        "user_entered_amount": money(trade.amount, trade.source),
        "amount": money(trade.amount, trade.source),
        "subtotal": money(trade.amount, trade.source),
        "total": money(trade.received, trade.target),
        "fees": [fee],
        "total_fee": fee,
        "source_currency": trade.source,
        "target_currency": trade.target,
        "exchange_rate": money(trade.rate.quantize(Decimal("0.00000001")), trade.target),
    }
    return web.json_response({"trade": body})
