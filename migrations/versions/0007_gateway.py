"""What an API needs that faces the internet: identities, logins, invitations, accounts of programs"""

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"

# Compared as text, so that the policies only filter and never choose an index, see migration 0004.
ME = "tenant_id::text = current_setting('vanta.tenant_id', true)"
GRANTS: dict[str, str] = {
    "identities": "SELECT, INSERT, UPDATE (ended_at)",
    "sessions": "SELECT, INSERT, UPDATE",
    "refresh_tokens": "SELECT, INSERT, UPDATE",
    "invitations": "SELECT, INSERT, UPDATE",
    "service_accounts": "SELECT, INSERT, UPDATE",
    "api_keys": "SELECT, INSERT, UPDATE",
    "idempotency_answers": "SELECT, INSERT, UPDATE",
    "confirmations": "SELECT, INSERT",
}
SHARED: dict[str, str] = {"login_attempts": "SELECT, INSERT, UPDATE"}


def upgrade() -> None:
    _people()
    _logins()
    _programs()
    _progress()
    _repeats()
    _confirmations()
    _secure()
    _query_layer()
    _public_vaults()


def _now(name: str) -> sa.Column[object]:
    return sa.Column(name, sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False)


def _time(name: str, *, nullable: bool = True) -> sa.Column[object]:
    return sa.Column(name, sa.DateTime(timezone=True), nullable=nullable)


def _text(name: str, *, nullable: bool = False) -> sa.Column[object]:
    return sa.Column(name, sa.String(), nullable=nullable)


def _tenant() -> sa.Column[object]:
    return sa.Column("tenant_id", sa.Uuid(), sa.ForeignKey("tenants.tenant_id"), nullable=False)


def _follower() -> sa.Column[object]:
    return sa.Column("follower_id", sa.String(), sa.ForeignKey("followers.follower_id"), nullable=True)


def _user() -> sa.Column[object]:
    return sa.Column("user_id", sa.Uuid(), sa.ForeignKey("users.user_id"), nullable=True)


def _people() -> None:
    op.add_column("users", sa.Column("status", sa.String(), server_default="active", nullable=False))
    op.add_column("users", _now("created_at"))
    # Unique with its issuer only, which `identities` holds: two providers may both know a "1".
    op.drop_constraint("users_oidc_sub_key", "users")
    op.create_table(
        "identities",
        _text("issuer"), _text("subject"), _tenant(), _user(), _follower(), _now("created_at"), _time("ended_at"),
        sa.PrimaryKeyConstraint("issuer", "subject"),
        sa.CheckConstraint("num_nonnulls(user_id, follower_id) = 1", name="ck_identities_one"),
    )  # fmt: skip
    op.create_index("ix_identities_tenant_id", "identities", ["tenant_id"])
    op.create_table(
        "invitations",
        _text("invitation_id"), _tenant(), _text("token_hash"), _text("email"), _text("role"), _follower(),
        _text("invited_by"), _now("created_at"), _time("expires_at", nullable=False), _time("accepted_at"),
        _time("revoked_at"),
        sa.PrimaryKeyConstraint("invitation_id"),
        sa.UniqueConstraint("token_hash"),
    )  # fmt: skip
    op.create_index("ix_invitations_tenant_id", "invitations", ["tenant_id"])


