"""What a tenant may use, on the wire."""

from pydantic import Field

from api.schemas.common import Answer
from domain.entitlements import Granted


class EntitlementList(Answer):
    """Counts of null are without limit."""

    vaults: int | None = Field(examples=[5])
    followers: int | None = Field(description="Of all vaults together.", examples=[500])
    personas: list[str] = Field(examples=[["athena", "nemesis"]])
    flip_mode: bool = Field(description="Flip mode and boosts.")
    bridged_brokers: list[str] = Field(description="Venues of accounts.", examples=[["alpaca"]])
    audit_retention_days: int | None = Field(examples=[365])
    replay: bool
    exports: bool
    api_rate: int | None = Field(description="Requests per minute.", examples=[600])
    public_vaults: bool = Field(description="Seeing the public vaults of other tenants.")
    modes: list[str] = Field(description="That followers may be in.", examples=[["capped", "proportional", "shadow"]])


class EntitlementsAnswer(Answer):
    plan_id: str | None = Field(
        description="Of the subscription that counts; null: the tenant has none.", examples=["pro"]
    )
    status: str | None = Field(
        description="Of that subscription. active, trialing and, in its grace, past_due grant what its plan has; any "
        "other leaves reading.",
        examples=["active"],
    )
    entitlements: EntitlementList

    @classmethod
    def of(cls, granted: Granted) -> "EntitlementsAnswer":
        return cls.model_validate(granted)
