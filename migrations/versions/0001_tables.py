"""Create the tables, row-level security and grants"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0001"
down_revision = None

ME = "nullif(current_setting('vanta.tenant_id', true), '')::uuid"
# What the application role may do with each tenant-owned table. Nothing may be deleted; what is written once has no
# UPDATE; audit_events can only ever grow.
GRANTS = {
    "tenants": "SELECT, INSERT, UPDATE",
    "users": "SELECT, INSERT, UPDATE",
    "subscriptions": "SELECT, INSERT, UPDATE",
    "vaults": "SELECT, INSERT, UPDATE",
    "followers": "SELECT, INSERT, UPDATE",
    "positions": "SELECT, INSERT, UPDATE",
    "manager_orders": "SELECT, INSERT, UPDATE",
    "snapshots": "SELECT, INSERT",
    "snapshot_followers": "SELECT, INSERT",
    "follower_orders": "SELECT, INSERT, UPDATE",
    "attempts": "SELECT, INSERT, UPDATE",
    "fills": "SELECT, INSERT",
    "dead_letters": "SELECT, INSERT, UPDATE",
    "audit_events": "SELECT, INSERT",
    "outbox": "INSERT",
    "webhook_keys": "SELECT, INSERT, UPDATE",
    "credentials": "SELECT, INSERT, UPDATE",
    "idempotency_keys": "SELECT, INSERT",
    "ingested_entries": "SELECT, INSERT",
}
SHARED = {"instruments": "SELECT, INSERT, UPDATE", "prices": "SELECT, INSERT, UPDATE"}


def upgrade() -> None:
    op.create_table(
        "instruments",
        sa.Column("symbol", sa.String(), nullable=False),
        sa.Column("venue", sa.String(), nullable=False),
        sa.Column("rail", sa.String(), nullable=False),
        sa.Column("qty_step", sa.Numeric(), server_default="1", nullable=False),
        sa.Column("fine_step", sa.Numeric(), server_default="0.000000001", nullable=False),
        sa.Column("min_qty", sa.Numeric(), server_default="0", nullable=False),
        sa.Column("min_notional", sa.Numeric(), server_default="0", nullable=False),
        sa.Column("tradable", sa.Boolean(), server_default="true", nullable=False),
        sa.PrimaryKeyConstraint("symbol"),
    )
    op.create_table(
        "tenants",
        sa.Column("tenant_id", sa.Uuid(), nullable=False),
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("status", sa.String(), server_default="active", nullable=False),
        sa.PrimaryKeyConstraint("tenant_id"),
    )
    op.create_table(
        "audit_events",
        sa.Column("event_id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("tenant_id", sa.Uuid(), nullable=False),
        sa.Column("entity", sa.String(), nullable=False),
        sa.Column("entity_id", sa.String(), nullable=False),
        sa.Column("action", sa.String(), nullable=False),
        sa.Column("actor", sa.String(), nullable=False),
        sa.Column("mo_id", sa.String(), nullable=True),
        sa.Column("payload", postgresql.JSONB(astext_type=sa.Text()), server_default="{}", nullable=False),
        sa.Column("ts", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.ForeignKeyConstraint(
            ["tenant_id"],
            ["tenants.tenant_id"],
        ),
        sa.PrimaryKeyConstraint("event_id"),
    )
    op.create_index("ix_audit_events_mo", "audit_events", ["mo_id", "event_id"], unique=False)
    op.create_index("ix_audit_events_page", "audit_events", ["tenant_id", "event_id"], unique=False)
    op.create_table(
        "credentials",
        sa.Column("cred_ref", sa.String(), nullable=False),
        sa.Column("tenant_id", sa.Uuid(), nullable=False),
        sa.Column("venue", sa.String(), nullable=False),
        sa.Column("environment", sa.String(), nullable=False),
        sa.Column("key_id", sa.String(), nullable=False),
        sa.Column("sealed", sa.LargeBinary(), nullable=False),
        sa.Column("status", sa.String(), server_default="active", nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.ForeignKeyConstraint(
            ["tenant_id"],
            ["tenants.tenant_id"],
        ),
        sa.PrimaryKeyConstraint("cred_ref"),
    )
    op.create_index(op.f("ix_credentials_tenant_id"), "credentials", ["tenant_id"], unique=False)
    op.create_table(
        "idempotency_keys",
        sa.Column("tenant_id", sa.Uuid(), nullable=False),
        sa.Column("route", sa.String(), nullable=False),
        sa.Column("key", sa.String(), nullable=False),
        sa.Column("fingerprint", sa.String(), nullable=False),
        sa.Column("status", sa.Integer(), nullable=False),
        sa.Column("response", postgresql.JSONB(astext_type=sa.Text()), server_default="{}", nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.ForeignKeyConstraint(
            ["tenant_id"],
            ["tenants.tenant_id"],
        ),
        sa.PrimaryKeyConstraint("tenant_id", "route", "key"),
    )
    op.create_table(
        "ingested_entries",
        sa.Column("tenant_id", sa.Uuid(), nullable=False),
        sa.Column("entry_key", sa.String(), nullable=False),
        sa.Column("mo_id", sa.String(), nullable=False),
        sa.Column("outcome", sa.String(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.ForeignKeyConstraint(
            ["tenant_id"],
            ["tenants.tenant_id"],
        ),
        sa.PrimaryKeyConstraint("tenant_id", "entry_key"),
    )
    op.create_table(
        "outbox",
        sa.Column("outbox_id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("tenant_id", sa.Uuid(), nullable=False),
        sa.Column("event_id", sa.BigInteger(), nullable=False),
        sa.Column("subject", sa.String(), nullable=False),
        sa.Column("payload", postgresql.JSONB(astext_type=sa.Text()), server_default="{}", nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.ForeignKeyConstraint(
            ["tenant_id"],
            ["tenants.tenant_id"],
        ),
        sa.PrimaryKeyConstraint("outbox_id"),
    )
    op.create_table(
        "positions",
        sa.Column("tenant_id", sa.Uuid(), nullable=False),
        sa.Column("holder_id", sa.String(), nullable=False),
        sa.Column("symbol", sa.String(), nullable=False),
        sa.Column("qty", sa.Numeric(), nullable=False),
        sa.Column("avg_price", sa.Numeric(), nullable=True),
        sa.Column("updated_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.ForeignKeyConstraint(
            ["tenant_id"],
            ["tenants.tenant_id"],
        ),
        sa.PrimaryKeyConstraint("tenant_id", "holder_id", "symbol"),
    )
    op.create_table(
        "prices",
        sa.Column("symbol", sa.String(), nullable=False),
        sa.Column("price", sa.Numeric(), nullable=False),
        sa.Column("asof", sa.DateTime(timezone=True), nullable=False),
        sa.Column("source", sa.String(), nullable=False),
        sa.ForeignKeyConstraint(
            ["symbol"],
            ["instruments.symbol"],
        ),
        sa.PrimaryKeyConstraint("symbol"),
    )
    op.create_table(
        "subscriptions",
        sa.Column("subscription_id", sa.String(), nullable=False),
        sa.Column("tenant_id", sa.Uuid(), nullable=False),
        sa.Column("plan_id", sa.String(), nullable=False),
        sa.Column("status", sa.String(), nullable=False),
        sa.Column("entitlements", postgresql.JSONB(astext_type=sa.Text()), server_default="{}", nullable=False),
        sa.Column("renewal_at", sa.DateTime(timezone=True), nullable=True),
        sa.ForeignKeyConstraint(
            ["tenant_id"],
            ["tenants.tenant_id"],
        ),
        sa.PrimaryKeyConstraint("subscription_id"),
    )
    op.create_index(op.f("ix_subscriptions_tenant_id"), "subscriptions", ["tenant_id"], unique=False)
    op.create_table(
        "users",
        sa.Column("user_id", sa.Uuid(), nullable=False),
        sa.Column("tenant_id", sa.Uuid(), nullable=False),
        sa.Column("email", sa.String(), nullable=False),
        sa.Column("role", sa.String(), nullable=False),
        sa.Column("oidc_sub", sa.String(), nullable=True),
        sa.ForeignKeyConstraint(
            ["tenant_id"],
            ["tenants.tenant_id"],
        ),
        sa.PrimaryKeyConstraint("user_id"),
        sa.UniqueConstraint("oidc_sub"),
    )
    op.create_index(op.f("ix_users_tenant_id"), "users", ["tenant_id"], unique=False)
    op.create_table(
        "vaults",
        sa.Column("vault_id", sa.String(), nullable=False),
        sa.Column("tenant_id", sa.Uuid(), nullable=False),
        sa.Column("label", sa.String(), nullable=False),
        sa.Column("rails", postgresql.ARRAY(sa.Text()), server_default="{}", nullable=False),
        sa.Column("personas", postgresql.ARRAY(sa.Text()), server_default="{}", nullable=False),
        sa.Column("risk_profile", postgresql.JSONB(astext_type=sa.Text()), server_default="{}", nullable=False),
        sa.Column("public", sa.Boolean(), server_default="false", nullable=False),
        sa.Column("status", sa.String(), server_default="open", nullable=False),
        sa.Column("maintenance", sa.Boolean(), server_default="false", nullable=False),
        sa.Column("halt", sa.String(), nullable=True),
        sa.Column("nav_usd", sa.Numeric(), nullable=True),
        sa.Column("nav_asof", sa.DateTime(timezone=True), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.ForeignKeyConstraint(
            ["tenant_id"],
            ["tenants.tenant_id"],
        ),
        sa.PrimaryKeyConstraint("vault_id"),
    )
    op.create_index(op.f("ix_vaults_tenant_id"), "vaults", ["tenant_id"], unique=False)
    op.create_table(
        "webhook_keys",
        sa.Column("key_ref", sa.String(), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("tenant_id", sa.Uuid(), nullable=False),
        sa.Column("key_id", sa.String(), nullable=False),
        sa.Column("sealed", sa.LargeBinary(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=True),
        sa.ForeignKeyConstraint(
            ["tenant_id"],
            ["tenants.tenant_id"],
        ),
        sa.PrimaryKeyConstraint("key_ref", "version"),
    )
    op.create_index(op.f("ix_webhook_keys_tenant_id"), "webhook_keys", ["tenant_id"], unique=False)
    op.create_table(
        "followers",
        sa.Column("follower_id", sa.String(), nullable=False),
        sa.Column("tenant_id", sa.Uuid(), nullable=False),
        sa.Column("subscriber_tenant_id", sa.Uuid(), nullable=False),
        sa.Column("vault_id", sa.String(), nullable=False),
        sa.Column("mode", sa.String(), nullable=False),
        sa.Column("scale", sa.Numeric(), server_default="1", nullable=False),
        sa.Column("max_pos_usd", sa.Numeric(), nullable=True),
        sa.Column("kill_switch", sa.Boolean(), server_default="false", nullable=False),
        sa.Column("fractional", sa.Boolean(), server_default="false", nullable=False),
        sa.Column("persona", sa.String(), nullable=True),
        sa.Column("webhook", postgresql.JSONB(astext_type=sa.Text()), nullable=True),
        sa.Column("bridged_brokers", postgresql.JSONB(astext_type=sa.Text()), nullable=True),
        sa.Column("endpoint_disabled_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.ForeignKeyConstraint(
            ["tenant_id"],
            ["tenants.tenant_id"],
        ),
        sa.ForeignKeyConstraint(
            ["vault_id"],
            ["vaults.vault_id"],
        ),
        sa.PrimaryKeyConstraint("follower_id"),
    )
    op.create_index("ix_followers_vault", "followers", ["tenant_id", "vault_id", "follower_id"], unique=False)
    op.create_table(
        "manager_orders",
        sa.Column("mo_id", sa.String(), nullable=False),
        sa.Column("tenant_id", sa.Uuid(), nullable=False),
        sa.Column("vault_id", sa.String(), nullable=False),
        sa.Column("symbol", sa.String(), nullable=False),
        sa.Column("venue", sa.String(), nullable=False),
        sa.Column("side", sa.String(), nullable=False),
        sa.Column("qty", sa.Numeric(), nullable=False),
        sa.Column("order_type", sa.String(), nullable=False),
        sa.Column("limit_price", sa.Numeric(), nullable=True),
        sa.Column("tif", sa.String(), nullable=False),
        sa.Column("meta", postgresql.JSONB(astext_type=sa.Text()), server_default="{}", nullable=False),
        sa.Column("state", sa.String(), nullable=False),
        sa.Column("reason", sa.String(), nullable=True),
        sa.Column("effect", sa.String(), nullable=True),
        sa.Column("fingerprint", sa.String(), nullable=False),
        sa.Column("source", sa.String(), nullable=False),
        sa.Column("actor", sa.String(), nullable=False),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("followers", sa.Integer(), server_default="0", nullable=False),
        sa.Column("shards", sa.Integer(), server_default="0", nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("settled_at", sa.DateTime(timezone=True), nullable=True),
        sa.ForeignKeyConstraint(
            ["tenant_id"],
            ["tenants.tenant_id"],
        ),
        sa.ForeignKeyConstraint(
            ["vault_id"],
            ["vaults.vault_id"],
        ),
        sa.PrimaryKeyConstraint("mo_id"),
    )
    op.create_index("ix_manager_orders_page", "manager_orders", ["tenant_id", "created_at", "mo_id"], unique=False)
    op.create_table(
        "follower_orders",
        sa.Column("fo_id", sa.String(), nullable=False),
        sa.Column("tenant_id", sa.Uuid(), nullable=False),
        sa.Column("mo_id", sa.String(), nullable=False),
        sa.Column("follower_id", sa.String(), nullable=False),
        sa.Column("vault_id", sa.String(), nullable=False),
        sa.Column("shard", sa.Integer(), nullable=False),
        sa.Column("leg", sa.Integer(), server_default="0", nullable=False),
        sa.Column("symbol", sa.String(), nullable=False),
        sa.Column("side", sa.String(), nullable=False),
        sa.Column("qty", sa.Numeric(), nullable=False),
        sa.Column("cap_applied", sa.Boolean(), nullable=False),
        sa.Column("state", sa.String(), nullable=False),
        sa.Column("reason", sa.String(), nullable=True),
        sa.Column("route", sa.String(), nullable=False),
        sa.Column("broker_order_ref", sa.String(), nullable=True),
        sa.Column("dispatch_attempts", sa.Integer(), server_default="0", nullable=False),
        sa.Column("last_error", sa.String(), nullable=True),
        sa.Column("filled_qty", sa.Numeric(), server_default="0", nullable=False),
        sa.Column("avg_price", sa.Numeric(), nullable=True),
        sa.Column("next_attempt_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("trace", postgresql.JSONB(astext_type=sa.Text()), server_default="[]", nullable=False),
        sa.Column("audit", postgresql.JSONB(astext_type=sa.Text()), server_default="{}", nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("updated_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.ForeignKeyConstraint(
            ["follower_id"],
            ["followers.follower_id"],
        ),
        sa.ForeignKeyConstraint(
            ["mo_id"],
            ["manager_orders.mo_id"],
        ),
        sa.ForeignKeyConstraint(
            ["tenant_id"],
            ["tenants.tenant_id"],
        ),
        sa.PrimaryKeyConstraint("fo_id"),
    )
    op.create_index(
        "ix_follower_orders_follower",
        "follower_orders",
        ["tenant_id", "follower_id", "created_at"],
        unique=False,
    )
    op.create_index("ix_follower_orders_mo", "follower_orders", ["mo_id", "shard"], unique=False)
    op.create_table(
        "snapshot_followers",
        sa.Column("mo_id", sa.String(), nullable=False),
        sa.Column("follower_id", sa.String(), nullable=False),
        sa.Column("tenant_id", sa.Uuid(), nullable=False),
        sa.Column("shard", sa.Integer(), nullable=False),
        sa.Column("holding", sa.Numeric(), nullable=False),
        sa.Column("terms", postgresql.JSONB(astext_type=sa.Text()), server_default="{}", nullable=False),
        sa.ForeignKeyConstraint(
            ["mo_id"],
            ["manager_orders.mo_id"],
        ),
        sa.ForeignKeyConstraint(
            ["tenant_id"],
            ["tenants.tenant_id"],
        ),
        sa.PrimaryKeyConstraint("mo_id", "follower_id"),
    )
    op.create_index("ix_snapshot_followers_shard", "snapshot_followers", ["mo_id", "shard"], unique=False)
    op.create_table(
        "snapshots",
        sa.Column("mo_id", sa.String(), nullable=False),
        sa.Column("tenant_id", sa.Uuid(), nullable=False),
        sa.Column("taken_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("body", postgresql.JSONB(astext_type=sa.Text()), server_default="{}", nullable=False),
        sa.Column("digest", sa.String(), nullable=False),
        sa.ForeignKeyConstraint(
            ["mo_id"],
            ["manager_orders.mo_id"],
        ),
        sa.ForeignKeyConstraint(
            ["tenant_id"],
            ["tenants.tenant_id"],
        ),
        sa.PrimaryKeyConstraint("mo_id"),
    )
    op.create_index(op.f("ix_snapshots_tenant_id"), "snapshots", ["tenant_id"], unique=False)
    op.create_table(
        "attempts",
        sa.Column("fo_id", sa.String(), nullable=False),
        sa.Column("attempt_no", sa.Integer(), nullable=False),
        sa.Column("tenant_id", sa.Uuid(), nullable=False),
        sa.Column("via", sa.String(), nullable=False),
        sa.Column("started_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("ended_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("outcome", sa.String(), nullable=True),
        sa.Column("code", sa.String(), nullable=True),
        sa.Column("http_status", sa.Integer(), nullable=True),
        sa.Column("detail", sa.String(), nullable=True),
        sa.ForeignKeyConstraint(
            ["fo_id"],
            ["follower_orders.fo_id"],
        ),
        sa.ForeignKeyConstraint(
            ["tenant_id"],
            ["tenants.tenant_id"],
        ),
        sa.PrimaryKeyConstraint("fo_id", "attempt_no"),
    )
    op.create_index(op.f("ix_attempts_tenant_id"), "attempts", ["tenant_id"], unique=False)
    op.create_table(
        "dead_letters",
        sa.Column("dead_letter_id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("tenant_id", sa.Uuid(), nullable=False),
        sa.Column("fo_id", sa.String(), nullable=False),
        sa.Column("mo_id", sa.String(), nullable=False),
        sa.Column("follower_id", sa.String(), nullable=False),
        sa.Column("reason", sa.String(), nullable=False),
        sa.Column("context", postgresql.JSONB(astext_type=sa.Text()), server_default="{}", nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("redriven_at", sa.DateTime(timezone=True), nullable=True),
        sa.ForeignKeyConstraint(
            ["fo_id"],
            ["follower_orders.fo_id"],
        ),
        sa.ForeignKeyConstraint(
            ["tenant_id"],
            ["tenants.tenant_id"],
        ),
        sa.PrimaryKeyConstraint("dead_letter_id"),
    )
    op.create_index(op.f("ix_dead_letters_fo_id"), "dead_letters", ["fo_id"], unique=False)
    op.create_index(op.f("ix_dead_letters_tenant_id"), "dead_letters", ["tenant_id"], unique=False)
    op.create_table(
        "fills",
        sa.Column("fill_id", sa.String(), nullable=False),
        sa.Column("tenant_id", sa.Uuid(), nullable=False),
        sa.Column("fo_id", sa.String(), nullable=False),
        sa.Column("follower_id", sa.String(), nullable=False),
        sa.Column("symbol", sa.String(), nullable=False),
        sa.Column("side", sa.String(), nullable=False),
        sa.Column("qty", sa.Numeric(), nullable=False),
        sa.Column("price", sa.Numeric(), nullable=True),
        sa.Column("source", sa.String(), nullable=False),
        sa.Column("ts", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.ForeignKeyConstraint(
            ["fo_id"],
            ["follower_orders.fo_id"],
        ),
        sa.ForeignKeyConstraint(
            ["tenant_id"],
            ["tenants.tenant_id"],
        ),
        sa.PrimaryKeyConstraint("fill_id"),
    )
    op.create_index(op.f("ix_fills_fo_id"), "fills", ["fo_id"], unique=False)
    op.create_index(op.f("ix_fills_tenant_id"), "fills", ["tenant_id"], unique=False)
    _secure()


def _secure() -> None:
    """Row-level security and grants: a session sees the rows of the tenant that its transaction has set, else none."""
    op.execute("REVOKE ALL ON SCHEMA public FROM PUBLIC")
    op.execute("GRANT USAGE ON SCHEMA public TO vanta_app, vanta_relay")
    for table, rights in GRANTS.items():
        op.execute(f"ALTER TABLE {table} ENABLE ROW LEVEL SECURITY")
        op.execute(
            f"CREATE POLICY tenant ON {table} TO vanta_app USING (tenant_id = {ME}) WITH CHECK (tenant_id = {ME})"
        )
        op.execute(f"GRANT {rights} ON {table} TO vanta_app")
    for table, rights in SHARED.items():
        op.execute(f"GRANT {rights} ON {table} TO vanta_app")
    # The relay serves every tenant, and sees nothing but events that are on their way out.
    op.execute("CREATE POLICY relay ON outbox TO vanta_relay USING (true)")
    # UPDATE of a column that is always generated: the right that SELECT … FOR UPDATE asks for, and no other.
    op.execute("GRANT SELECT, DELETE, UPDATE (outbox_id) ON outbox TO vanta_relay")
    # An entry of the OS's queue names a vault, not a tenant; this tells whose it is, and nothing else.
    op.execute(
        """
        CREATE FUNCTION vault_tenant(wanted text) RETURNS uuid LANGUAGE sql STABLE SECURITY DEFINER
        SET search_path = pg_catalog, public AS 'SELECT tenant_id FROM public.vaults WHERE vault_id = wanted'
        """
    )
    op.execute("REVOKE ALL ON FUNCTION vault_tenant(text) FROM PUBLIC")
    op.execute("GRANT EXECUTE ON FUNCTION vault_tenant(text) TO vanta_app")


def downgrade() -> None:
    raise RuntimeError("there is nothing below the first migration; restore a backup instead")
