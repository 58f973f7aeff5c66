"""Immutable artifacts in S3; the audit bucket's Object Lock keeps what is written there."""

import asyncio
import hashlib
from collections.abc import AsyncGenerator
from contextlib import aclosing
from tempfile import TemporaryFile
from typing import IO, Any, Protocol

import boto3
import orjson
from botocore.config import Config
from botocore.exceptions import ClientError
from pydantic import SecretStr


class S3Config(Protocol):
    """What `settings.S3Settings` offers."""

    @property
    def endpoint(self) -> str | None: ...
    @property
    def region(self) -> str: ...
    @property
    def access_key(self) -> SecretStr: ...
    @property
    def secret_key(self) -> SecretStr: ...
    @property
    def audit_bucket(self) -> str: ...
    @property
    def timeout_s(self) -> int: ...


class ObjectStore:
    """boto3 in threads: archiving is no hot path, and the official client is the best kept one."""

    def __init__(self, config: S3Config) -> None:
        self._bucket = config.audit_bucket
        self._s3: Any = boto3.client(
            "s3",
            endpoint_url=config.endpoint,
            region_name=config.region,
            aws_access_key_id=config.access_key.get_secret_value(),
            aws_secret_access_key=config.secret_key.get_secret_value(),
            config=Config(
                connect_timeout=config.timeout_s,
                read_timeout=config.timeout_s,
                retries={"max_attempts": 2, "mode": "standard"},
                s3={"addressing_style": "path"},
            ),
        )

    async def put_trade_log(self, tenant_id: str, mo_id: str, events: AsyncGenerator[dict[str, Any]]) -> str:
        """`trade_log.jsonl`, one line per event; its key. What is already there with the same content stays.

        The whole is in a file and never in memory: an order of 10,000 followers has 60,000 events.
        """
        key = f"{tenant_id}/{mo_id}/trade_log.jsonl"
        digest = hashlib.sha256()
        with TemporaryFile() as body:
            async with aclosing(events):
                async for event in events:
                    line = orjson.dumps(event, default=str, option=orjson.OPT_APPEND_NEWLINE)
                    digest.update(line)
                    body.write(line)
            await asyncio.to_thread(self._put_once, key, body, digest.hexdigest())
        return key

    async def get(self, key: str) -> bytes:
        """The newest version. Raises botocore's ClientError where there is none."""
        return await asyncio.to_thread(self._get, key)

    async def ping(self) -> None:
        await asyncio.to_thread(self._s3.head_bucket, Bucket=self._bucket)

    def _get(self, key: str) -> bytes:
        body: bytes = self._s3.get_object(Bucket=self._bucket, Key=key)["Body"].read()
        return body

    def _put_once(self, key: str, body: IO[bytes], digest: str) -> None:
        if self._digest(key) == digest:
            return
        body.seek(0)
        self._s3.put_object(
            Bucket=self._bucket,
            Key=key,
            Body=body,
            ContentType="application/x-ndjson",
            Metadata={"sha256": digest},
        )

    def _digest(self, key: str) -> str | None:
        try:
            head = self._s3.head_object(Bucket=self._bucket, Key=key)
        except ClientError as error:
            if error.response["ResponseMetadata"]["HTTPStatusCode"] == 404:
                return None
            raise
        digest: str | None = head["Metadata"].get("sha256")
        return digest
