"""`vanta up`, `status` and `down` as people type them, on real servers."""

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from stack.control import down
from stack.files import ROOT, Layout, acquire_lock
from stack.state import Identity, StackState, read_state

WAIT_S = 30.0


def vanta(*args: str, env: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "cli", *args],
        cwd=ROOT,
        env={**os.environ, **(env or {})},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def until(condition: Callable[[], Any]) -> Any:
    deadline = time.monotonic() + WAIT_S
    while not (found := condition()):
        assert time.monotonic() < deadline, "the condition did not come true"
        time.sleep(0.05)
    return found


@pytest.fixture
def data(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    folder = tmp_path_factory.mktemp("cli") / "data"
    yield folder
    vanta("down", "--purge", "--data", str(folder))


def all_gone(pids: dict[str, int]) -> bool:
    return not any(psutil.pid_exists(pid) for pid in pids.values())


def test_the_life_of_a_foreground_stack(data: Path):
    foreground = subprocess.Popen(
        [sys.executable, "-m", "cli", "up", "--servers-only", "--json", "--data", str(data)],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        process_group=0,
    )
    ready = until(lambda: (state := read_state(data / "state.json")) and state.phase == "ready" and state)
    try:
        second = vanta("up", "--json", "--data", str(data))
        assert second.returncode == 0
        document = json.loads(second.stdout)
        assert "already running" in second.stderr
        assert set(document["pids"]) == {"stripe", "btcpay", "oidc", "s3", "temporal", "redis", "nats", "postgres"}
        assert vanta("status", "--data", str(data)).returncode == 0
        psutil.Process(document["pids"]["redis"]).kill()
        until(lambda: "running (1 restarts)" in vanta("status", "--data", str(data)).stdout)
    finally:
        # As a terminal does it: to the whole foreground process group.
        os.killpg(foreground.pid, signal.SIGINT)
        stdout, stderr = foreground.communicate(timeout=60)
    assert foreground.returncode == 0
    assert json.loads(stdout) == ready.connection
    assert re.search(r"redis +ended; restart 1 in 1 s", stderr)
    assert all_gone(document["pids"])
    assert vanta("status", "--data", str(data)).returncode == 1
    ports = json.loads((data / "ports.json").read_text())
    assert not Path(f"/tmp/seaweedfs-s3-grpc-{ports['s3_grpc']}.sock").exists()


def test_a_detached_stack_leaves_nothing_when_its_supervisor_is_killed_and_starts_again(data: Path):
    first = vanta("up", "--servers-only", "--detach", "--json", "--data", str(data))
    assert first.returncode == 0, first.stderr
    document = json.loads(first.stdout)
    state = read_state(data / "state.json")
    assert state
    assert state.supervisor
    os.kill(state.supervisor.pid, signal.SIGKILL)
    until(lambda: all_gone(document["pids"]))
    assert vanta("status", "--data", str(data)).returncode == 1
    second = vanta("up", "--servers-only", "--detach", "--data", str(data))
    assert second.returncode == 0, second.stderr
    assert document["temporal"]["address"] in second.stdout
    assert document["postgres"]["owner_dsn"] not in second.stdout + (data / "logs" / "supervisor.log").read_text()
    again = json.loads(vanta("status", "--json", "--data", str(data)).stdout)
    assert {**again, "pids": {}} == {**document, "pids": {}}
    assert vanta("down", "--purge", "--data", str(data)).stdout == "stopped\n"
    assert all_gone(again["pids"])
    assert not data.exists()


def test_a_port_in_use_is_one_line(data: Path):
    layout = Layout(data)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        for extra in ((), ("--detach",)):
            result = vanta("up", "--servers-only", "--ui-port", str(port), "--data", str(data), *extra)
            assert result.returncode == 1
            expected = f"error: port {port} (--ui-port) is in use on 127.0.0.1; choose another"
            assert result.stderr.splitlines()[-1] == expected
            assert "Traceback" not in result.stderr + result.stdout
    assert not layout.state.exists()


def test_verbose_shows_the_traceback(tmp_path: Path):
    (tmp_path / "file").touch()
    place = str(tmp_path / "file" / "data")
    short = vanta("up", "--data", place)
    assert (short.returncode, len(short.stderr.splitlines())) == (1, 1)
    assert "Traceback" in vanta("up", "--data", place, "--verbose").stderr


def test_a_server_that_dies_at_start_is_named_and_the_others_stop(data: Path):
    (data / "temporal" / "temporal.db").mkdir(parents=True)
    result = vanta("up", "--servers-only", "--data", str(data))
    assert result.returncode == 1
    line = result.stderr.splitlines()[-1]
    assert re.fullmatch(r"error: temporal stopped while starting \(exit code 1\): .* \(log: .*/temporal\.log\)", line)
    running = [p.info["cmdline"] or [] for p in psutil.process_iter(["cmdline"])]
    assert not [command for command in running if any(str(data) in part for part in command)]


def test_missing_settings_are_named_without_their_values(tmp_path: Path):
    result = vanta("worker", "--role", "relay", env={"VANTA_POSTGRES__POOL_SIZE": "many-secret"})
    assert result.returncode == 1
    assert result.stderr.startswith("error: settings: ")
    for name in ("VANTA_POSTGRES__DSN", "VANTA_POSTGRES__POOL_SIZE", "VANTA_AUTH", "VANTA_SECRETS"):
        assert name in result.stderr
    assert "many-secret" not in result.stderr


def test_down_never_touches_a_later_process_with_a_recorded_pid(tmp_path: Path):
    me = Identity.of(os.getpid())
    assert me
    earlier = me.model_copy(update={"created": me.created - 60})
    StackState(phase="ready", supervisor=earlier).save(tmp_path / "state.json")
    assert down(Layout(tmp_path)) is False


def test_down_of_nothing_says_so(tmp_path: Path):
    result = vanta("down", "--data", str(tmp_path))
    assert (result.returncode, result.stdout) == (0, "nothing was running\n")


def test_a_held_data_directory_is_refused(data: Path):
    layout = Layout(data)
    layout.prepare()
    lock = acquire_lock(layout)
    assert lock
    with lock:
        result = vanta("up", "--data", str(data))
    assert result.stderr == f"error: a stack is already running in {data}; see: vanta status\n"
