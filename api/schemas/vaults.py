"""Vaults on the wire."""

from datetime import datetime
from decimal import Decimal
from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field, StrictBool

from api.schemas.common import Answer, DecimalStr, Request
from domain.enrolment import MAX_LABEL, NewVault

Money = Annotated[Decimal, Field(gt=0, max_digits=28, decimal_places=12, examples=["1000000"])]


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
        description="Known: allow_short (bool), max_order_notional_usd, max_order_qty, price_collar_bps (decimals).",
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


class Vault(Answer):
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
    nav_asof: datetime | None
    created_at: datetime
