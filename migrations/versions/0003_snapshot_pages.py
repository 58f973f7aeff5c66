"""Keep a snapshot's followers as one row per page instead of one per follower"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0003"
down_revision = "0002"

ME = "nullif(current_setting('vanta.tenant_id', true), '')::uuid"
_CARRY_OVER = """
INSERT INTO snapshot_pages (mo_id, shard, tenant_id, routes, body)
SELECT mo_id, shard, tenant_id,
  coalesce(array_agg(DISTINCT terms ->> 'route') FILTER (WHERE terms ->> 'route' IS NOT NULL), '{}'),
  json_agg((jsonb_build_object('follower_id', follower_id, 'holding', holding::text) || terms) ORDER BY follower_id)
FROM snapshot_followers GROUP BY mo_id, shard, tenant_id
"""


def upgrade() -> None:
    op.create_table(
        "snapshot_pages",
        sa.Column("mo_id", sa.String(), nullable=False),
        sa.Column("shard", sa.Integer(), nullable=False),
        sa.Column("tenant_id", sa.Uuid(), nullable=False),
        sa.Column("routes", postgresql.ARRAY(sa.Text()), server_default="{}", nullable=False),
        sa.Column("body", sa.JSON(), nullable=False),
        sa.ForeignKeyConstraint(["mo_id"], ["manager_orders.mo_id"]),
        sa.ForeignKeyConstraint(["tenant_id"], ["tenants.tenant_id"]),
        sa.PrimaryKeyConstraint("mo_id", "shard"),
    )
    op.execute(_CARRY_OVER)
    op.drop_table("snapshot_followers")
    op.execute("ALTER TABLE snapshot_pages ENABLE ROW LEVEL SECURITY")
    op.execute(
        f"CREATE POLICY tenant ON snapshot_pages TO vanta_app USING (tenant_id = {ME}) WITH CHECK (tenant_id = {ME})"
    )
    op.execute("GRANT SELECT, INSERT ON snapshot_pages TO vanta_app")


def downgrade() -> None:
    raise RuntimeError("rows per follower cannot be told from pages any more; restore a backup instead")
