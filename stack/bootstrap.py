"""What must exist in the servers before API and workers start; every step may be run again.

The same steps serve the embedded stack and production (`vanta db migrate`, `vanta bootstrap`).
"""

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import boto3
import nats
from alembic import command
from alembic.config import Config
from botocore.config import Config as BotoConfig
from botocore.exceptions import BotoCoreError, ClientError
from nats.js import JetStreamContext
from nats.js.api import StorageType, StreamConfig
from nats.js.errors import NotFoundError
from sqlalchemy.exc import SQLAlchemyError
from temporalio.api.enums.v1 import IndexedValueType
from temporalio.api.operatorservice.v1 import AddSearchAttributesRequest, ListSearchAttributesRequest
from temporalio.service import RPCError

import migrations
from settings import NatsSettings, S3Settings, Settings, TemporalSettings
from stack.errors import StackError
from temporal import search_attributes
from temporal.client import connect

STREAMS = {"mirror_events": "mirror.>", "mirror_dispatch_dlx": "mirror_dispatch_dlx.>"}
DUPLICATE_WINDOW_S = 120
_DAY_S = 86_400


def migrate(settings: Settings) -> None:
    """Bring the schema to its newest version as the owner role. Raises StackError."""
    owner = settings.postgres.owner_dsn
    if owner is None:
        raise StackError("VANTA_POSTGRES__OWNER_DSN is not set; migrations run as the owner of the tables")
    url = owner.get_secret_value().replace("postgresql://", "postgresql+psycopg://", 1)
    config = Config()
    config.set_main_option("script_location", str(Path(migrations.__file__).parent))
    config.set_main_option("sqlalchemy.url", url.replace("%", "%%"))
    try:
        command.upgrade(config, "head")
    except SQLAlchemyError as error:
        raise StackError(f"migration failed: {_first_line(error)}") from error


def create_buckets(settings: S3Settings) -> None:
    """The artifacts bucket, and the audit bucket under Object Lock in COMPLIANCE mode. Raises StackError."""
    client = _s3_client(settings)
    try:
        _create_bucket(client, settings, settings.artifacts_bucket, locked=False)
        _create_bucket(client, settings, settings.audit_bucket, locked=True)
        retention = {"Mode": "COMPLIANCE", "Days": settings.audit_retention_days}
        client.put_object_lock_configuration(
            Bucket=settings.audit_bucket,
            ObjectLockConfiguration={"ObjectLockEnabled": "Enabled", "Rule": {"DefaultRetention": retention}},
        )
    except (BotoCoreError, ClientError) as error:
        raise StackError(f"s3: cannot prepare the buckets: {_first_line(error)}") from error
    finally:
        client.close()


def _s3_client(settings: S3Settings) -> Any:
    return boto3.client(
        "s3",
        endpoint_url=settings.endpoint,
        region_name=settings.region,
        aws_access_key_id=settings.access_key.get_secret_value(),
        aws_secret_access_key=settings.secret_key.get_secret_value(),
        config=BotoConfig(
            connect_timeout=settings.timeout_s,
            read_timeout=settings.timeout_s,
            retries={"max_attempts": 3},
            s3={"addressing_style": "path"} if settings.endpoint else {},
        ),
    )


def _create_bucket(client: Any, settings: S3Settings, name: str, *, locked: bool) -> None:
    try:
        client.head_bucket(Bucket=name)
    except ClientError as error:
        if error.response["ResponseMetadata"]["HTTPStatusCode"] != 404:
            raise
    else:
        return
    options: dict[str, Any] = {"ObjectLockEnabledForBucket": True} if locked else {}
    if settings.region != "us-east-1":  # the one region that must not be named
        options["CreateBucketConfiguration"] = {"LocationConstraint": settings.region}
    client.create_bucket(Bucket=name, **options)


async def create_streams(settings: NatsSettings) -> None:
    """The JetStream streams of STREAMS, bounded in age and bytes. Raises StackError."""
    try:
        client = await nats.connect(
            settings.url.get_secret_value(),
            connect_timeout=settings.timeout_s,
            allow_reconnect=False,
            error_cb=_ignore,
        )
    except (nats.errors.Error, OSError, TimeoutError) as error:
        raise StackError(f"nats: cannot connect: {_first_line(error)}") from error
    try:
        jetstream = client.jetstream(timeout=settings.timeout_s)
        for name, subject in STREAMS.items():
            await _create_stream(jetstream, settings, name, subject)
    except (nats.errors.Error, TimeoutError) as error:
        raise StackError(f"nats: cannot prepare the streams: {_first_line(error)}") from error
    finally:
        await client.close()


async def _create_stream(jetstream: JetStreamContext, settings: NatsSettings, name: str, subject: str) -> None:
    config = StreamConfig(
        name=name,
        subjects=[subject],
        storage=StorageType.FILE,
        duplicate_window=DUPLICATE_WINDOW_S,
        max_age=settings.max_age_days * _DAY_S,
        max_bytes=settings.max_bytes,
    )
    try:
        await jetstream.stream_info(name)
    except NotFoundError:
        await jetstream.add_stream(config)
    else:
        await jetstream.update_stream(config)


async def _ignore(_error: Exception) -> None:
    """The connection's failure is raised to the caller; the library would also print it."""


async def register_search_attributes(settings: TemporalSettings) -> None:
    """Register what is missing in the namespace. Raises StackError."""
    try:
        client = await connect(settings)
        listed = await client.operator_service.list_search_attributes(
            ListSearchAttributesRequest(namespace=settings.namespace)
        )
        missing = [key.name for key in search_attributes.ALL if key.name not in listed.custom_attributes]
        if missing:
            keyword = IndexedValueType.INDEXED_VALUE_TYPE_KEYWORD
            await client.operator_service.add_search_attributes(
                AddSearchAttributesRequest(
                    namespace=settings.namespace, search_attributes=dict.fromkeys(missing, keyword)
                )
            )
    except (RPCError, RuntimeError) as error:
        raise StackError(f"temporal: cannot register search attributes: {_first_line(error)}") from error


# Independent of each other; each must be called on a thread without a running event loop.
STEPS: dict[str, Callable[[Settings], None]] = {
    "buckets": lambda settings: create_buckets(settings.s3),
    "streams": lambda settings: asyncio.run(create_streams(settings.nats)),
    "search attributes": lambda settings: asyncio.run(register_search_attributes(settings.temporal)),
}


def bootstrap(settings: Settings) -> None:
    """Every step but the migrations, which run as another role. Raises StackError."""
    for step in STEPS.values():
        step(settings)


def _first_line(error: BaseException) -> str:
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0][:300]}" if lines else type(error).__name__
