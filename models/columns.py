"""Column shapes that every table shares, so that money and time are spelled once."""

from typing import Any

from sqlalchemy import BigInteger, ColumnElement, DateTime, Identity, Numeric, Text, func
from sqlalchemy import column as sql_column
from sqlalchemy.dialects.postgresql import ARRAY, JSONB
from sqlmodel import Field, SQLModel


class Owned(SQLModel):
    """A row that is one tenant's, which its `tenant_id` says; adapters.store.tenancy shows it to nobody else."""

    @classmethod
    def belongs_to(cls, tenant_id: Any) -> ColumnElement[bool]:
        """As text, so that it chooses no index (ADR 0014)."""
        # Of this class itself, which has no rows, SQLAlchemy asks what a condition of its kind looks like.
        column: ColumnElement[Any] = getattr(cls, "tenant_id", sql_column("tenant_id"))
        mine: ColumnElement[bool] = column.cast(Text) == tenant_id
        return mine


# Unconstrained numeric keeps every digit that a venue sends.
MONEY = Numeric()


def numeric(*, nullable: bool = False, default: str | None = None) -> Any:
    extra = {} if default is None else {"server_default": default}
    return Field(sa_type=MONEY, nullable=nullable, sa_column_kwargs=extra)


def timestamp(*, nullable: bool = False, now: bool = False, index: bool = False) -> Any:
    extra = {"server_default": func.now()} if now else {}
    kwargs: dict[str, Any] = {"default": None} if nullable or now else {}
    return Field(
        sa_type=DateTime(timezone=True),
        nullable=nullable,
        index=index,
        sa_column_kwargs=extra,
        **kwargs,
    )


def json(default: str = "{}") -> Any:
    return Field(
        default_factory=dict if default == "{}" else list,
        sa_type=JSONB,
        nullable=False,
        sa_column_kwargs={"server_default": default},
    )


def text_list() -> Any:
    return Field(
        default_factory=list,
        sa_type=ARRAY(Text),
        nullable=False,
        sa_column_kwargs={"server_default": "{}"},
    )


def identity() -> Any:
    return Field(default=None, primary_key=True, sa_type=BigInteger, sa_column_args=(Identity(always=True),))
