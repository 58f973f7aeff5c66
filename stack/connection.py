"""What a client needs to reach a running stack: the document that `vanta up --json` prints."""

from collections.abc import Sequence

from settings import Settings
from stack.files import Layout
from stack.state import ComponentState


def document(layout: Layout, settings: Settings, components: Sequence[ComponentState]) -> dict[str, object]:
    """Every URL and credential, the folders and the pids. Holds secrets: show it to the stack's owner only."""
    api_url = f"http://{settings.api.host}:{settings.api.port}"
    postgres, s3 = settings.postgres, settings.s3
    return {
        "api_url": api_url,
        "docs_url": f"{api_url}/docs",
        "temporal": {
            "address": settings.temporal.address,
            "namespace": settings.temporal.namespace,
            "ui_url": settings.temporal.ui_url,
        },
        "postgres": {
            "app_dsn": postgres.dsn.get_secret_value(),
            "owner_dsn": postgres.owner_dsn.get_secret_value() if postgres.owner_dsn else None,
            "relay_dsn": postgres.relay_dsn.get_secret_value() if postgres.relay_dsn else None,
        },
        "redis_url": settings.redis.url.get_secret_value(),
        "nats_url": settings.nats.url.get_secret_value(),
        "s3": {
            "endpoint": s3.endpoint,
            "region": s3.region,
            "access_key": s3.access_key.get_secret_value(),
            "secret_key": s3.secret_key.get_secret_value(),
            "audit_bucket": s3.audit_bucket,
            "artifacts_bucket": s3.artifacts_bucket,
        },
        "auth": {"issuer": settings.auth.issuer, "audience": settings.auth.audience},
        "data_dir": str(layout.data),
        "env_file": str(layout.env),
        "log_dir": str(layout.logs),
        "pids": {c.name: c.identity.pid for c in components if c.identity},
    }