def _logins() -> None:
    op.create_table(
        "login_attempts",
        _text("state_hash"), _text("nonce"), _text("code_challenge"), _text("redirect_uri"),
        _text("invitation_hash", nullable=True), _now("created_at"), _time("expires_at", nullable=False),
        _time("used_at"),
        sa.PrimaryKeyConstraint("state_hash"),
    )  # fmt: skip
    op.create_index("ix_login_attempts_expires_at", "login_attempts", ["expires_at"])
    op.create_table(
        "sessions",
        _text("session_id"), _tenant(), _user(), _follower(), _now("created_at"),
        _time("expires_at", nullable=False), _time("revoked_at"), _text("revoked_reason", nullable=True),
        sa.PrimaryKeyConstraint("session_id"),
        sa.CheckConstraint("num_nonnulls(user_id, follower_id) = 1", name="ck_sessions_one"),
    )  # fmt: skip
    for column in ("tenant_id", "user_id", "follower_id", "expires_at"):
        op.create_index(f"ix_sessions_{column}", "sessions", [column])
    op.create_table(
        "refresh_tokens",
        _text("token_hash"), sa.Column("session_id", sa.String(), sa.ForeignKey("sessions.session_id"), nullable=False),
        _tenant(), _now("issued_at"), _time("expires_at", nullable=False), _time("used_at"),
        sa.PrimaryKeyConstraint("token_hash"),
    )  # fmt: skip
    op.create_index("ix_refresh_tokens_session_id", "refresh_tokens", ["session_id"])
    # A token says which login it comes from; whose that is, and what he may do now, is told before a tenant is known.
    op.execute(
        """
        CREATE FUNCTION session_of(wanted text) RETURNS TABLE (
          tenant_id uuid, user_id uuid, follower_id text, role text, tenant_status text, user_status text,
          expires_at timestamptz, revoked_at timestamptz
        )
        LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, public AS $$
          SELECT s.tenant_id, s.user_id, s.follower_id::text, coalesce(u.role, 'follower')::text, t.status::text,
                 coalesce(u.status, 'active')::text, s.expires_at, s.revoked_at
          FROM public.sessions s
          JOIN public.tenants t ON t.tenant_id = s.tenant_id
          LEFT JOIN public.users u ON u.user_id = s.user_id
          WHERE s.session_id = wanted
        $$
        """
    )
    _for_the_application("session_of(text)")
    _before_a_tenant_is_known()
    _sweeping()


def _before_a_tenant_is_known() -> None:
    """Whose a login, an invitation or a refresh token is; the rest is then read under row-level security."""
    op.execute(
        """
        CREATE FUNCTION identity_of(at_issuer text, named text) RETURNS TABLE (
          tenant_id uuid, user_id uuid, follower_id text
        )
        LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, public AS $$
          SELECT i.tenant_id, i.user_id, i.follower_id::text FROM public.identities i
          WHERE i.issuer = at_issuer AND i.subject = named
        $$
        """
    )
    op.execute(
        """
        CREATE FUNCTION invitation_of(hash text) RETURNS TABLE (tenant_id uuid, invitation_id text)
        LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, public AS $$
          SELECT i.tenant_id, i.invitation_id::text FROM public.invitations i WHERE i.token_hash = hash
        $$
        """
    )
    op.execute(
        """
        CREATE FUNCTION refresh_token_of(hash text) RETURNS TABLE (tenant_id uuid, session_id text)
        LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, public AS $$
          SELECT r.tenant_id, r.session_id::text FROM public.refresh_tokens r WHERE r.token_hash = hash
        $$
        """
    )
    for function in ("identity_of(text, text)", "invitation_of(text)", "refresh_token_of(text)"):
        _for_the_application(function)


def _sweeping() -> None:
    """Some of what is over, at each login that begins; the audit keeps what logins there were."""
    op.execute(
        """
        CREATE FUNCTION sweep_logins() RETURNS void
        LANGUAGE sql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, public AS $$
          DELETE FROM public.login_attempts WHERE state_hash IN (
            SELECT state_hash FROM public.login_attempts WHERE expires_at < now() - interval '1 hour'
            ORDER BY expires_at LIMIT 100 FOR UPDATE SKIP LOCKED);
          WITH over AS (
            SELECT session_id FROM public.sessions WHERE expires_at < now() - interval '30 days'
            ORDER BY expires_at LIMIT 10 FOR UPDATE SKIP LOCKED
          ), tokens AS (
            DELETE FROM public.refresh_tokens WHERE session_id IN (SELECT session_id FROM over)
          )
          DELETE FROM public.sessions WHERE session_id IN (SELECT session_id FROM over);
        $$
        """
    )
    _for_the_application("sweep_logins()")


