"""Today's workflows must be able to go on with yesterday's runs; tests/replay/record.py says where these are from."""

import base64
import json
import re
from pathlib import Path
from typing import Any

import pytest
from temporalio.client import WorkflowHistory
from temporalio.worker import Replayer
from temporalio.workflow import NondeterminismError

from temporal.plugin import VantaPlugin
from tests.replay import divergent, record
from workflows import registry

FILES = sorted(record.HISTORIES.glob("*.json"))
TELLTALE = re.compile(r'\d+@\w|/home/|/root|/usr/|File \\"|\.py\b|secret|whsec_|password|BEGIN ', re.IGNORECASE)


def _load(file: Path) -> dict[str, Any]:
    loaded: dict[str, Any] = json.loads(file.read_text("utf-8"))
    return loaded


def _type_of(file: Path) -> str:
    kind: str = _load(file)["events"][0]["workflowExecutionStartedEventAttributes"]["workflowType"]["name"]
    return kind


async def _replay(file: Path, implementations: list[type]) -> None:
    recorded = _load(file)
    history = WorkflowHistory.from_json(recorded.pop("workflowId"), recorded)
    await Replayer(workflows=implementations, plugins=[VantaPlugin()]).replay_workflow(history)


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
async def test_a_recorded_history_replays(file: Path):
    await _replay(file, registry.ALL)


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
async def test_a_workflow_that_does_otherwise_is_found_out(file: Path):
    with pytest.raises(NondeterminismError):
        await _replay(file, divergent.ALL)


def test_every_workflow_has_a_history():
    assert {_type_of(file) for file in FILES} == {kind.__name__ for kind in registry.ALL}


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_a_history_tells_nothing_of_a_machine_or_a_secret(file: Path):
    text = file.read_text("utf-8")
    payloads = [base64.b64decode(data).decode() for data in re.findall(r'"data": "([^"]+)"', text)]
    assert payloads
    for part in (text, *payloads):
        assert TELLTALE.search(part) is None


def test_a_history_is_never_replaced(tmp_path: Path):
    record.write(tmp_path / "one.json", {"events": []})
    with pytest.raises(FileExistsError):
        record.write(tmp_path / "one.json", {"events": []})


def test_what_tells_of_a_machine_is_scrubbed():
    history = {"identity": "7@host.lan", "failure": {"stackTrace": 'File "x.py"', "message": "m"}, "n": [1]}
    assert record.scrubbed(history) == {"identity": "vanta-worker", "failure": {"message": "m"}, "n": [1]}
