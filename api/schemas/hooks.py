"""Payment systems' events on the wire: what we read of them, and our answer."""

from typing import Any

from pydantic import ConfigDict, Field
from pydantic.alias_generators import to_camel

from api.schemas.common import Answer, Request
from domain.payment_events import EventState


class StripeEventBody(Request):
    """Stripe's Event; of its many members these are read."""

    model_config = ConfigDict(
        extra="allow",
        json_schema_extra={
            "examples": [
                {
                    "id": "evt_1Q2w3E4r5T6y7U8i",
                    "object": "event",
                    "type": "invoice.paid",
                    "created": 1769860800,
                    "livemode": False,
                    "data": {
                        "object": {"id": "in_1Q2w3E4r5T6y7U8i", "object": "invoice", "customer": "cus_Q2w3E4r5T6"}
                    },
                }
            ]
        },
    )

    id: str = Field(pattern="^evt_")
    object: str = Field(pattern="^event$")
    type: str
    created: int
    livemode: bool | None = None
    data: dict[str, Any]


class BtcpayEventBody(Request):
    """BTCPay's WebhookEvent; of its members these are read."""

    model_config = ConfigDict(
        extra="allow",
        alias_generator=to_camel,
        json_schema_extra={
            "examples": [
                {
                    "deliveryId": "2wJ8nH5qk3vX",
                    "webhookId": "9cQ1",
                    "originalDeliveryId": "2wJ8nH5qk3vX",
                    "isRedelivery": False,
                    "type": "InvoiceSettled",
                    "timestamp": 1769860800,
                    "storeId": "4nH5qk3vX2wJ8",
                    "invoiceId": "Kq3vX2wJ8nH5",
                    "metadata": {"orderId": "IN-7K5ZC2QW4N6J3XEXAMPLE2AB4C"},
                }
            ]
        },
    )

    delivery_id: str
    original_delivery_id: str | None = None
    is_redelivery: bool
    type: str
    timestamp: int
    store_id: str | None = None
    invoice_id: str | None = None
    metadata: dict[str, Any] | None = None


class HookReceipt(Answer):
    """`state` is that in which the event was stored; a repeat changes nothing."""

    event_id: str = Field(examples=["evt_1Q2w3E4r5T6y7U8i"])
    state: EventState = Field(examples=["pending"])
    repeated: bool = Field(examples=[False])
