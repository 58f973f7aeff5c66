"""What trading at several venues needs: streams, sessions, legs of routed orders, credentials that can be renewed"""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"

# Compared as text, so that the policies only filter and never choose an index, see migration 0004.
ME = "tenant_id::text = current_setting('vanta.tenant_id', true)"
GRANTS: dict[str, str] = {"stream_refusals": "SELECT, INSERT, UPDATE"}
SHARED: dict[str, str] = {}


def upgrade() -> None:
    _sessions()
    _legs()
    _credentials()
    _streams()
    _secure()


def _now(name: str) -> sa.Column[object]:
    return sa.Column(name, sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False)


def _time(name: str) -> sa.Column[object]:
    return sa.Column(name, sa.DateTime(timezone=True), nullable=True)


def _text(name: str, *, nullable: bool = False) -> sa.Column[object]:
    return sa.Column(name, sa.String(), nullable=nullable)


def _whole(name: str) -> sa.Column[object]:
    return sa.Column(name, sa.Integer(), nullable=False)


def _numeric(name: str, *, nullable: bool = False) -> sa.Column[object]:
    return sa.Column(name, sa.Numeric(), nullable=nullable)


def _tenant() -> sa.Column[object]:
    return sa.Column("tenant_id", sa.Uuid(), nullable=False)


def _streams() -> None:
    op.add_column("credentials", _text("line", nullable=True))
    op.create_table(
        "stream_refusals",
        _text("cred_ref"), sa.Column("tenant_id", sa.Uuid(), nullable=False),
        sa.Column("revision", sa.Integer(), nullable=False), _text("code"), _now("since"),
        _time("resumed_at"),
        sa.ForeignKeyConstraint(["cred_ref"], ["credentials.cred_ref"]),
        sa.ForeignKeyConstraint(["tenant_id"], ["tenants.tenant_id"]),
        sa.PrimaryKeyConstraint("cred_ref"),
    )  # fmt: skip
    # A worker listens to the accounts of all tenants; this tells which there are and whose, and nothing else.
    op.execute(
        """
        CREATE FUNCTION stream_accounts(wanted text)
        RETURNS TABLE (tenant_id uuid, cred_ref text, revision integer, line text)
        LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, public AS $$
          SELECT c.tenant_id, c.cred_ref::text, c.version, coalesce(c.line, c.cred_ref)::text
          FROM public.followers f JOIN public.vaults v USING (vault_id)
          JOIN public.credentials c ON c.tenant_id = f.tenant_id
            AND c.cred_ref IN (f.bridged_brokers ->> 'equities_ref', f.bridged_brokers ->> 'crypto_ref')
          WHERE c.venue = wanted AND c.status = 'active' AND (
            (v.status = 'open' AND f.mode <> 'shadow') OR EXISTS (
              SELECT 1 FROM public.follower_orders o WHERE o.tenant_id = f.tenant_id AND o.follower_id = f.follower_id
                AND o.route = wanted AND o.state IN ('sent', 'retry', 'unknown', 'ack', 'partially_filled')))
        $$
        """
    )
    op.execute("REVOKE ALL ON FUNCTION stream_accounts(text) FROM PUBLIC")
    op.execute("GRANT EXECUTE ON FUNCTION stream_accounts(text) TO vanta_app")


