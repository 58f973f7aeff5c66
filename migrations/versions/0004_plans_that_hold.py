"""Keep row-level security out of the choice of an index on the tables of the order path

A policy `tenant_id = …` can be answered from any index that begins with tenant_id. For a tenant that the statistics do
not know yet the planner expects one row there, prefers that index to the primary key, and joins a page of orders by
reading all of the tenant's rows for each of them. Compared as text, the policy only filters; what wants to go by
tenant says so itself.
"""

from alembic import op

revision = "0004"
down_revision = "0003"

TABLES = (
    "follower_orders", "attempts", "fills", "positions", "followers", "webhook_keys", "credentials", "snapshot_pages",
)  # fmt: skip
ME = "tenant_id::text = current_setting('vanta.tenant_id', true)"


def upgrade() -> None:
    for table in TABLES:
        op.execute(f"ALTER POLICY tenant ON {table} USING ({ME}) WITH CHECK ({ME})")
    # Nothing asks for a tenant's attempts, fills, keys or credentials as such.
    for table in ("attempts", "fills", "webhook_keys", "credentials"):
        op.drop_index(f"ix_{table}_tenant_id", table)


def downgrade() -> None:
    me = "tenant_id = nullif(current_setting('vanta.tenant_id', true), '')::uuid"
    for table in ("attempts", "fills", "webhook_keys", "credentials"):
        op.create_index(f"ix_{table}_tenant_id", table, ["tenant_id"])
    for table in TABLES:
        op.execute(f"ALTER POLICY tenant ON {table} USING ({me}) WITH CHECK ({me})")
