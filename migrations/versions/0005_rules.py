"""What the mirroring rules need: overlays and kills, rounding residues, hedges, exit ledger, history, reconciliation"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0005"
down_revision = "0004"

# Compared as text, so that the policies only filter and never choose an index, see migration 0004.
ME = "tenant_id::text = current_setting('vanta.tenant_id', true)"
GRANTS = {
    "overlays": "SELECT, INSERT, UPDATE",
    "kills": "SELECT, INSERT",
    "residues": "SELECT, INSERT, UPDATE",
    "hedges": "SELECT, INSERT, UPDATE",
    "allotments": "SELECT, INSERT, UPDATE",
    "nav_marks": "SELECT, INSERT",
    "row_history": "SELECT, INSERT",
    "reconciliations": "SELECT, INSERT, UPDATE",
    "drifts": "SELECT, INSERT, UPDATE",
}
SHARED = {
    "platform_halts": "SELECT, INSERT, UPDATE",
    "price_history": "SELECT, INSERT",
    "senders": "SELECT, INSERT, UPDATE",
}


def upgrade() -> None:
    _columns()
    _overlays()
    _sizing()
    _history()
    _reconciliation()
    _secure()
    _carry_over()


def _now(name: str) -> sa.Column[object]:
    return sa.Column(name, sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False)


def _time(name: str) -> sa.Column[object]:
    return sa.Column(name, sa.DateTime(timezone=True), nullable=True)


def _text(name: str, *, nullable: bool = False) -> sa.Column[object]:
    return sa.Column(name, sa.String(), nullable=nullable)


def _numeric(name: str, default: str | None = None, *, nullable: bool = False) -> sa.Column[object]:
    return sa.Column(name, sa.Numeric(), server_default=default, nullable=nullable)


def _json(name: str) -> sa.Column[object]:
    return sa.Column(name, postgresql.JSONB(astext_type=sa.Text()), server_default="{}", nullable=False)


def _tenant() -> sa.Column[object]:
    return sa.Column("tenant_id", sa.Uuid(), nullable=False)


def _of_tenant() -> sa.ForeignKeyConstraint:
    return sa.ForeignKeyConstraint(["tenant_id"], ["tenants.tenant_id"])


def _number(name: str) -> sa.Column[object]:
    return sa.Column(name, sa.BigInteger(), sa.Identity(always=True), nullable=False)


def _columns() -> None:
    false = sa.text("false")
    op.add_column("tenants", _text("halt", nullable=True))
    for name in ("cash_usd", "nav_told_usd"):
        op.add_column("vaults", _numeric(name, nullable=True))
    op.add_column("vaults", _text("nav_fault", nullable=True))
    for column in (
        sa.Column("allow_short", sa.Boolean(), server_default=false, nullable=False),
        _text("halt", nullable=True),
        sa.Column("maintenance", sa.Boolean(), server_default=false, nullable=False),
        sa.Column("reconcile_policy", sa.String(), server_default="observe", nullable=False),
        _numeric("funds_usd", nullable=True),
        _time("funds_asof"),
        sa.Column("consecutive_failures", sa.Integer(), server_default="0", nullable=False),
        _text("endpoint_disabled_reason", nullable=True),
        _time("endpoint_enabled_at"),
        _time("endpoint_test_until"),
    ):
        op.add_column("followers", column)
    for column in (
        sa.Column("kind", sa.String(), server_default="order", nullable=False),
        _text("only_follower_id", nullable=True),
        sa.Column("live", sa.Boolean(), server_default=false, nullable=False),
        _time("given_back_at"),
    ):
        op.add_column("manager_orders", column)
    # Orders that may still have something in flight: few at any time, so that admission finds them at once.
    op.create_index(
        "ix_manager_orders_live", "manager_orders", ["vault_id"], unique=False, postgresql_where=sa.text("live")
    )
    op.create_index("ix_manager_orders_vault", "manager_orders", ["vault_id", "created_at"], unique=False)
    op.create_index(
        "ix_manager_orders_only",
        "manager_orders",
        ["only_follower_id"],
        unique=False,
        postgresql_where=sa.text("only_follower_id IS NOT NULL"),
    )
    op.add_column("follower_orders", _numeric("carry", "0"))
    op.add_column("follower_orders", sa.Column("attempts_base", sa.Integer(), server_default="0", nullable=False))
    for name in ("redriven_by", "purged_by", "purge_reason"):
        op.add_column("dead_letters", _text(name, nullable=True))
    op.add_column("dead_letters", _time("purged_at"))


def _overlays() -> None:
    op.create_table(
        "overlays",
        _text("overlay_id"), _tenant(), _text("vault_id", nullable=True), _text("follower_id", nullable=True),
        _text("kind"), _json("params"), _now("starts_at"), _time("expires_at"), _time("ended_at"),
        _text("end_reason", nullable=True), _text("ended_by", nullable=True), _text("actor"), _text("reason"),
        _of_tenant(),
        sa.PrimaryKeyConstraint("overlay_id"),
    )  # fmt: skip
    op.create_index("ix_overlays_active", "overlays", ["vault_id"], postgresql_where=sa.text("ended_at IS NULL"))
    op.create_index("ix_overlays_page", "overlays", ["tenant_id", "starts_at", "overlay_id"])
    op.create_table(
        "platform_halts",
        _text("halt_id"), _text("level"), _text("reason"), _text("actor"), _now("starts_at"), _time("ended_at"),
        _text("ended_by", nullable=True),
        sa.PrimaryKeyConstraint("halt_id"),
    )  # fmt: skip
    op.create_table(
        "kills",
        _number("kill_id"), _tenant(), _text("vault_id", nullable=True),
        _text("follower_id", nullable=True), _text("level"), _text("actor"), _now("created_at"),
        sa.PrimaryKeyConstraint("kill_id"),
    )  # fmt: skip
    op.create_table(
        "senders",
        _text("sender_id"),
        sa.Column("applied_as_of", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("sender_id"),
    )
    op.create_index("ix_kills_created_at", "kills", ["created_at"])


def _sizing() -> None:
    op.create_table(
        "residues",
        _tenant(), _text("follower_id"), _text("symbol"), _numeric("qty"), _now("updated_at"),
        _of_tenant(),
        sa.PrimaryKeyConstraint("follower_id", "symbol"),
    )  # fmt: skip
    op.create_table(
        "hedges",
        _tenant(), _text("follower_id"), _text("symbol"), _text("hedge_symbol"), _numeric("qty"), _now("updated_at"),
        _of_tenant(),
        sa.PrimaryKeyConstraint("follower_id", "symbol", "hedge_symbol"),
    )  # fmt: skip
    op.create_table(
        "allotments",
        _text("mo_id"), sa.Column("shard", sa.Integer(), nullable=False), _tenant(),
        sa.Column("allotted_orders", sa.Integer(), nullable=False), _numeric("allotted_qty"),
        sa.Column("released_orders", sa.Integer(), server_default="0", nullable=False), _numeric("released_qty", "0"),
        sa.CheckConstraint(
            "released_orders <= allotted_orders AND released_qty <= allotted_qty", name="ck_allotments_exit"
        ),
        sa.ForeignKeyConstraint(["mo_id"], ["manager_orders.mo_id"]),
        _of_tenant(),
        sa.PrimaryKeyConstraint("mo_id", "shard"),
    )  # fmt: skip


def _history() -> None:
    op.create_table(
        "row_history",
        _number("history_id"), _tenant(), _text("entity"), _text("entity_id"), _json("body"),
        sa.Column(
            "valid_from", sa.DateTime(timezone=True), server_default=sa.text("clock_timestamp()"), nullable=False
        ),
        _of_tenant(),
        sa.PrimaryKeyConstraint("history_id"),
    )  # fmt: skip
    op.create_index("ix_row_history_asof", "row_history", ["entity", "entity_id", "valid_from"])
    op.create_table(
        "price_history",
        _text("symbol"), _now("recorded_at"), _numeric("price"),
        sa.Column("asof", sa.DateTime(timezone=True), nullable=False), _text("source"),
        sa.PrimaryKeyConstraint("symbol", "recorded_at"),
    )  # fmt: skip
    op.create_table(
        "nav_marks",
        _text("holder_id"), sa.Column("asof", sa.DateTime(timezone=True), nullable=False), _tenant(),
        _numeric("nav_usd"), _numeric("cash_usd"), _json("positions"),
        _of_tenant(),
        sa.PrimaryKeyConstraint("holder_id", "asof"),
    )  # fmt: skip


def _reconciliation() -> None:
    op.create_table(
        "reconciliations",
        _text("run_id"), _tenant(), _text("vault_id"), _now("started_at"), _time("ended_at"), _text("state"),
        sa.Column("followers", sa.Integer(), server_default="0", nullable=False),
        sa.Column("drifts", sa.Integer(), server_default="0", nullable=False), _json("summary"),
        _of_tenant(),
        sa.PrimaryKeyConstraint("run_id"),
    )  # fmt: skip
    op.create_index("ix_reconciliations_page", "reconciliations", ["tenant_id", "started_at", "run_id"])
    op.create_table(
        "drifts",
        _text("run_id"), _text("follower_id"), _text("symbol"), _tenant(), _text("vault_id"),
        _numeric("expected_qty"), _numeric("booked_qty"), _numeric("actual_qty", nullable=True),
        _numeric("drift_bps", nullable=True), _text("cause"), _json("evidence"), _text("action", nullable=True),
        _now("created_at"),
        _of_tenant(),
        sa.ForeignKeyConstraint(["run_id"], ["reconciliations.run_id"]),
        sa.PrimaryKeyConstraint("run_id", "follower_id", "symbol"),
    )  # fmt: skip
    op.create_index("ix_drifts_follower", "drifts", ["tenant_id", "follower_id", "created_at"])


def _secure() -> None:
    for table, rights in GRANTS.items():
        op.execute(f"ALTER TABLE {table} ENABLE ROW LEVEL SECURITY")
        op.execute(f"CREATE POLICY tenant ON {table} TO vanta_app USING ({ME}) WITH CHECK ({ME})")
        op.execute(f"GRANT {rights} ON {table} TO vanta_app")
    for table, rights in SHARED.items():
        op.execute(f"GRANT {rights} ON {table} TO vanta_app")
    # Every process that sends must see every tenant's kills; this shows none older than an order in line can be.
    op.execute(
        """
        CREATE FUNCTION recent_kills() RETURNS SETOF kills LANGUAGE sql STABLE SECURITY DEFINER
        SET search_path = pg_catalog, public AS
        'SELECT * FROM public.kills WHERE created_at > now() - interval ''60 seconds'''
        """
    )
    op.execute("REVOKE ALL ON FUNCTION recent_kills() FROM PUBLIC")
    op.execute("GRANT EXECUTE ON FUNCTION recent_kills() TO vanta_app")
    # A follower's subscriber may be another tenant; this tells whether it is active, and nothing else.
    op.execute(
        """
        CREATE FUNCTION tenant_status(wanted uuid) RETURNS text LANGUAGE sql STABLE SECURITY DEFINER
        SET search_path = pg_catalog, public AS 'SELECT status FROM public.tenants WHERE tenant_id = wanted'
        """
    )
    op.execute("REVOKE ALL ON FUNCTION tenant_status(uuid) FROM PUBLIC")
    op.execute("GRANT EXECUTE ON FUNCTION tenant_status(uuid) TO vanta_app")
    # Schedules and marks serve every vault; this tells which there are and whose, and nothing else.
    op.execute(
        """
        CREATE FUNCTION all_vaults() RETURNS TABLE (vault_id text, tenant_id uuid) LANGUAGE sql STABLE SECURITY DEFINER
        SET search_path = pg_catalog, public AS
        'SELECT vault_id::text, tenant_id FROM public.vaults WHERE status = ''open'' ORDER BY vault_id'
        """
    )
    op.execute("REVOKE ALL ON FUNCTION all_vaults() FROM PUBLIC")
    op.execute("GRANT EXECUTE ON FUNCTION all_vaults() TO vanta_app")
    # What last prices are needed of, whoever holds or orders it; a week covers what was sold and may be bought back.
    op.execute(
        """
        CREATE FUNCTION priced_symbols() RETURNS SETOF text LANGUAGE sql STABLE SECURITY DEFINER
        SET search_path = pg_catalog, public AS $$
          SELECT h.symbol FROM public.vaults v
            JOIN public.positions h ON h.tenant_id = v.tenant_id AND h.holder_id = v.vault_id
            WHERE v.status = 'open' AND h.qty <> 0
          UNION SELECT m.symbol FROM public.vaults v JOIN public.manager_orders m ON m.vault_id = v.vault_id
            WHERE v.status = 'open' AND m.created_at > now() - interval '7 days'
          UNION SELECT i.symbol FROM public.vaults v
            JOIN public.instruments i ON i.symbol = v.risk_profile #>> '{hedge,symbol}'
            WHERE v.status = 'open'
        $$
        """
    )
    op.execute("REVOKE ALL ON FUNCTION priced_symbols() FROM PUBLIC")
    op.execute("GRANT EXECUTE ON FUNCTION priced_symbols() TO vanta_app")


# What has no part in any size: how an endpoint does at the moment, and NAVs, which have marks of their own.
_PASSING = {
    "vaults": "nav_usd,nav_asof,nav_told_usd,nav_fault",
    "followers": "consecutive_failures,endpoint_test_until",
}
_REMEMBER = """
CREATE FUNCTION remember_{table}() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  IF TG_OP = 'INSERT' OR to_jsonb(NEW) - '{{{passing}}}'::text[] <> to_jsonb(OLD) - '{{{passing}}}'::text[] THEN
    INSERT INTO row_history (tenant_id, entity, entity_id, body)
    VALUES (NEW.tenant_id, '{entity}', NEW.{key}, to_jsonb(NEW));
  END IF;
  RETURN NULL;
