"""Checkout and portal sessions: what is asked for, and what comes about when somebody pays on the page."""

from typing import Any
from urllib.parse import quote

from localstripe import resources
from localstripe.errors import UserError

from simulators.stripe.clock import clock
from simulators.stripe.collecting import collect
from simulators.stripe.objects import listed, pages, without
from simulators.stripe.subscriptions import Subscription, tell

_DAY_S = 86_400
PAYS, DECLINED, FAILS = "4242424242424242", "4000000000000002", "4000000000000341"


def _card(number: str) -> Any:
    card = {"number": number, "exp_month": 12, "exp_year": 2034, "cvc": "123"}
    return resources.PaymentMethod(type="card", card=card)


def use_card(customer: str, number: str) -> Any:
    """Make it the card that is paid with. Raises UserError 402 where it is declined at once."""
    method = _card(number)
    resources.PaymentMethod._api_attach(method.id, customer=customer)
    resources.Customer._api_update(customer, invoice_settings={"default_payment_method": method.id})
    return method


class CheckoutSession(resources.StripeObject):
    object = "checkout.session"
    _id_prefix = "cs_test_"

    def __init__(self, **given: Any) -> None:
        items = given.get("line_items")
        if given.get("mode") != "subscription" or not isinstance(items, list) or len(items) != 1:
            raise UserError(400, "A subscription with one item is what this simulator knows.")
        plan = resources.Plan._api_retrieve(items[0].get("price"))
        for each in given.get("discounts") or []:
            resources.Coupon._api_retrieve(each["coupon"])
        if given.get("customer"):
            resources.Customer._api_retrieve(given["customer"])
        super().__init__()
        self._given = given
        self.mode = "subscription"
        self.status, self.payment_status = "open", "unpaid"
        self.client_reference_id = given.get("client_reference_id")
        self.customer, self.customer_email = given.get("customer"), given.get("customer_email")
        self.metadata = given.get("metadata") or {}
        self.success_url, self.cancel_url = given["success_url"], given.get("cancel_url")
        self.expires_at = int(given.get("expires_at") or self.created + _DAY_S)
        self.amount_subtotal, self.currency = plan.amount, plan.currency
        self.subscription: str | None = None
        self.invoice: str | None = None
        self._plan = plan.id

    @property
    def url(self) -> str | None:
        return f"{pages['url']}/c/pay/{self.id}" if self.status == "open" else None

    @property
    def returns_to(self) -> str:
        return str(self.success_url).replace("{CHECKOUT_SESSION_ID}", quote(self.id))

    def _expire_if_due(self) -> None:
        if self.status == "open" and self.expires_at <= clock.now():
            self._expire()

    def _expire(self) -> None:
        self.status = "expired"
        tell("checkout.session.expired", self)

    def _pay(self, number: str) -> None:
        """Raises UserError 402 where the card is declined: the page stays open, and no subscription is made."""
        if self.status != "open":
            raise UserError(400, "This page is not open any more.")
        self.customer = self.customer or resources.Customer(email=self.customer_email, metadata=self.metadata).id
        method = use_card(self.customer, number)
        wish = dict(self._given.get("subscription_data") or {})
        made = Subscription(
            customer=self.customer,
            items=[{"price": self._plan}],
            discounts=self._given.get("discounts"),
            payment_behavior="error_if_incomplete",
            default_payment_method=method.id,
            **{name: wish[name] for name in ("metadata", "trial_period_days", "trial_end") if name in wish},
        )
        self.subscription, self.invoice = made.id, made.latest_invoice
        self.status = "complete"
        self.payment_status = "no_payment_required" if made.status == "trialing" else "paid"
        tell("checkout.session.completed", self)

    def _export(self, expand: Any = None) -> dict[str, Any]:
        return without(super()._export(expand), "returns_to")

    @classmethod
    def _api_list_all(
        cls, url: Any, customer: Any = None, status: Any = None, limit: Any = None, starting_after: Any = None
    ) -> Any:
        return listed(cls, url, limit, starting_after, customer=customer, status=status)

    @classmethod
    def _api_expire(cls, id: str) -> Any:
        session = cls._api_retrieve(id)
        if session.status != "open":
            raise UserError(400, "Only open sessions can be expired.")
        session._expire()
        return session


class PortalSession(resources.StripeObject):
    object = "billing_portal.session"
    _id_prefix = "bps_"

    def __init__(self, customer: str | None = None, return_url: str | None = None, **_: Any) -> None:
        resources.Customer._api_retrieve(customer)
        super().__init__()
        self.customer, self.return_url = customer, return_url

    @property
    def url(self) -> str:
        return f"{pages['url']}/p/session/{self.id}"

    def _use(self, number: str) -> None:
        """A new card, with which what is owed is paid at once."""
        method = use_card(str(self.customer), number)
        for subscription in resources.Subscription._api_list_all(None, customer=self.customer, limit=99)._list:
            subscription.default_payment_method = method.id
            for invoice in resources.Invoice._api_list_all(None, subscription=subscription.id, limit=99)._list:
                if invoice.status == "open":
                    collect(invoice, subscription)


def pay_invoice(id: str, **_: Any) -> Any:
    """POST /v1/invoices/{id}/pay. Raises UserError 402 where the card is declined."""
    invoice = resources.Invoice._api_retrieve(id)
    if invoice.status not in ("draft", "open"):
        raise UserError(400, f"Invoice is {invoice.status}.")
    subscription = invoice.subscription and resources.Subscription._api_retrieve(invoice.subscription)
    collect(invoice, subscription)
    if invoice.status != "paid":
        raise UserError(402, "Your card was declined.", {"code": "card_declined"})
    return invoice


def refund(**given: Any) -> Any:
    """POST /v1/refunds, which in localstripe gives back more than was paid."""
    intent = resources.PaymentIntent._api_retrieve(given.get("payment_intent"))
    charge = intent.latest_charge
    if charge is None or charge.status != "succeeded":
        raise UserError(400, "This PaymentIntent does not have a successful charge to refund.")
    left = charge.amount - charge.amount_refunded
    amount = int(given["amount"]) if given.get("amount") else left
    if left <= 0:
        raise UserError(400, "The charge has already been refunded.", {"code": "charge_already_refunded"})
    if amount > left:
        raise UserError(400, f"Refund amount ({amount}) is greater than unrefunded amount on charge ({left})")
    made = resources.Refund(payment_intent=intent.id, amount=amount, metadata=given.get("metadata"))
    tell("charge.refunded", charge)
    return made
