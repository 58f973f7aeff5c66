"""When exchanges trade."""

from datetime import date, datetime

from sqlalchemy import CheckConstraint, DateTime
from sqlmodel import Field, SQLModel

from models.columns import timestamp


class MarketCalendar(SQLModel, table=True):
    """For what time an exchange's sessions are stored, and who says so. Shared by all tenants."""

    __tablename__ = "market_calendars"

    calendar: str = Field(primary_key=True)
    covers_from: datetime = timestamp()
    covers_until: datetime = timestamp()
    source: str
    refreshed_at: datetime = timestamp(now=True)


class MarketSession(SQLModel, table=True):
    """A stretch of trading of one day, in UTC; a day with a break has two. Shared by all tenants.

    `withdrawn`: it was published once and is no more.
    """

    __tablename__ = "market_sessions"
    __table_args__ = (CheckConstraint("closes_at > opens_at", name="ck_market_sessions_order"),)

    calendar: str = Field(foreign_key="market_calendars.calendar", primary_key=True)
    opens_at: datetime = Field(sa_type=DateTime(timezone=True), primary_key=True)
    closes_at: datetime = timestamp()
    session_date: date
    withdrawn: bool = Field(default=False, sa_column_kwargs={"server_default": "false"})
