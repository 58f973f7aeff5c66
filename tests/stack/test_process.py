"""Starting, waiting for, stopping and killing one process."""

import os
import signal
import time
from pathlib import Path
from typing import Any

import psutil
import pytest

from stack.errors import StackError
from stack.process import Process, ProcessSpec


def spec(folder: Path, script: str, **changes: Any) -> ProcessSpec:
    ready = folder / "ready"
    values: dict[str, Any] = {
        "name": "sample",
        "argv": ("/bin/sh", "-c", script),
        "log": folder / "sample.log",
        "ready": ready.exists,
        "env": {"READY": str(ready), "PATH": os.environ["PATH"]},
        "ready_timeout_s": 10,
    }
    return ProcessSpec(**{**values, **changes})


def test_a_process_that_dies_at_start_is_named_with_its_last_line_and_its_log(tmp_path: Path):
    process = Process(spec(tmp_path, "echo first; echo 'no such file'; exit 3"))
    process.start()
    with pytest.raises(StackError) as caught:
        process.wait_ready()
    expected = f"sample stopped while starting (exit code 3): no such file (log: {tmp_path}/sample.log)"
    assert str(caught.value) == expected


def test_a_process_that_is_never_ready_is_an_error_after_its_time(tmp_path: Path):
    process = Process(spec(tmp_path, "exec sleep 60", ready_timeout_s=0.2))
    process.start()
    with pytest.raises(StackError, match=r"sample was not ready within 0 s: no output"):
        process.wait_ready()
    process.kill()


def test_stop_waits_for_an_orderly_end(tmp_path: Path):
    process = Process(spec(tmp_path, 'trap "echo bye; exit 0" TERM; : > "$READY"; while :; do sleep 0.05; done'))
    process.start()
    process.wait_ready()
    process.ask_to_stop()
    process.wait_stopped(time.monotonic() + 10)
    assert process.exit_code == 0
    assert (tmp_path / "sample.log").read_text() == "bye\n"


def test_a_process_that_ignores_the_signal_is_killed_with_its_children(tmp_path: Path):
    script = 'trap "" TERM; sleep 61 & echo $! > "$READY.new"; mv "$READY.new" "$READY"; wait; wait'
    process = Process(spec(tmp_path, script))
    process.start()
    process.wait_ready()
    child = psutil.Process(int((tmp_path / "ready").read_text()))
    process.ask_to_stop()
    process.wait_stopped(time.monotonic() + 0.2)
    assert process.exit_code == -signal.SIGKILL
    assert psutil.wait_procs([child], timeout=5)[1] == [] or child.status() == psutil.STATUS_ZOMBIE


def test_a_wait_can_be_abandoned(tmp_path: Path):
    process = Process(spec(tmp_path, "exec sleep 60"))
    process.start()
    process.abandon()
    with pytest.raises(StackError, match="abandoned"):
        process.wait_ready()
    process.kill()


def test_a_large_log_is_rotated_at_start(tmp_path: Path):
    (tmp_path / "sample.log").write_bytes(b"x" * 10_000_001)
    process = Process(spec(tmp_path, 'echo new; : > "$READY"; exec sleep 60'))
    process.start()
    process.wait_ready()
    process.kill()
    assert (tmp_path / "sample.log").read_text() == "new\n"
    assert (tmp_path / "sample.log.1").stat().st_size == 10_000_001
