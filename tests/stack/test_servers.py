"""What the servers' files mean to us."""

from pathlib import Path

from stack.servers import DYNAMIC_CONFIG, dynamic_config


def test_the_dynamic_configuration_is_read_as_key_and_value():
    assert dynamic_config(DYNAMIC_CONFIG)["history.cacheNonUserContextLockTimeout"] == "10s"


def test_constrained_values_are_left_to_clusters(tmp_path: Path):
    path = tmp_path / "dynamic.yaml"
    path.write_text("a.b:\n  - value: 1\n    constraints: {namespace: x}\n  - value: 2\n    constraints: {}\n")
    assert dynamic_config(path) == {"a.b": 2}
