"""Vaults on the wire."""

from datetime import datetime
from decimal import Decimal
from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field, RootModel, StrictBool

from api.paging import PageQuery
from api.schemas.common import Answer, DecimalStr, Request
from domain.enrolment import MAX_LABEL, NewVault, Visibility
from domain.errors import InvalidInput

Money = Annotated[Decimal, Field(gt=0, max_digits=28, decimal_places=12, examples=["1000000"])]

_RISK_PROFILE = (
    "Known: allow_short (bool), max_order_notional_usd, max_order_qty, price_collar_bps (decimals), "
    "max_orders_per_minute, duplicate_window_s (whole numbers; 0 s: no check), "
    "trading_hours {time_zone, days, open, close} (opens outside are refused; none: at all times), "
    "outside_session (refuse, or queue: opens outside the instrument's session, or these hours, wait for it)."
)


class NewVaultBody(Request):
    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "label": "Alpha",
                    "rails": ["fiat"],
                    "personas": ["athena"],
                    "nav_usd": "1000000",
                    "risk_profile": {"allow_short": False, "max_order_notional_usd": "250000"},
                }
            ]
        }
    )

    label: str = Field(min_length=1, max_length=MAX_LABEL, description="Becomes part of the id.")
    rails: list[Literal["fiat", "crypto"]] = Field(default=["fiat"], min_length=1, max_length=2)
    personas: list[str] = Field(default=[], max_length=16)
    risk_profile: dict[str, Any] = Field(
        default={},
        max_length=64,
        description=_RISK_PROFILE,
    )
    public: StrictBool = False
    nav_usd: Money | None = Field(default=None, description="Opens are refused until a vault has a NAV.")

    def to_domain(self) -> NewVault:
        return NewVault(
            label=self.label,
            rails=tuple(dict.fromkeys(self.rails)),
            personas=tuple(dict.fromkeys(self.personas)),
            risk_profile=self.risk_profile,
            public=self.public,
            nav_usd=self.nav_usd,
        )


class VaultChangesBody(Request):
    """What is left out stays as it is."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "risk_profile": {
                        "max_orders_per_minute": 30,
                        "trading_hours": {
                            "time_zone": "America/New_York",
                            "days": ["mon", "tue", "wed", "thu", "fri"],
                            "open": "09:30",
                            "close": "16:00",
                        },
                    }
                }
            ],
            "minProperties": 1,
        }
    )

    label: str = Field(default="", min_length=1, max_length=MAX_LABEL, description="The id stays as it is.")
    personas: list[str] = Field(default=[], max_length=16)
    risk_profile: dict[str, Any] = Field(
        default={}, max_length=64, description=f"Merged name by name; null takes one away. {_RISK_PROFILE}"
    )
    public: StrictBool = False

    def changes(self) -> dict[str, Any]:
        """Raises InvalidInput for none."""
        if not self.model_fields_set:
            raise InvalidInput("body", "must name at least one setting to change")
        given = {name: getattr(self, name) for name in self.model_fields_set}
        return given | ({"personas": tuple(dict.fromkeys(self.personas))} if "personas" in given else {})


class NavBody(Request):
    model_config = ConfigDict(json_schema_extra={"examples": [{"nav_usd": "1000000"}]})

    nav_usd: Money


class Vault(Answer):
    owned: bool = Field(default=True, description="It is the caller's; false: another tenant's public one.")
    vault_id: str = Field(examples=["V_alpha_k3v9q2xd"])
    label: str
    rails: list[str]
    personas: list[str]
    risk_profile: dict[str, Any]
    public: bool
    status: str
    maintenance: bool
    halt: str | None
    nav_usd: DecimalStr | None
    nav_asof: datetime | None = Field(description="The time of the oldest price in it.")
    cash_usd: DecimalStr | None
    nav_fault: str | None = Field(description="Why no NAV can be told at present: missing-nav or stale-nav.")
    created_at: datetime


class PublicVault(Answer):
    """Another tenant's vault, as far as it may be shown: no positions, no NAV, no risk profile, not whose it is."""

    owned: bool = Field(default=False, examples=[False])
    vault_id: str = Field(examples=["V_alpha_k3v9q2xd"])
    label: str
    rails: list[str]
    personas: list[str]
    public: bool = Field(default=True, examples=[True])
    status: str
    created_at: datetime


class ShownVault(RootModel[Vault | PublicVault]):
    """Whole where `owned`, else what may be shown of it."""

    @classmethod
    def of(cls, row: Any) -> "ShownVault":
        return cls((Vault if hasattr(row, "tenant_id") else PublicVault).model_validate(row))


class VaultQuery(PageQuery):
    visibility: Visibility = Field(
        default=Visibility.OWN,
        description="own: the tenant's; public: the public ones of other tenants, where the plan allows it; all: both.",
    )


class MarkedPosition(Answer):
    qty: DecimalStr
    price: DecimalStr
    asof: datetime


class NavMark(Answer):
    """The vault's NAV at `asof`: its cash and its positions, each at the last price of that time, in USD."""

    asof: datetime
    nav_usd: DecimalStr
    cash_usd: DecimalStr
    positions: dict[str, MarkedPosition] = Field(
        examples=[{"AAPL": {"qty": "100", "price": "201.25", "asof": "2026-01-31T20:59:58Z"}}]
    )
