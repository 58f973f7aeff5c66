"""Killing and restarting parts of a running stack."""

import urllib.request
import uuid

import boto3
import psycopg
import pytest
from botocore.config import Config
from temporalio.client import Client, WorkflowExecutionStatus

from settings import Settings
from stack import Stack, StackError
from stack.environment import DATABASE
from temporal.client import connect
from tests.conftest import owner_dsn


async def start_workflow(client: Client) -> str:
    """Nobody polls its queue, so it stays open."""
    handle = await client.start_workflow("Anything", id=f"kept-{uuid.uuid4()}", task_queue="nobody")
    return handle.id


async def test_temporal_keeps_its_workflows_over_a_kill(stack: Stack, settings: Settings):
    workflow_id = await start_workflow(await connect(settings.temporal))
    stack.kill("temporal")
    assert stack.dead() == ["temporal"]
    stack.restart("temporal")
    description = await (await connect(settings.temporal)).get_workflow_handle(workflow_id).describe()
    assert description.status is WorkflowExecutionStatus.RUNNING


def test_postgres_keeps_committed_rows_over_a_kill(stack: Stack, settings: Settings):
    dsn = owner_dsn(settings)
    with psycopg.connect(dsn) as connection:
        connection.execute("CREATE TABLE kept AS SELECT 7 AS value")
    stack.kill("postgres")
    stack.restart("postgres")
    with psycopg.connect(dsn) as connection:
        assert connection.execute("SELECT value FROM kept").fetchone() == (7,)
        connection.execute("DROP TABLE kept")
        assert connection.info.dbname == DATABASE


def test_s3_keeps_objects_over_a_kill(stack: Stack, settings: Settings):
    s3 = settings.s3
    keys = {
        "aws_access_key_id": s3.access_key.get_secret_value(),
        "aws_secret_access_key": s3.secret_key.get_secret_value(),
    }
    # For a moment after its start the server answers 500 with "try again", which is what a client is to do.
    retries = Config(retries={"max_attempts": 8, "mode": "standard"})
    client = boto3.client("s3", endpoint_url=s3.endpoint, region_name=s3.region, config=retries, **keys)
    client.put_object(Bucket=s3.artifacts_bucket, Key="kept", Body=b"line")
    stack.kill("s3")
    stack.restart("s3")
    assert client.get_object(Bucket=s3.artifacts_bucket, Key="kept")["Body"].read() == b"line"
    client.close()


def test_the_temporal_ui_is_served(settings: Settings):
    with urllib.request.urlopen(settings.temporal.ui_url, timeout=10) as answer:
        assert answer.status == 200


def test_an_unknown_component_is_an_error_that_lists_the_known(stack: Stack):
    with pytest.raises(StackError, match=r"no component 'mysql'; there are: s3, temporal, redis, nats, postgres"):
        stack.kill("mysql")