def _programs() -> None:
    op.create_table(
        "service_accounts",
        _text("account_id"), _tenant(), _text("name"),
        sa.Column("scopes", sa.ARRAY(sa.Text()), server_default="{}", nullable=False),
        _text("created_by"), _now("created_at"), _time("disabled_at"),
        sa.PrimaryKeyConstraint("account_id"),
    )  # fmt: skip
    op.create_index("ix_service_accounts_tenant_id", "service_accounts", ["tenant_id"])
    op.create_table(
        "api_keys",
        _text("key_id"),
        sa.Column("account_id", sa.String(), sa.ForeignKey("service_accounts.account_id"), nullable=False),
        _tenant(), _text("key_hash"), _text("created_by"), _now("created_at"), _time("expires_at"), _time("revoked_at"),
        sa.PrimaryKeyConstraint("key_id"),
        sa.UniqueConstraint("key_hash"),
    )  # fmt: skip
    op.create_index("ix_api_keys_account_id", "api_keys", ["account_id"])
    # As with a login: whose a key is, and what it opens now, is told to whoever holds it and to nobody else.
    op.execute(
        """
        CREATE FUNCTION api_key_of(wanted text) RETURNS TABLE (
          tenant_id uuid, account_id text, scopes text[], tenant_status text, disabled_at timestamptz,
          expires_at timestamptz, revoked_at timestamptz
        )
        LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, public AS $$
          SELECT a.tenant_id, a.account_id::text, a.scopes, t.status::text, a.disabled_at, k.expires_at, k.revoked_at
          FROM public.api_keys k
          JOIN public.service_accounts a ON a.account_id = k.account_id AND a.tenant_id = k.tenant_id
          JOIN public.tenants t ON t.tenant_id = a.tenant_id
          WHERE k.key_hash = wanted
        $$
        """
    )
    _for_the_application("api_key_of(text)")


def _progress() -> None:
    """What tells orders' progress asks for the orders of all tenants at once, each by its tenant and its id."""
    op.execute(
        """
        CREATE FUNCTION newest_event() RETURNS bigint
        LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, public AS $$
          SELECT max(event_id) FROM public.audit_events
        $$
        """
    )
    # The tenant is compared as text: an index that begins with it would be walked through all of the tenant's events.
    op.execute(
        """
        CREATE FUNCTION order_progress(tenants uuid[], orders text[], seen bigint[], most integer) RETURNS TABLE (
          place bigint, state text, live boolean, event_id bigint, entity text, entity_id text, action text,
          payload jsonb, ts timestamptz
        )
        LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, public AS $$
          SELECT w.place, m.state::text, m.live, e.event_id, e.entity::text, e.entity_id::text, e.action::text,
                 e.payload - ARRAY['trace', 'guards', 'detail'], e.ts
          FROM unnest(tenants, orders, seen) WITH ORDINALITY AS w(tenant_id, mo_id, seen, place)
          JOIN public.manager_orders m ON m.mo_id = w.mo_id AND m.tenant_id = w.tenant_id
          LEFT JOIN LATERAL (
            SELECT * FROM public.audit_events a
            WHERE a.mo_id = w.mo_id AND a.event_id > w.seen AND a.tenant_id::text = w.tenant_id::text
            ORDER BY a.event_id LIMIT most
          ) e ON true
          ORDER BY w.place, e.event_id
        $$
        """
    )
    _for_the_application("newest_event()")
    _for_the_application("order_progress(uuid[], text[], bigint[], integer)")


