"""Every fixture names the document that it was written from: in itself, or in its folder's README."""

import json
import re
from fnmatch import fnmatch
from pathlib import Path

import pytest

FIXTURES = sorted((Path(__file__).parent / "fixtures").glob("*/*.json"))


@pytest.mark.parametrize("path", FIXTURES, ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_a_fixture_names_its_source(path: Path):
    said = json.loads(path.read_text("utf-8"))
    if isinstance(said, dict) and said.get("_source"):
        return
    named = re.findall(r"`([\w*{},.-]+)`", (path.parent / "README.md").read_text("utf-8"))
    assert any(fnmatch(path.name, name) or fnmatch(path.stem, name) for name in named)
