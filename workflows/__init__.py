"""Temporal workflows, one file each: inputs, class, steps. They see domain and the activities' signatures."""

from workflows.follower_order import FollowerOrderWorkflow
from workflows.ingest_queue import IngestQueueWorkflow
from workflows.mirror_order import MirrorOrderWorkflow
from workflows.mirror_shard import MirrorShardWorkflow

ALL = [MirrorOrderWorkflow, MirrorShardWorkflow, FollowerOrderWorkflow, IngestQueueWorkflow]

__all__ = ["ALL", "FollowerOrderWorkflow", "IngestQueueWorkflow", "MirrorOrderWorkflow", "MirrorShardWorkflow"]
