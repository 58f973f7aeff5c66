"""The application's database role on the real Postgres."""

from tests.adapters.store.conftest import box, database, registry, tenant

__all__ = ["box", "database", "registry", "tenant"]
