"""docker-compose.yml, as far as it can be judged without an engine."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from settings import Settings
from stack.credentials import Credentials
from stack.environment import load_settings
from stack.files import ROOT

COMPOSE = ROOT / "docker-compose.yml"
REFERENCE = re.compile(r"\$\{([A-Z0-9_]+)([^}]*)\}")
MAY_BE_EMPTY = re.compile(r"STRIPE_|BTCPAY_")  # a way of paying that is not offered
SECRET_NAME = re.compile(r"PASSWORD|SECRET|_KEY|MASTER|_PWD|DSN")


def load(text: str) -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load(text)
    return found


RAW = load(COMPOSE.read_text())
SERVICES: dict[str, dict[str, Any]] = RAW["services"]
OURS = [name for name, service in SERVICES.items() if "build" in service]


@pytest.fixture(scope="module")
def values() -> dict[str, str]:
    """What an operator would put into `.env`."""
    names = {name for name, _ in REFERENCE.findall(COMPOSE.read_text())}
    made = Credentials()
    known = {
        "VANTA_JWKS": made.jwks,
        "VANTA_SIGNING_KEY": json.dumps(made.signing_key),
        "OIDC_REDIRECT_URIS": '["https://app.example.com/callback"]',
        "VANTA_MASTER_KEYS": made.master_key,
        "VANTA_ISSUER": "https://id.example.com",
        "TEMPORAL_UI_URL": "https://temporal.example.com",
    }
    return {name: known.get(name, f"value-of-{name.lower()}") for name in names}


def resolved(service: str, values: dict[str, str]) -> dict[str, str]:
    environment = SERVICES[service].get("environment", {})
    return {name: REFERENCE.sub(lambda m: values[m[1]], str(text)) for name, text in environment.items()}


def references() -> list[tuple[str, str]]:
    return REFERENCE.findall(COMPOSE.read_text())


def test_every_reference_is_required_and_has_no_default():
    assert references()
    for name, modifier in references():
        assert modifier == ("?" if MAY_BE_EMPTY.match(name) else ":?") + "see deploy/env.example", name


def test_the_example_lists_exactly_what_is_required_and_holds_no_value():
    lines = (ROOT / "deploy" / "env.example").read_text().splitlines()
    listed = [line for line in lines if line and not line.startswith("#")]
    assert all(line.endswith("=") for line in listed)
    assert {line.removesuffix("=") for line in listed} == {name for name, _ in references()}


@pytest.mark.parametrize("service", SERVICES)
def test_no_secret_is_written_down(service: str):
    for name, text in SERVICES[service].get("environment", {}).items():
        if SECRET_NAME.search(name):
            assert "${" in str(text), f"{service}: {name} holds a literal"
    assert not re.search(r"requirepass\s+[^\"$]", str(SERVICES[service].get("command", "")))


@pytest.mark.parametrize("service", OURS)
def test_the_settings_of_each_of_our_services_are_accepted(service: str, values: dict[str, str], tmp_path: Path):
    own = {name: text for name, text in resolved(service, values).items() if name.startswith("VANTA_")}
    (tmp_path / "env").write_text("".join(f"{name}='{text}'\n" for name, text in own.items()))
    settings = load_settings(tmp_path / "env")
    assert settings.profile == "production"
    assert json.loads(settings.auth.jwks.get_secret_value())["keys"]


@pytest.mark.parametrize("service", ["api", "worker-followers"])
def test_ways_of_paying_that_are_left_empty_are_not_offered(service: str, values: dict[str, str], tmp_path: Path):
    given = {name: "" if MAY_BE_EMPTY.match(name) else text for name, text in values.items()}
    own = {name: text for name, text in resolved(service, given).items() if name.startswith("VANTA_")}
    (tmp_path / "env").write_text("".join(f"{name}='{text}'\n" for name, text in own.items()))
    settings = load_settings(tmp_path / "env")
    assert (settings.stripe.api_key.get_secret_value(), settings.btcpay.url) == ("", "")


def test_only_those_that_need_them_have_the_payment_systems_keys():
    keys = [name for name in OURS if "VANTA_STRIPE__API_KEY" in SERVICES[name]["environment"]]
    assert keys == ["api", "worker-followers"]


@pytest.mark.parametrize("service", OURS)
def test_every_vanta_variable_is_a_setting(service: str):
    for name in SERVICES[service]["environment"]:
        if name == "VANTA_READY_FILE":
            continue
        group, _, field = name.removeprefix("VANTA_").lower().partition("__")
        assert group in Settings.model_fields, name
        model = Settings.model_fields[group].annotation
        assert not field or field in getattr(model, "model_fields", {}), name


@pytest.mark.parametrize("service", SERVICES)
def test_dependencies_exist_and_can_be_waited_for(service: str):
    for target, how in SERVICES[service].get("depends_on", {}).items():
        assert target in SERVICES
        if how["condition"] == "service_healthy":
            assert "healthcheck" in SERVICES[target], f"{target} has no health check"
        else:
            assert how["condition"] == "service_completed_successfully"
            assert SERVICES[target]["restart"].startswith("on-failure:"), f"{target} would never complete"


@pytest.mark.parametrize("service", SERVICES)
def test_dependencies_have_no_cycle(service: str):
    def walk(name: str, path: tuple[str, ...]) -> None:
        assert name not in path, " -> ".join([*path, name])
        for target in SERVICES[name].get("depends_on", {}):
            walk(target, (*path, name))

    walk(service, ())


@pytest.mark.parametrize("service", SERVICES)
def test_volumes_are_declared_and_mounted_files_exist(service: str):
    for mount in SERVICES[service].get("volumes", []):
        source = mount.split(":")[0]
        if source.startswith("."):
            assert (ROOT / source).exists(), source
            assert mount.endswith(":ro"), mount
        else:
            assert source in RAW["volumes"], source


@pytest.mark.parametrize("service", SERVICES)
def test_images_are_pinned_to_a_release(service: str):
    assert re.search(r":\d+\.\d+\.?\d*[a-z0-9.-]*$", SERVICES[service]["image"])


@pytest.mark.parametrize("service", SERVICES)
def test_every_service_is_bounded_and_restarts(service: str):
    limits = SERVICES[service]["deploy"]["resources"]["limits"]
    assert set(limits) == {"cpus", "memory"}
    assert SERVICES[service]["restart"] == "unless-stopped" or SERVICES[service]["restart"].startswith("on-failure:")
    assert SERVICES[service]["logging"]["options"]["max-size"]


@pytest.mark.parametrize("service", SERVICES)
def test_only_this_host_reaches_a_published_port(service: str):
    assert all(port.startswith("127.0.0.1:") for port in SERVICES[service].get("ports", []))


def test_the_owner_role_is_given_to_the_migration_alone():
    assert [n for n in OURS if "VANTA_POSTGRES__OWNER_DSN" in SERVICES[n]["environment"]] == ["migrate"]
    assert [n for n in OURS if "VANTA_POSTGRES__RELAY_DSN" in SERVICES[n]["environment"]] == ["worker-relay"]


def test_worker_replicas():
    replicas = {n: SERVICES[n]["deploy"]["replicas"] for n in SERVICES if n.startswith("worker-")}
    assert replicas == {
        "worker-orchestration": 2, "worker-followers": 2, "worker-dispatch": 2, "worker-relay": 1,
    }  # fmt: skip


def test_temporal_reads_the_same_dynamic_configuration_as_the_embedded_server():
    temporal = SERVICES["temporal"]
    assert temporal["volumes"] == ["./temporal/dynamicconfig:/etc/temporal/config/dynamicconfig:ro"]
    name = temporal["environment"]["DYNAMIC_CONFIG_FILE_PATH"].removeprefix("config/dynamicconfig/")
    assert (ROOT / "temporal" / "dynamicconfig" / name).exists()


def test_nats_accepts_its_configuration():
    server = shutil.which("nats-server", path=f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
    assert server
    config = ROOT / "deploy" / "nats" / "nats.conf"
    command = [server, "--config", str(config), "-t"]
    good = subprocess.run(command, env={"NATS_PASSWORD": "a1b2"}, capture_output=True, check=False, timeout=30)
    assert good.returncode == 0
    assert subprocess.run(command, env={}, capture_output=True, check=False, timeout=30).returncode != 0


def test_the_image_takes_in_every_module_that_runs():
    kept = {
        line[1:] for line in (ROOT / "deploy" / "Dockerfile.dockerignore").read_text().splitlines() if line[:1] == "!"
    }
    packages = {path.parent.name for path in ROOT.glob("*/__init__.py")} - {"tests", "bench", "simulators"}
    modules = {path.name for path in ROOT.glob("cli*.py")} | {"settings.py", "worker.py"}
    assert packages | modules | {"requirements/base.txt"} == kept


def test_compose_itself_accepts_the_file(values: dict[str, str]):
    if not shutil.which("docker") or subprocess.run(["docker", "compose", "version"], capture_output=True).returncode:
        pytest.skip("no docker compose here")
    command = ["docker", "compose", "--file", str(COMPOSE), "config", "--quiet"]
    done = subprocess.run(command, env={**os.environ, **values}, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