def _sessions() -> None:
    """Exchanges' sessions as they are published, for what time they are stored, and what instruments go by."""
    op.create_table(
        "market_calendars",
        sa.Column("calendar", sa.String(), primary_key=True),
        sa.Column("covers_from", sa.DateTime(timezone=True), nullable=False),
        sa.Column("covers_until", sa.DateTime(timezone=True), nullable=False),
        _text("source"),
        _now("refreshed_at"),
    )
    op.create_table(
        "market_sessions",
        sa.Column("calendar", sa.String(), sa.ForeignKey("market_calendars.calendar"), primary_key=True),
        sa.Column("opens_at", sa.DateTime(timezone=True), primary_key=True),
        sa.Column("closes_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("session_date", sa.Date(), nullable=False),
        sa.Column("withdrawn", sa.Boolean(), server_default="false", nullable=False),
        sa.CheckConstraint("closes_at > opens_at", name="ck_market_sessions_order"),
    )
    SHARED["market_calendars"] = "SELECT, INSERT, UPDATE"
    SHARED["market_sessions"] = "SELECT, INSERT, UPDATE"
    op.add_column("instruments", _text("calendar", nullable=True))
    op.add_column(
        "instruments", sa.Column("flags", sa.ARRAY(sa.Text()), server_default=sa.text("'{}'"), nullable=False)
    )
    op.add_column("manager_orders", _time("waits_until"))


def _legs() -> None:
    op.create_table(
        "order_legs",
        _text("fo_id"), _whole("plan"), _whole("leg_no"), _text("leg_id"), _tenant(), _text("follower_id"),
        _text("kind"), _text("source"), _text("target"), _numeric("amount"), _numeric("expected"), _numeric("least"),
        _numeric("fee"), _numeric("received", nullable=True), _text("ref", nullable=True), _text("state"),
        _text("reason", nullable=True), _now("created_at"), _now("updated_at"),
        sa.ForeignKeyConstraint(["fo_id"], ["follower_orders.fo_id"]),
        sa.ForeignKeyConstraint(["tenant_id"], ["tenants.tenant_id"]),
        sa.PrimaryKeyConstraint("fo_id", "plan", "leg_no"),
    )  # fmt: skip
    op.create_index("ix_order_legs_follower", "order_legs", ["follower_id"])
    op.create_table(
        "follower_balances",
        _tenant(), _text("follower_id"), _text("currency"), _numeric("amount"), _now("asof"),
        sa.ForeignKeyConstraint(["follower_id"], ["followers.follower_id"]),
        sa.ForeignKeyConstraint(["tenant_id"], ["tenants.tenant_id"]),
        sa.PrimaryKeyConstraint("follower_id", "currency"),
    )  # fmt: skip
    GRANTS["order_legs"] = "SELECT, INSERT, UPDATE"
    GRANTS["follower_balances"] = "SELECT, INSERT, UPDATE"


def _credentials() -> None:
    op.add_column("credentials", _now("status_at"))
    op.execute("UPDATE credentials SET status_at = created_at")
    op.add_column("credentials", _text("broken_reason", nullable=True))
    op.add_column("credentials", sa.Column("version", sa.Integer(), server_default="1", nullable=False))
    op.add_column("credentials", _time("expires_at"))
    op.add_column("credentials", sa.Column("refreshes", sa.Boolean(), server_default="false", nullable=False))
    # Tokens of every tenant are refreshed by the same process; this tells which are due and whose, and nothing else.
    op.execute(
        """
        CREATE FUNCTION expiring_credentials(until timestamptz) RETURNS TABLE (cred_ref text, tenant_id uuid)
        LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, public AS $$
          SELECT cred_ref::text, tenant_id FROM public.credentials
          WHERE status = 'active' AND expires_at < until ORDER BY expires_at LIMIT 1000
        $$
        """
    )
    op.execute("REVOKE ALL ON FUNCTION expiring_credentials(timestamptz) FROM PUBLIC")
    op.execute("GRANT EXECUTE ON FUNCTION expiring_credentials(timestamptz) TO vanta_app")


def _secure() -> None:
    for table, rights in GRANTS.items():
        op.execute(f"ALTER TABLE {table} ENABLE ROW LEVEL SECURITY")
        op.execute(f"CREATE POLICY tenant ON {table} TO vanta_app USING ({ME}) WITH CHECK ({ME})")
        op.execute(f"GRANT {rights} ON {table} TO vanta_app")
    for table, rights in SHARED.items():
        op.execute(f"GRANT {rights} ON {table} TO vanta_app")


def downgrade() -> None:
    raise RuntimeError("streams, sessions and legs have no place in the older tables; restore a backup")
