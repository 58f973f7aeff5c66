import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
VENDORS = {
    "aiohttp", "alembic", "alpaca", "boto3", "botocore", "fastapi", "httpx", "nats", "psycopg", "redis", "sqlalchemy",
    "sqlmodel", "stripe",
}  # fmt: skip


def _loaded_by(statement: str) -> set[str]:
    """Top-level modules of a fresh interpreter after the statement."""
    code = f"{statement}\nimport sys\nprint(*{{name.partition('.')[0] for name in sys.modules}})"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True, timeout=60
    )
    return set(done.stdout.split())


def test_importing_the_workflows_loads_no_vendors_library():
    loaded = _loaded_by("import workflows.registry")
    assert {"workflows", "activities", "domain", "temporalio"} <= loaded
    assert not loaded & VENDORS


def test_the_check_sees_what_is_loaded():
    assert "psycopg" in _loaded_by("import adapters.store.dispatch")


@pytest.mark.parametrize("package", sorted(p.stem for p in (ROOT / "domain").glob("[a-z]*.py")))
def test_a_domain_module_loads_none_of_our_other_packages(package: str):
    ours = {"workflows", "activities", "adapters", "models", "api", "temporal", "stack", "simulators", "settings"}
    assert not _loaded_by(f"import domain.{package}") & (ours | VENDORS | {"temporalio", "pydantic"})
