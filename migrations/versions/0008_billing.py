"""What selling by subscription needs: plans' versions, invoices, accounts, refunds, an inbox, what tenants may use"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0008"
down_revision = "0007"

# Compared as text, so that the policies only filter and never choose an index, see migration 0004.
ME = "tenant_id::text = current_setting('vanta.tenant_id', true)"
GRANTS: dict[str, str] = {
    "invoices": "SELECT, INSERT, UPDATE",
    "billing_entries": "SELECT, INSERT",
    "refunds": "SELECT, INSERT, UPDATE",
    "entitlement_overrides": "SELECT, INSERT, UPDATE",
    "billing_differences": "SELECT, INSERT, UPDATE",
}
SHARED: dict[str, str] = {"payment_events": "SELECT, INSERT, UPDATE"}


def upgrade() -> None:
    _subscriptions()
    _invoices()
    _accounts()
    _overrides()
    _differences()
    _inbox()
    _secure()
    _across_tenants()
    _rights()


def _now(name: str) -> sa.Column[object]:
    return sa.Column(name, sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False)


def _time(name: str, *, nullable: bool = True) -> sa.Column[object]:
    return sa.Column(name, sa.DateTime(timezone=True), nullable=nullable)


def _text(name: str, *, nullable: bool = False) -> sa.Column[object]:
    return sa.Column(name, sa.String(), nullable=nullable)


def _minor(name: str) -> sa.Column[object]:
    return sa.Column(name, sa.BigInteger(), server_default="0", nullable=False)


def _json(name: str) -> sa.Column[object]:
    return sa.Column(name, postgresql.JSONB(astext_type=sa.Text()), server_default="{}", nullable=False)


def _tenant() -> sa.Column[object]:
    return sa.Column("tenant_id", sa.Uuid(), sa.ForeignKey("tenants.tenant_id"), nullable=False)


def _subscription() -> sa.Column[object]:
    return sa.Column("subscription_id", sa.String(), sa.ForeignKey("subscriptions.subscription_id"), nullable=False)


def _subscriptions() -> None:
    for column in (
        sa.Column("plan_version", sa.Integer(), server_default="1", nullable=False),
        sa.Column("provider", sa.String(), server_default="stripe", nullable=False),
        _text("customer_ref", nullable=True), _text("provider_ref", nullable=True),
        _time("anchor_at"), _time("period_start"), _time("paid_through"), _time("trial_end"), _time("past_due_since"),
        _time("grace_until"),
        sa.Column("close_only", sa.Boolean(), server_default="false", nullable=False),
        _time("cancel_at"), _time("ended_at"), _time("paused_at"), _time("resume_at"),
        _text("scheduled_plan_id", nullable=True), sa.Column("scheduled_plan_version", sa.Integer(), nullable=True),
        sa.Column("reminded", sa.ARRAY(sa.Text()), server_default="{}", nullable=False),
        _text("coupon", nullable=True),
        sa.Column("version", sa.Integer(), server_default="0", nullable=False),
        _now("created_at"), _now("updated_at"),
    ):  # fmt: skip
        op.add_column("subscriptions", column)
    op.create_index(
        "uq_subscriptions_provider_ref", "subscriptions", ["provider", "provider_ref"], unique=True,
        postgresql_where=sa.text("provider_ref IS NOT NULL"),
    )  # fmt: skip
    op.create_index("ix_subscriptions_customer_ref", "subscriptions", ["customer_ref"])
    # A tenant pays for one at a time.
    op.create_index(
        "uq_subscriptions_live", "subscriptions", ["tenant_id"], unique=True,
        postgresql_where=sa.text("status NOT IN ('canceled', 'incomplete_expired')"),
    )  # fmt: skip


def _invoices() -> None:
    op.create_table(
        "invoices",
        _text("invoice_id"), _tenant(), _subscription(), _text("provider"), _text("provider_ref", nullable=True),
        _text("kind"), sa.Column("number", sa.Integer(), server_default="1", nullable=False),
        _text("plan_id", nullable=True), sa.Column("plan_version", sa.Integer(), nullable=True), _text("status"),
        _text("detail", nullable=True), sa.Column("currency", sa.String(), server_default="usd", nullable=False),
        _minor("amount_minor"), _minor("paid_minor"), _minor("refunded_minor"), _time("period_start"),
        _time("period_end"), _text("url", nullable=True), _text("pdf_url", nullable=True), _time("due_at"),
        _now("created_at"), _time("paid_at"),
        sa.PrimaryKeyConstraint("invoice_id"),
        sa.UniqueConstraint("provider", "provider_ref", name="uq_invoices_provider_ref"),
        sa.CheckConstraint("refunded_minor BETWEEN 0 AND paid_minor", name="ck_invoices_refunded"),
    )  # fmt: skip
    for column in ("tenant_id", "subscription_id"):
        op.create_index(f"ix_invoices_{column}", "invoices", [column])


def _accounts() -> None:
    op.create_table(
        "billing_entries",
        _subscription(), _text("entry_id"), _tenant(), _text("kind"), _minor("amount_minor"),
        sa.Column("invoice_id", sa.String(), sa.ForeignKey("invoices.invoice_id"), nullable=True), _json("detail"),
        _time("at", nullable=False),
        sa.PrimaryKeyConstraint("subscription_id", "entry_id"),
    )  # fmt: skip
    op.create_index("ix_billing_entries_tenant_id", "billing_entries", ["tenant_id"])
    op.create_table(
        "refunds",
        _text("refund_id"), _tenant(),
        sa.Column("invoice_id", sa.String(), sa.ForeignKey("invoices.invoice_id"), nullable=False),
        _minor("amount_minor"), _text("status"), _text("reason"), _text("actor"), _text("provider_ref", nullable=True),
        _text("claim_url", nullable=True), _now("created_at"), _now("updated_at"),
        sa.PrimaryKeyConstraint("refund_id"),
        sa.CheckConstraint("amount_minor > 0", name="ck_refunds_amount"),
    )  # fmt: skip
    for column in ("tenant_id", "invoice_id"):
        op.create_index(f"ix_refunds_{column}", "refunds", [column])


def _overrides() -> None:
    op.create_table(
        "entitlement_overrides",
        sa.Column("override_id", sa.BigInteger(), sa.Identity(always=True), nullable=False), _tenant(), _text("name"),
        _json("value"), _text("reason"), _text("actor"), _now("created_at"), _time("expires_at"), _time("ended_at"),
        sa.PrimaryKeyConstraint("override_id"),
    )  # fmt: skip
    op.create_index("ix_entitlement_overrides_tenant_id", "entitlement_overrides", ["tenant_id"])
    op.create_index(
        "uq_entitlement_overrides_one", "entitlement_overrides", ["tenant_id", "name"], unique=True,
        postgresql_where=sa.text("ended_at IS NULL"),
    )  # fmt: skip


def _differences() -> None:
    op.create_table(
        "billing_differences",
        _text("difference_id"), _tenant(), _subscription(), _text("provider"), _text("kind"), _text("ref"),
        _json("ours"), _json("theirs"), _now("found_at"), _now("seen_at"), _time("resolved_at"),
        sa.PrimaryKeyConstraint("difference_id"),
    )  # fmt: skip
    op.create_index("ix_billing_differences_tenant_id", "billing_differences", ["tenant_id"])


def _inbox() -> None:
    op.create_table(
        "payment_events",
        _text("provider"), _text("event_id"), _text("type"), _text("object_ref", nullable=True),
        _text("subject_ref", nullable=True), sa.Column("state", sa.String(), server_default="pending", nullable=False),
        _text("note", nullable=True), sa.Column("tries", sa.Integer(), server_default="0", nullable=False),
        _time("said_at"), _now("received_at"), _now("next_try_at"), _time("done_at"),
        sa.PrimaryKeyConstraint("provider", "event_id"),
    )  # fmt: skip
    op.create_index(
        "ix_payment_events_pending", "payment_events", ["next_try_at"], postgresql_where=sa.text("state = 'pending'")
    )
    op.create_index(
        "ix_payment_events_left", "payment_events", ["provider", "state"],
        postgresql_where=sa.text("state = 'pending' OR state = 'orphaned'"),
    )  # fmt: skip


def _secure() -> None:
    for table, rights in GRANTS.items():
        op.execute(f"ALTER TABLE {table} ENABLE ROW LEVEL SECURITY")
        op.execute(f"CREATE POLICY tenant ON {table} TO vanta_app USING ({ME}) WITH CHECK ({ME})")
        op.execute(f"GRANT {rights} ON {table} TO vanta_app")
    for table, rights in SHARED.items():
        op.execute(f"GRANT {rights} ON {table} TO vanta_app")


def _across_tenants() -> None:
    # An event names an object at a payment system and no tenant: whose that is, and nothing else.
    op.execute(
        """
        CREATE FUNCTION subscription_of(at_provider text, refs text[]) RETURNS TABLE (
          tenant_id uuid, subscription_id text
        )
        LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, public AS $$
          SELECT s.tenant_id, s.subscription_id::text FROM public.subscriptions s
          WHERE s.provider = at_provider
            AND (s.subscription_id = ANY(refs) OR s.provider_ref = ANY(refs) OR s.customer_ref = ANY(refs))
          UNION
          SELECT i.tenant_id, i.subscription_id::text FROM public.invoices i
          WHERE i.provider = at_provider AND (i.invoice_id = ANY(refs) OR i.provider_ref = ANY(refs))
        $$
        """
    )
    # What has to be compared with payment systems, and must have a workflow that owns it.
    op.execute(
        """
        CREATE FUNCTION all_subscriptions(after text, most int) RETURNS TABLE (
          subscription_id text, tenant_id uuid, provider text, status text, ended_at timestamptz
        )
        LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, public AS $$
          SELECT s.subscription_id::text, s.tenant_id, s.provider::text, s.status::text, s.ended_at
          FROM public.subscriptions s WHERE s.subscription_id > after ORDER BY s.subscription_id LIMIT most
        $$
        """
    )
    # Whose overrides have run out, and so have to be brought in line.
    op.execute(
        """
        CREATE FUNCTION overrides_due(until timestamptz) RETURNS TABLE (tenants uuid[])
        LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, public AS $$
          SELECT array_agg(DISTINCT o.tenant_id) FROM public.entitlement_overrides o
          WHERE o.ended_at IS NULL AND o.expires_at <= until
        $$
        """
    )
    # What a tenant has, in one row: of its subscription that counts, and what it was granted or refused besides. The
    # tenant of a follower's vault asks it of the follower's subscriber.
    op.execute(
        """
        CREATE FUNCTION tenant_rights(whose uuid) RETURNS TABLE (
          plan_id text, plan_version int, status text, close_only boolean, entitlements jsonb,
          scheduled_plan_id text, scheduled_plan_version int, overrides jsonb, overrides_over boolean
        )
        LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, public AS $$
          SELECT s.plan_id::text, s.plan_version, s.status::text, s.close_only, s.entitlements,
            s.scheduled_plan_id::text, s.scheduled_plan_version, o.active, o.due
          FROM (
            SELECT coalesce(jsonb_object_agg(o.name, o.value -> 'value')
                FILTER (WHERE o.expires_at IS NULL OR o.expires_at > now()), '{}') AS active,
              coalesce(bool_or(o.expires_at <= now()), false) AS due
            FROM public.entitlement_overrides o WHERE o.tenant_id = whose AND o.ended_at IS NULL
          ) o LEFT JOIN LATERAL (
            SELECT * FROM public.subscriptions s
            WHERE s.tenant_id = whose AND s.status NOT IN ('incomplete', 'incomplete_expired')
            ORDER BY s.status IN ('trialing', 'active', 'past_due') DESC, s.renewal_at DESC NULLS LAST,
              s.subscription_id LIMIT 1
          ) s ON true
        $$
        """
    )
    # How many followers a tenant pays for, whosever vaults they follow.
    op.execute(
        """
        CREATE FUNCTION followers_of_subscriber(whose uuid) RETURNS bigint
        LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, public AS $$
          SELECT count(*) FROM public.followers WHERE subscriber_tenant_id = whose
        $$
        """
    )
    for function in (
        "subscription_of(text, text[])", "all_subscriptions(text, int)", "overrides_due(timestamptz)",
        "tenant_rights(uuid)", "followers_of_subscriber(uuid)",
    ):  # fmt: skip
        op.execute(f"REVOKE ALL ON FUNCTION {function} FROM PUBLIC")
        op.execute(f"GRANT EXECUTE ON FUNCTION {function} TO vanta_app")


# What sizing asks of a subscription; ids at payment systems are none of its business.
_REMEMBERED = ("subscription_id", "tenant_id", "plan_id", "status", "close_only", "entitlements", "created_at")


def _rights() -> None:
    """What subscribers have, now or at some time, for the vaults that their followers follow."""
    op.create_index(
        "ix_followers_subscriber", "followers", ["subscriber_tenant_id", "created_at", "follower_id"], unique=False
    )
    body = "jsonb_build_object(" + ", ".join(f"'{name}', {{row}}.{name}" for name in _REMEMBERED) + ")"
    op.execute(
        "INSERT INTO row_history (tenant_id, entity, entity_id, body) "
        f"SELECT tenant_id, 'subscription', subscription_id, {body.format(row='s')} FROM subscriptions s"
    )
    op.execute(
        f"""
        CREATE FUNCTION remember_subscriptions() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN
          IF TG_OP = 'INSERT'
            OR (NEW.status, NEW.close_only, NEW.entitlements) <> (OLD.status, OLD.close_only, OLD.entitlements)
          THEN
            INSERT INTO row_history (tenant_id, entity, entity_id, body)
            VALUES (NEW.tenant_id, 'subscription', NEW.subscription_id, {body.format(row="NEW")});
          END IF;
          RETURN NULL;
        END $$
        """
    )
    op.execute(
        "CREATE TRIGGER remember AFTER INSERT OR UPDATE ON subscriptions "
        "FOR EACH ROW EXECUTE FUNCTION remember_subscriptions()"
    )
    # A follower's subscriber may be another tenant. This tells whether it is closed to what opens, what it stores as
    # its entitlements (null: it never subscribed; then what it was granted besides), and nothing else; whoever have
    # the same share a row. What is not begun yet counts as not there; `moment` null is now.
    op.execute(
        """
        CREATE FUNCTION subscriber_rights(wanted uuid[], moment timestamptz) RETURNS TABLE (
          subscribers text[], closed boolean, entitlements jsonb, overrides jsonb
        )
        LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, public AS $$
          WITH versions AS (
            SELECT s.tenant_id, s.status::text, s.close_only, s.entitlements, s.created_at
            FROM public.subscriptions s WHERE moment IS NULL AND s.tenant_id = ANY(wanted)
            UNION ALL
            SELECT n.tenant_id, b.body ->> 'status', (b.body ->> 'close_only')::boolean, b.body -> 'entitlements',
              (b.body ->> 'created_at')::timestamptz
            FROM public.subscriptions n CROSS JOIN LATERAL (
              SELECT h.body FROM public.row_history h
              WHERE h.entity = 'subscription' AND h.entity_id = n.subscription_id AND h.tenant_id = n.tenant_id
                AND h.valid_from <= moment
              ORDER BY h.valid_from DESC, h.history_id DESC LIMIT 1) b
            WHERE moment IS NOT NULL AND n.tenant_id = ANY(wanted)
          ), counting AS (
            SELECT DISTINCT ON (v.tenant_id) v.tenant_id, v.entitlements,
              v.close_only OR v.status NOT IN ('trialing', 'active', 'past_due') AS closed
            FROM versions v WHERE v.status NOT IN ('incomplete', 'incomplete_expired')
            ORDER BY v.tenant_id, v.status = 'canceled', v.created_at DESC
          ), besides AS (
            SELECT o.tenant_id, jsonb_object_agg(o.name, o.value -> 'value') AS overrides
            FROM public.entitlement_overrides o
            WHERE o.tenant_id = ANY(wanted) AND (o.expires_at IS NULL OR o.expires_at > coalesce(moment, now()))
              AND o.created_at <= coalesce(moment, now()) AND (o.ended_at IS NULL OR o.ended_at > moment)
            GROUP BY o.tenant_id
          ), each AS (
            SELECT w.tenant_id, t.status IS DISTINCT FROM 'active' OR coalesce(c.closed, false) AS closed,
              c.entitlements, CASE WHEN c.tenant_id IS NULL THEN b.overrides END AS overrides
            FROM unnest(wanted) AS w(tenant_id)
            LEFT JOIN public.tenants t ON t.tenant_id = w.tenant_id
            LEFT JOIN counting c ON c.tenant_id = w.tenant_id
            LEFT JOIN besides b ON b.tenant_id = w.tenant_id
          )
          SELECT array_agg(e.tenant_id::text), e.closed, e.entitlements, e.overrides
          FROM each e GROUP BY e.closed, e.entitlements, e.overrides
        $$
        """
    )
    # Of a subscriber that has more followers than it may have, the last that it may; those beyond may reduce and not
    # open. Counted first, as most have not.
    op.execute(
        """
        CREATE FUNCTION follower_cuts(subscribers uuid[], most int[], moment timestamptz) RETURNS TABLE (
          subscriber text, created_at timestamptz, follower_id text
        )
        LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, public AS $$
          SELECT w.subscriber::text, c.created_at, c.follower_id
          FROM unnest(subscribers, most) AS w(subscriber, most) JOIN (
            SELECT f.subscriber_tenant_id, count(*) AS followers FROM public.followers f
            WHERE f.subscriber_tenant_id = ANY(subscribers) AND (moment IS NULL OR f.created_at <= moment)
            GROUP BY f.subscriber_tenant_id
          ) n ON n.subscriber_tenant_id = w.subscriber AND n.followers > w.most
          CROSS JOIN LATERAL (
            SELECT f.created_at, f.follower_id::text FROM public.followers f
            WHERE f.subscriber_tenant_id = w.subscriber AND (moment IS NULL OR f.created_at <= moment)
            ORDER BY f.created_at, f.follower_id OFFSET w.most - 1 LIMIT 1) c
        $$
        """
    )
    for function in ("subscriber_rights(uuid[], timestamptz)", "follower_cuts(uuid[], int[], timestamptz)"):
        op.execute(f"REVOKE ALL ON FUNCTION {function} FROM PUBLIC")
        op.execute(f"GRANT EXECUTE ON FUNCTION {function} TO vanta_app")
    # It told a tenant's status to redrives, which ask for rights now.
    op.execute("DROP FUNCTION tenant_status(uuid)")
