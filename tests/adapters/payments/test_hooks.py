"""Which events of payment systems are believed to be theirs, and of now."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from adapters.payments.btcpay_hooks import BtcpayHooks
from adapters.payments.stripe_hooks import StripeHooks, live_mode
from domain.payment_events import Fault, HookNotSetUp, HookRefused, PaymentEvent, next_try
from tests.adapters.payments.hooks import (
    btcpay_event,
    btcpay_signature,
    raw,
    stripe_event,
    stripe_signature,
)

NOW = datetime(2026, 1, 31, 12, tzinfo=UTC)
SECRET, OTHER = "whsec_right", "whsec_other"
MINUTES = timedelta(minutes=5)
SECOND = timedelta(seconds=1)
OURS = "SUB-7K5ZC2QW4N6J3XEXAMPLE2AB4C"


def stripe(event: Any, *, at: datetime = NOW, header: str | None = None, live: bool | None = None) -> PaymentEvent:
    body = raw(event)
    signature = stripe_signature(body, at, SECRET) if header is None else header
    return StripeHooks(SECRET, tolerance=MINUTES, live=live).read({"Stripe-Signature": signature}, body, NOW)


def btcpay(event: Any, *, header: str | None = None) -> PaymentEvent:
    body = raw(event)
    signature = btcpay_signature(body, SECRET) if header is None else header
    return BtcpayHooks(SECRET, "STORE", tolerance=MINUTES).read({"BTCPay-Sig": signature}, body, NOW)


def fault_of(call: Any, *given: Any, **more: Any) -> Fault:
    with pytest.raises(HookRefused) as refused:
        call(*given, **more)
    assert SECRET not in str(refused.value)
    return refused.value.fault


def test_what_stripe_says_is_read_as_ids_only():
    told = stripe_event(NOW)
    found = stripe(told)
    assert (found.event_id, found.type, found.object_ref) == (told["id"], "invoice.paid", "in_1")
    assert (found.subject_ref, found.said_at, found.concerns_us) == ("cus_1", NOW, True)


@pytest.mark.parametrize(
    ("about", "subject"),
    [
        ({"id": "cs_1", "client_reference_id": OURS, "customer": "cus_1"}, OURS),
        ({"id": "sub_1", "metadata": {"subscription_id": OURS}}, OURS),
        ({"id": "in_1", "subscription_details": {"metadata": {"subscription_id": OURS}}}, OURS),
        ({"id": "in_1", "parent": {"subscription_details": {"subscription": "sub_9", "metadata": {}}}}, "sub_9"),
        ({"id": "in_1", "subscription": "sub_1", "customer": "cus_1"}, "sub_1"),
        ({"id": "in_1", "subscription": {"id": "sub_1", "object": "subscription"}}, "sub_1"),
        # Somebody else's own field of that name, at the same account.
        ({"id": "in_1", "metadata": {"subscription_id": "4711"}, "customer": "cus_1"}, "cus_1"),
        ({"id": "in_1", "customer": None}, None),
        ({"id": "in_1", "metadata": "none", "customer": ["cus_1"]}, None),
    ],
)
def test_whose_an_event_of_stripes_is(about: dict[str, Any], subject: str | None):
    assert stripe(stripe_event(NOW, about=about)).subject_ref == subject


@pytest.mark.parametrize("off", [MINUTES, -MINUTES, SECOND, -SECOND])
def test_stripes_time_may_be_off_by_the_tolerance_on_either_side(off: timedelta):
    assert stripe(stripe_event(NOW), at=NOW + off).object_ref == "in_1"


@pytest.mark.parametrize("off", [MINUTES + SECOND, -MINUTES - SECOND, timedelta(days=9_000), timedelta(days=-900)])
def test_stripes_time_may_not_be_off_by_more(off: timedelta):
    assert fault_of(stripe, stripe_event(NOW), at=NOW + off) is Fault.STALE


def test_one_of_several_signatures_is_enough_while_a_secret_is_rotated():
    body = raw(stripe_event(NOW))
    for secrets in ((OTHER, SECRET), (SECRET, OTHER)):
        assert stripe(body, header=stripe_signature(body, NOW, *secrets)).object_ref == "in_1"
    assert fault_of(stripe, body, header=stripe_signature(body, NOW, OTHER, "third")) is Fault.FORGED


@pytest.mark.parametrize(
    "change",
    [
        lambda good: good.replace("v1=", "v0="),
        lambda good: good.replace("t=", "t= "),
        lambda good: good.partition(",")[2],
        lambda good: good.partition(",")[0],
        lambda good: good.upper(),
        lambda good: good[:-1] + ("0" if good[-1] != "0" else "1"),
        lambda good: good + ",t=1",
        lambda good: "t=1," + good,
        lambda good: good + ",v1=é",
        lambda good: good + ",v1=" + "0" * 3_000,
        lambda good: "t=" + "9" * 200 + ",v1=00",
        lambda good: "nonsense",
        lambda good: "=",
    ],
)
def test_what_is_not_stripes_signature_of_this_body_is_forged(change: Any):
    body = raw(stripe_event(NOW))
    good = stripe_signature(body, NOW, SECRET)
    assert stripe(body, header=good).object_ref == "in_1"
    assert fault_of(stripe, body, header=change(good)) is Fault.FORGED
    assert fault_of(stripe, body + b" ", header=good) is Fault.FORGED
    assert fault_of(stripe, body, header="") is Fault.UNSIGNED


@pytest.mark.parametrize(
    "told",
    [
        b"", b"{", b"[]", b"null", b"\xff\xfe", b"[" * 2_000, {"object": "event"}, {**stripe_event(NOW), "id": "in_1"},
        {**stripe_event(NOW), "id": "evt_" + "x" * 300}, {**stripe_event(NOW), "object": "invoice"},
        {**stripe_event(NOW), "type": 7}, {**stripe_event(NOW), "type": "a b"}, {**stripe_event(NOW), "created": "now"},
        {**stripe_event(NOW), "created": True}, {**stripe_event(NOW), "created": 10**20},
        {**stripe_event(NOW), "data": {"object": "in_1"}}, {**stripe_event(NOW), "data": None},
    ],
)  # fmt: skip
def test_what_stripe_signed_but_is_no_event_is_malformed(told: Any):
    # The library decodes a body before it compares: one that is no text is forged, in other words.
    assert fault_of(stripe, told) in {Fault.MALFORMED, Fault.FORGED}


def test_an_event_of_the_other_mode_is_refused_where_the_key_tells_the_mode():
    assert stripe(stripe_event(NOW, livemode=True)).object_ref == "in_1"
    assert stripe(stripe_event(NOW, livemode=True), live=True).object_ref == "in_1"
    assert fault_of(stripe, stripe_event(NOW), live=True) is Fault.MALFORMED
    assert fault_of(stripe, stripe_event(NOW, livemode=True), live=False) is Fault.MALFORMED
    keys = ("sk_live_abc", "rk_live_abc", "sk_test_abc", "", "sk_abc")
    assert [live_mode(key) for key in keys] == [True, True, False, None, None]


def test_a_type_that_is_none_of_our_business_is_valid():
    assert not stripe(stripe_event(NOW, "payment_method.attached")).concerns_us
    assert not stripe(stripe_event(NOW, "a.type.of.tomorrow")).concerns_us
    assert not btcpay(btcpay_event(NOW, "PayoutCreated", invoiceId=None)).concerns_us
    assert not btcpay(btcpay_event(NOW, "InvoiceTomorrow")).concerns_us
    assert not btcpay(btcpay_event(NOW, deliveryId="__test__1", originalDeliveryId="__test__1")).concerns_us


def test_what_btcpay_says_is_read_as_ids_only():
    ours = "IN-7K5ZC2QW4N6J3XEXAMPLE2AB4C"
    found = btcpay(btcpay_event(NOW, metadata={"orderId": ours, "buyerEmail": "a@b.example"}))
    assert (found.object_ref, found.subject_ref, found.concerns_us) == ("INV1", ours, True)


def test_a_redelivery_of_btcpays_goes_by_the_first_ones_id_however_old():
    first = btcpay_event(NOW - timedelta(hours=30))
    again = {**first, "deliveryId": "another", "isRedelivery": True}
    assert fault_of(btcpay, first) is Fault.STALE
    assert btcpay(again).event_id == first["deliveryId"]
    assert fault_of(btcpay, {**again, "timestamp": int((NOW + MINUTES + SECOND).timestamp())}) is Fault.STALE


@pytest.mark.parametrize("off", [MINUTES, -MINUTES])
def test_btcpays_time_may_be_off_by_the_tolerance_and_no_more(off: timedelta):
    assert btcpay(btcpay_event(NOW + off)).object_ref == "INV1"
    assert fault_of(btcpay, btcpay_event(NOW + off + (SECOND if off > SECOND else -SECOND))) is Fault.STALE


@pytest.mark.parametrize(
    "change",
    [
        lambda good: good.removeprefix("sha256="), lambda good: good.upper(), lambda good: good + " ",
        lambda good: good[:-1], lambda good: good.replace("sha256", "sha1"), lambda good: f"{good},{good}",
        lambda good: "é",
    ],
)  # fmt: skip
def test_what_is_not_btcpays_signature_of_this_body_is_forged(change: Any):
    body = raw(btcpay_event(NOW))
    good = btcpay_signature(body, SECRET)
    assert fault_of(btcpay, body, header=change(good)) is Fault.FORGED
    assert fault_of(btcpay, body + b" ", header=good) is Fault.FORGED
    assert fault_of(btcpay, body, header=btcpay_signature(body, OTHER)) is Fault.FORGED
    assert fault_of(btcpay, body, header="") is Fault.UNSIGNED


@pytest.mark.parametrize(
    "told",
    [
        b"", b"{", b"[]", b"null", b"\xff\xfe", {}, {**btcpay_event(NOW), "timestamp": "now"},
        {**btcpay_event(NOW), "timestamp": True}, {**btcpay_event(NOW), "isRedelivery": None},
        {**btcpay_event(NOW), "invoiceId": None}, {**btcpay_event(NOW), "storeId": "ANOTHER"},
        {**btcpay_event(NOW), "storeId": None}, {**btcpay_event(NOW), "type": None},
        {**btcpay_event(NOW), "deliveryId": None, "originalDeliveryId": None},
    ],
)  # fmt: skip
def test_what_btcpay_signed_but_is_no_event_is_malformed(told: Any):
    assert fault_of(btcpay, told) is Fault.MALFORMED


def test_without_a_secret_nothing_is_taken_not_even_what_is_signed_with_none():
    body = raw(stripe_event(NOW))
    with pytest.raises(HookNotSetUp):
        StripeHooks("", tolerance=MINUTES).read({"Stripe-Signature": stripe_signature(body, NOW, "")}, body, NOW)
    body = raw(btcpay_event(NOW))
    with pytest.raises(HookNotSetUp):
        BtcpayHooks("", "", tolerance=MINUTES).read({"BTCPay-Sig": btcpay_signature(body, "")}, body, NOW)


def test_nobodys_event_is_looked_at_with_widening_intervals_for_a_day():
    at, tries, waits = NOW, 0, []
    while tries < 100:
        tries += 1
        later = next_try(NOW, tries, at)
        if later is None:
            break
        waits.append(later - at)
        at = later
    assert at == NOW + timedelta(hours=24)
    assert waits[:-1] == sorted(waits[:-1])
    assert waits[0] == SECOND
    assert tries < 20
