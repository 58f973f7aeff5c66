"""What bootstrap leaves behind, and that it may run again."""

import socket
from datetime import UTC, datetime, timedelta

import boto3
import nats
import psycopg
import pytest
from botocore.exceptions import ClientError
from temporalio.api.operatorservice.v1 import ListSearchAttributesRequest

from settings import Settings
from stack import Stack
from temporal import search_attributes
from temporal.client import connect
from tests.conftest import owner_dsn


def s3_client(settings: Settings):
    return boto3.client(
        "s3",
        endpoint_url=settings.s3.endpoint,
        region_name=settings.s3.region,
        aws_access_key_id=settings.s3.access_key.get_secret_value(),
        aws_secret_access_key=settings.s3.secret_key.get_secret_value(),
    )


def test_it_may_run_again(stack: Stack):
    stack.bootstrap()


async def test_search_attributes_are_registered_as_listed_in_code(settings: Settings):
    client = await connect(settings.temporal)
    listed = await client.operator_service.list_search_attributes(ListSearchAttributesRequest(namespace="default"))
    assert {key.name for key in search_attributes.ALL} <= set(listed.custom_attributes)


async def test_streams_are_bounded_and_refuse_duplicates(settings: Settings):
    client = await nats.connect(settings.nats.url.get_secret_value())
    try:
        jetstream = client.jetstream()
        for name in ("mirror_events", "mirror_dispatch_dlx"):
            config = (await jetstream.stream_info(name)).config
            assert (config.duplicate_window, config.max_bytes) == (120, settings.nats.max_bytes)
        headers = {"Nats-Msg-Id": "bootstrap-test-1"}
        first = await jetstream.publish("mirror.test", b"{}", headers=headers)
        second = await jetstream.publish("mirror.test", b"{}", headers=headers)
        assert (first.duplicate, second.duplicate, second.seq) == (None, True, first.seq)
    finally:
        await client.close()


def test_nats_refuses_a_client_without_the_password(stack: Stack):
    with socket.create_connection(("127.0.0.1", stack.ports()["nats"]), 5) as connection:
        connection.sendall(b"CONNECT {}\r\nPING\r\n")
        answer = b"".join(iter(lambda: connection.recv(4_096), b""))
    assert b"Authorization Violation" in answer
    assert b"PONG" not in answer


def test_an_audit_object_cannot_be_deleted_or_shortened_by_its_owner(settings: Settings):
    client = s3_client(settings)
    put = client.put_object(Bucket=settings.s3.audit_bucket, Key="kept", Body=b"line")
    version = {"Bucket": settings.s3.audit_bucket, "Key": "kept", "VersionId": put["VersionId"]}
    until = client.get_object_retention(**version)["Retention"]
    assert until["Mode"] == "COMPLIANCE"
    days = (until["RetainUntilDate"] - datetime.now(UTC)).total_seconds() / 86_400
    assert days == pytest.approx(settings.s3.audit_retention_days, abs=0.1)
    with pytest.raises(ClientError, match="AccessDenied"):
        client.delete_object(**version)
    sooner = {"Mode": "COMPLIANCE", "RetainUntilDate": datetime.now(UTC) + timedelta(days=1)}
    with pytest.raises(ClientError, match="AccessDenied"):
        client.put_object_retention(**version, Retention=sooner)
    client.close()


def test_the_application_roles_own_nothing_and_obey_row_level_security(settings: Settings):
    with psycopg.connect(owner_dsn(settings)) as connection:
        roles = connection.execute(
            "SELECT rolname, rolsuper, rolbypassrls, rolcreaterole FROM pg_roles"
            " WHERE rolname LIKE 'vanta\\_%' ORDER BY 1"
        ).fetchall()
        owners = connection.execute("SELECT DISTINCT tableowner FROM pg_tables WHERE schemaname = 'public'").fetchall()
    plain = [(name, False, False, False) for name in ("vanta_app", "vanta_owner", "vanta_relay")]
    assert roles == [("vanta_admin", True, True, True), *plain]
    assert owners == [("vanta_owner",)]


def test_postgres_refuses_a_wrong_password(settings: Settings):
    right = settings.postgres.dsn.get_secret_value()
    wrong = right.replace(str(psycopg.conninfo.conninfo_to_dict(right)["password"]), "wrong")
    with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
        psycopg.connect(wrong)
