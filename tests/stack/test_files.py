"""The data directory: private files, refusals, ports and credentials that stay."""

import socket
import sys
from pathlib import Path

import pytest

from settings import Settings
from stack.credentials import load_credentials
from stack.environment import env_file_text, load_settings, settings_env
from stack.errors import StackError
from stack.files import Layout, acquire_lock, require_space, write_private
from stack.ports import HOST, PORT_NAMES, allocate


def test_private_files_can_be_read_by_their_owner_only(tmp_path: Path):
    write_private(tmp_path / "secret", "x")
    assert (tmp_path / "secret").stat().st_mode & 0o777 == 0o600


def test_a_place_that_cannot_be_written_is_one_clear_line(tmp_path: Path):
    (tmp_path / "file").touch()
    with pytest.raises(StackError, match=r"cannot write to .*/file/data: Not a directory"):
        Layout(tmp_path / "file" / "data").prepare()


def test_a_nearly_full_disk_is_refused(tmp_path: Path):
    with pytest.raises(StackError, match=r"only \d+ MiB free under"):
        require_space(tmp_path, sys.maxsize)


def test_only_one_stack_holds_a_data_directory(tmp_path: Path):
    layout = Layout(tmp_path)
    first = acquire_lock(layout)
    assert first is not None
    assert acquire_lock(layout) is None
    first.close()
    again = acquire_lock(layout)
    assert again is not None
    again.close()


def test_ports_are_distinct_and_remembered(tmp_path: Path):
    first = allocate(tmp_path / "ports.json", {})
    assert len(set(first.values())) == len(PORT_NAMES)
    assert allocate(tmp_path / "ports.json", {}) == first


def test_a_remembered_port_that_somebody_took_is_replaced(tmp_path: Path):
    first = allocate(tmp_path / "ports.json", {})
    with socket.create_server((HOST, first["redis"])):
        second = allocate(tmp_path / "ports.json", {})
    assert {name for name in PORT_NAMES if first[name] != second[name]} == {"redis"}


def test_a_fixed_port_in_use_names_its_option(tmp_path: Path):
    with socket.create_server((HOST, 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(StackError, match=rf"port {port} \(--ui-port\) is in use"):
            allocate(tmp_path / "ports.json", {"temporal_ui": port})


def test_credentials_are_random_and_kept(tmp_path: Path):
    first = load_credentials(tmp_path / "secrets.json")
    assert load_credentials(tmp_path / "secrets.json") == first
    other = load_credentials(tmp_path / "other.json")
    assert first.postgres_app != other.postgres_app
    assert first.signing_key["d"] != other.signing_key["d"]


def test_what_a_later_version_needs_is_added_to_old_credentials_and_kept(tmp_path: Path):
    path = tmp_path / "secrets.json"
    first = load_credentials(path)
    write_private(path, first.model_dump_json(exclude={"btcpay_key"}))
    second = load_credentials(path)
    assert load_credentials(path) == second == first.model_copy(update={"btcpay_key": second.btcpay_key})


def test_the_public_keys_hold_no_private_part(tmp_path: Path):
    credentials = load_credentials(tmp_path / "secrets.json")
    assert credentials.signing_key["d"] not in credentials.jwks


def test_the_env_file_gives_the_settings_of_this_stack_whatever_is_exported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    env = settings_env(dict.fromkeys(PORT_NAMES, 15_001), load_credentials(tmp_path / "secrets.json"))
    (tmp_path / "env").write_text(env_file_text(env))
    monkeypatch.setenv("VANTA_POSTGRES__DSN", "postgresql://elsewhere/vanta")
    found = load_settings(tmp_path / "env")
    assert isinstance(found, Settings)
    assert found.is_embedded
    assert found.postgres.dsn.get_secret_value() == env["VANTA_POSTGRES__DSN"]
    assert found.auth.jwks.get_secret_value() == env["VANTA_AUTH__JWKS"]
    assert [str(network) for network in found.webhooks.allowed_networks] == ["127.0.0.0/8"]


def test_production_refuses_the_embedded_settings(tmp_path: Path):
    env = settings_env(dict.fromkeys(PORT_NAMES, 15_001), load_credentials(tmp_path / "secrets.json"))
    (tmp_path / "env").write_text(env_file_text({**env, "VANTA_PROFILE": "production"}))
    with pytest.raises(ValueError, match="embedded profile"):
        load_settings(tmp_path / "env")