END $$
"""


def _carry_over() -> None:
    """Bring what is there into the new shape, then begin to remember."""
    op.execute("UPDATE manager_orders SET live = true WHERE state = 'dispatching'")
    # Followers of vaults that sell short have been getting shorts; they go on.
    op.execute(
        "UPDATE followers f SET allow_short = true FROM vaults v "
        "WHERE v.vault_id = f.vault_id AND v.risk_profile ->> 'allow_short' = 'true'"
    )
    op.execute(
        "UPDATE vaults v SET cash_usd = nav_usd - coalesce((SELECT sum(h.qty * coalesce(p.price, h.avg_price, 0)) "
        "FROM positions h LEFT JOIN prices p USING (symbol) WHERE h.holder_id = v.vault_id), 0)"
    )
    op.execute("INSERT INTO price_history (symbol, price, asof, source) SELECT symbol, price, asof, source FROM prices")
    for table, entity, key in (("vaults", "vault", "vault_id"), ("followers", "follower", "follower_id")):
        op.execute(
            f"INSERT INTO row_history (tenant_id, entity, entity_id, body) "
            f"SELECT tenant_id, '{entity}', {key}, to_jsonb({table}) FROM {table}"
        )
        op.execute(_REMEMBER.format(table=table, entity=entity, key=key, passing=_PASSING[table]))
        op.execute(
            f"CREATE TRIGGER remember AFTER INSERT OR UPDATE ON {table} "
            f"FOR EACH ROW EXECUTE FUNCTION remember_{table}()"
        )
    # What followers hold follows from their fills; what vaults hold is moved by orders, and given back in parts.
    vaults_own = "left({row}.holder_id, 2) <> 'F_'"
    op.execute(
        "INSERT INTO row_history (tenant_id, entity, entity_id, body) SELECT tenant_id, 'position', "
        f"holder_id || '/' || symbol, to_jsonb(h) FROM positions h WHERE {vaults_own.format(row='h')}"
    )
    op.execute(_REMEMBER.format(table="positions", entity="position", key="holder_id || '/' || NEW.symbol", passing=""))
    op.execute(
        "CREATE TRIGGER remember AFTER INSERT OR UPDATE ON positions FOR EACH ROW "
        f"WHEN ({vaults_own.format(row='NEW')}) EXECUTE FUNCTION remember_positions()"
    )
    op.execute(
        """
        CREATE FUNCTION remember_prices() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN
          INSERT INTO price_history (symbol, recorded_at, price, asof, source)
          VALUES (NEW.symbol, clock_timestamp(), NEW.price, NEW.asof, NEW.source);
          RETURN NULL;
        END $$
        """
    )
    op.execute(
        "CREATE TRIGGER remember AFTER INSERT OR UPDATE ON prices FOR EACH ROW EXECUTE FUNCTION remember_prices()"
    )


def downgrade() -> None:
    raise RuntimeError("residues, overlays and the exit ledger have no place in the older tables; restore a backup")
