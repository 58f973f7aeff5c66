"""What trading at several venues needs: streams, sessions, legs of routed orders, credentials that can be renewed"""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"

# Compared as text, so that the policies only filter and never choose an index, see migration 0004.
ME = "tenant_id::text = current_setting('vanta.tenant_id', true)"
GRANTS: dict[str, str] = {}
SHARED: dict[str, str] = {}


def upgrade() -> None:
    _streams()
    _sessions()
    _legs()
    _credentials()
    _secure()


def _now(name: str) -> sa.Column[object]:
    return sa.Column(name, sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False)


def _time(name: str) -> sa.Column[object]:
    return sa.Column(name, sa.DateTime(timezone=True), nullable=True)


def _text(name: str, *, nullable: bool = False) -> sa.Column[object]:
    return sa.Column(name, sa.String(), nullable=nullable)


def _streams() -> None:
    pass


def _sessions() -> None:
    pass


def _legs() -> None:
    pass


def _credentials() -> None:
    pass


def _secure() -> None:
    for table, rights in GRANTS.items():
        op.execute(f"ALTER TABLE {table} ENABLE ROW LEVEL SECURITY")
        op.execute(f"CREATE POLICY tenant ON {table} TO vanta_app USING ({ME}) WITH CHECK ({ME})")
        op.execute(f"GRANT {rights} ON {table} TO vanta_app")
    for table, rights in SHARED.items():
        op.execute(f"GRANT {rights} ON {table} TO vanta_app")


def downgrade() -> None:
    raise RuntimeError("streams, sessions and legs have no place in the older tables; restore a backup")
