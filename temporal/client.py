"""The one way to connect to Temporal."""

from temporalio.client import Client
from temporalio.runtime import Runtime

from settings import TemporalSettings
from temporal.plugin import VantaPlugin


async def connect(settings: TemporalSettings, *, lazy: bool = False, runtime: Runtime | None = None) -> Client:
    """A client with the product's plugin. `lazy` connects at first use; else raises RuntimeError when unreachable."""
    return await Client.connect(
        settings.address,
        namespace=settings.namespace,
        api_key=settings.api_key.get_secret_value() if settings.api_key else None,
        tls=settings.tls,
        plugins=[VantaPlugin()],
        lazy=lazy,
        runtime=runtime,
    )