def _repeats() -> None:
    op.create_table(
        "idempotency_answers",
        _tenant(), _text("caller"), _text("route"), _text("key"), _text("fingerprint"), _text("token"),
        sa.Column("status", sa.Integer(), nullable=True), sa.Column("body", sa.LargeBinary(), nullable=True),
        _text("content_type", nullable=True), _text("location", nullable=True), _time("expires_at", nullable=False),
        sa.PrimaryKeyConstraint("tenant_id", "caller", "route", "key"),
    )  # fmt: skip
    op.create_index("ix_idempotency_answers_expires_at", "idempotency_answers", ["expires_at"])
    # The application may delete nothing; what has expired is nobody's any more, whichever tenant's it was.
    op.execute(
        """
        CREATE FUNCTION sweep_idempotency_answers() RETURNS bigint
        LANGUAGE sql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, public AS $$
          WITH gone AS (DELETE FROM public.idempotency_answers WHERE expires_at <= now() RETURNING 1)
          SELECT count(*) FROM gone
        $$
        """
    )
    _for_the_application("sweep_idempotency_answers()")


def _confirmations() -> None:
    op.create_table(
        "confirmations",
        sa.Column("fo_id", sa.String(), sa.ForeignKey("follower_orders.fo_id"), nullable=False),
        _text("confirmation_id"), _tenant(), _text("digest"), _now("received_at"),
        sa.PrimaryKeyConstraint("fo_id", "confirmation_id"),
    )  # fmt: skip
    # A callback names an order and no tenant; whose key must have signed it is told before its tenant is known.
    op.execute(
        """
        CREATE FUNCTION tenant_of_follower_order(wanted text) RETURNS uuid
        LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, public AS $$
          SELECT tenant_id FROM public.follower_orders WHERE fo_id = wanted
        $$
        """
    )
    _for_the_application("tenant_of_follower_order(text)")


def _for_the_application(function: str) -> None:
    op.execute(f"REVOKE ALL ON FUNCTION {function} FROM PUBLIC")
    op.execute(f"GRANT EXECUTE ON FUNCTION {function} TO vanta_app")


def _secure() -> None:
    for table, rights in GRANTS.items():
        op.execute(f"ALTER TABLE {table} ENABLE ROW LEVEL SECURITY")
        op.execute(f"CREATE POLICY tenant ON {table} TO vanta_app USING ({ME}) WITH CHECK ({ME})")
        op.execute(f"GRANT {rights} ON {table} TO vanta_app")
    for table, rights in SHARED.items():
        op.execute(f"GRANT {rights} ON {table} TO vanta_app")


def _query_layer() -> None:
    # What statements say themselves, whatever the policies do: see adapters.store.tenancy. Simple enough to be inlined.
    op.execute(
        """
        CREATE FUNCTION is_mine(tenant uuid) RETURNS boolean LANGUAGE sql STABLE AS $$
          SELECT tenant::text = current_setting('vanta.tenant_id', true)
        $$
        """
    )


def _public_vaults() -> None:
    op.create_index("ix_vaults_public", "vaults", ["vault_id"], postgresql_where=sa.text("public"))
    # All that one tenant may see of another's vault. Whose entitlement allows it, the caller asks before.
    op.execute(
        """
        CREATE FUNCTION public_vaults(after text, most int, only_one text) RETURNS TABLE (
          vault_id text, label text, rails text[], personas text[], status text, created_at timestamptz
        )
        LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, public AS $$
          SELECT v.vault_id::text, v.label::text, v.rails, v.personas, v.status::text, v.created_at
          FROM public.vaults v JOIN public.tenants t ON t.tenant_id = v.tenant_id
          WHERE v.public AND t.status = 'active' AND v.vault_id > after
            AND v.tenant_id::text <> current_setting('vanta.tenant_id')
            AND (only_one IS NULL OR v.vault_id = only_one)
          ORDER BY v.vault_id LIMIT most
        $$
        """
    )
    _for_the_application("public_vaults(text, int, text)")


def downgrade() -> None:
    raise RuntimeError("logins and accounts have no place in the older tables; restore a backup")
