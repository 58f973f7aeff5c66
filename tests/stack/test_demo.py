"""`vanta demo` as a person runs it: whole once, and interrupted once."""

import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from stack import control
from stack.demo import run_demo
from stack.errors import StackError
from stack.files import ROOT, Layout

LONGEST_S = 300  # on a machine that does other things too; alone it takes 90 s


@pytest.fixture
def data() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="vanta-demo-") as folder:
        data = Path(folder) / "demo"
        yield data
        control.down(Layout(data))
        control.remove_data(Layout(data))


def start(data: Path) -> "subprocess.Popen[str]":
    command = [sys.executable, "-m", "cli", "demo", "--data", str(data)]
    env = {**os.environ, "COLUMNS": "120"}
    return subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=env)


def left_behind(data: Path) -> list[str]:
    """Command lines of live processes that name the data directory."""
    found = []
    for process in psutil.process_iter(["cmdline", "cwd", "status"]):
        words = " ".join(process.info["cmdline"] or ()) + str(process.info["cwd"] or "")
        if str(data) in words and process.info["status"] != psutil.STATUS_ZOMBIE:
            found.append(words)
    return found


def test_the_demonstration_ends_as_it_must_and_leaves_no_process(data: Path):
    demo = start(data)
    try:
        output, _ = demo.communicate(timeout=LONGEST_S)
    finally:
        demo.kill()
    assert demo.returncode == 0, output
    assert "All as it should be" in output
    assert "✗" not in output
    assert "Temporal UI" in output
    assert left_behind(data) == []


def test_an_interrupt_in_the_middle_leaves_no_process(data: Path):
    demo = start(data)
    assert demo.stdout is not None
    try:
        for line in demo.stdout:
            if "confirmed" in line:
                demo.send_signal(signal.SIGINT)
                break
        output, _ = demo.communicate(timeout=60)
    finally:
        demo.kill()
    assert demo.returncode == 130, output
    assert "Traceback" not in output
    assert left_behind(data) == []
    assert not Layout(data).state.exists()


def test_a_folder_that_no_demonstration_made_is_left_alone(tmp_path: Path):
    (tmp_path / "precious").touch()
    with pytest.raises(StackError, match="was not made by a demonstration"):
        run_demo(tmp_path)
    assert (tmp_path / "precious").exists()
