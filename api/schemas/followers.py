"""Followers on the wire. Secrets go in and, once, the signing secret out; no answer shows a broker's."""

from dataclasses import replace
from datetime import datetime
from decimal import Decimal
from typing import Annotated, Any, Literal, Self

from pydantic import ConfigDict, Field, SecretStr, StrictBool

import models
from api.schemas.common import Answer, DecimalStr, Request, Time
from api.schemas.kills import KillAcknowledgement
from api.schemas.vaults import Money
from domain.enrolment import MAX_LABEL, MAX_SCALE, MAX_URL, BrokerAccount, ConfirmBy, NewFollower, public_url
from domain.errors import InvalidInput
from domain.reconciliation import Policy
from domain.sizing import Mode

Secret = Annotated[SecretStr, Field(min_length=1, max_length=4_096)]
SHOWN_NOTE = "Store it now: it verifies our signatures, and after a day not even a repeat of this request shows it."
GONE_NOTE = "The signing secret is not shown any more; rotate it if it is lost."


class WebhookBody(Request):
    url: str = Field(min_length=1, max_length=MAX_URL, examples=["https://follower.example/v1/hooks/mirror/dispatch"])
    confirm_by: ConfirmBy = Field(
        default=ConfirmBy.ACK,
        description="What confirms an order: that the receiver has it, or a signed callback of the follower's.",
    )


class BrokerBody(Request):
    venue: str = Field(max_length=64, examples=["alpaca"])
    environment: Literal["paper", "live"] = "paper"
    key_id: Secret
    secret: Secret
    refresh_token: Secret | None = Field(default=None, description="Of an access token that expires; with expires_at.")
    expires_at: Time | None = Field(default=None, description="When `secret` expires.")

    def to_domain(self) -> BrokerAccount:
        again = None if self.refresh_token is None else self.refresh_token.get_secret_value()
        key_id, secret = self.key_id.get_secret_value(), self.secret.get_secret_value()
        return BrokerAccount(
            self.venue, key_id, secret, self.environment, refresh_token=again, expires_at=self.expires_at
        )

    def revealed(self) -> tuple[str | None, ...]:
        """The secrets, for fingerprints of requests only."""
        given = (self.key_id, self.secret, self.refresh_token)
        return tuple(None if value is None else value.get_secret_value() for value in given)


class CryptoBody(BrokerBody):
    convert: StrictBool = Field(
        default=False,
        description="Whether USD and USDC may be changed into each other there when a purchase needs it.",
    )

    def to_domain(self) -> BrokerAccount:
        return replace(super().to_domain(), convert=self.convert)


class BridgedBody(Request):
    equities: BrokerBody | None = None
    crypto: CryptoBody | None = None


class NewFollowerBody(Request):
    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "label": "Bob",
                    "mode": "capped",
                    "scale": "0.25",
                    "max_pos_usd": "5000",
                    "webhook": {"url": "https://follower.example/v1/hooks/mirror/dispatch"},
                }
            ]
        }
    )

    label: str = Field(min_length=1, max_length=MAX_LABEL, description="Becomes part of the id.")
    mode: Mode = Mode.PROPORTIONAL
    scale: Annotated[Decimal, Field(gt=0, le=MAX_SCALE, max_digits=28, decimal_places=12)] = Decimal(1)
    max_pos_usd: Money | None = Field(default=None, description="Cap on the projected position; needed in mode capped.")
    kill_switch: StrictBool = False
    fractional: StrictBool = Field(default=False, description="Whether the account takes fractions of a unit.")
    persona: str | None = Field(default=None, max_length=64, examples=["athena"])
    allow_short: StrictBool = Field(default=False, description="Whether orders may open shorts for this follower.")
    webhook: WebhookBody | None = Field(default=None, description="Either this or bridged_brokers.")
    bridged_brokers: BridgedBody | None = None

    def to_domain(self, vault_id: str) -> NewFollower:
        bridged = self.bridged_brokers or BridgedBody()
        return NewFollower(
            vault_id=vault_id,
            label=self.label,
            mode=self.mode,
            scale=self.scale,
            max_pos_usd=self.max_pos_usd,
            kill_switch=self.kill_switch,
            fractional=self.fractional,
            persona=self.persona,
            allow_short=self.allow_short,
            webhook_url=None if self.webhook is None else self.webhook.url,
            confirm_by=ConfirmBy.ACK if self.webhook is None else self.webhook.confirm_by,
            equities=None if bridged.equities is None else bridged.equities.to_domain(),
            crypto=None if bridged.crypto is None else bridged.crypto.to_domain(),
        )


class FollowerChangesBody(Request):
    """What is left out stays as it is; null takes a cap or a persona away."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"kill_switch": True}], "minProperties": 1})

    mode: Mode = Mode.PROPORTIONAL
    scale: Annotated[Decimal, Field(gt=0, le=MAX_SCALE, max_digits=28, decimal_places=12)] = Decimal(1)
    max_pos_usd: Money | None = Field(default=None, description="Cap on the projected position; needed in mode capped.")
    kill_switch: StrictBool = Field(default=False, description="On: nothing more is sent to this follower.")
    persona: str | None = Field(default=None, max_length=64)
    allow_short: StrictBool = Field(default=False, description="Whether orders may open shorts for this follower.")
    convert: StrictBool = Field(
        default=False, description="Whether the crypto account's USD and USDC may be changed into each other."
    )
    confirm_by: ConfirmBy = Field(
        default=ConfirmBy.ACK,
        description="What confirms an order of a webhook follower, for every attempt from now on: that the receiver "
        "has it, or a signed callback of the follower's.",
    )
    reconcile_policy: Policy = Field(
        default=Policy.OBSERVE,
        description="What reconciliation may do: nothing; book fills, take over what was closed by hand and sell what "
        "a missed exit left; or also buy what a failed order did not.",
    )

    def changes(self) -> dict[str, Any]:
        """Raises InvalidInput for none."""
        if not self.model_fields_set:
            raise InvalidInput("body", "must name at least one setting to change")
        return {name: getattr(self, name) for name in self.model_fields_set}


class Webhook(Answer):
    url: str = Field(description="Without its query, where receivers like to keep tokens.")
    hmac_key_ref: str
    confirm_by: ConfirmBy = ConfirmBy.ACK


class Follower(Answer):
    follower_id: str = Field(examples=["F_bob_7hq2m4zt"])
    vault_id: str
    mode: str
    scale: DecimalStr
    max_pos_usd: DecimalStr | None
    kill_switch: bool
    fractional: bool
    persona: str | None
    allow_short: bool
    reconcile_policy: str
    webhook: Webhook | None
    bridged_brokers: dict[str, Any] | None = Field(examples=[{"equities_ref": "cred/F_bob_7hq2m4zt/alpaca"}])
    endpoint_disabled_at: datetime | None
    endpoint_disabled_reason: str | None
    created_at: datetime

    @classmethod
    def of(cls, row: models.Follower) -> Self:
        shown = cls.model_validate(row)
        if shown.webhook is not None:
            shown.webhook.url = public_url(shown.webhook.url)
        return shown


class ChangedFollower(Follower):
    acknowledgement: KillAcknowledgement | None = Field(default=None, description="Where the kill switch was put on.")


class CreatedFollower(Follower):
    signing_secret: str | None = Field(default=None, examples=["whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"])
    note: str | None = None
