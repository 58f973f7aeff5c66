"""`vanta calendars` and `vanta instruments` on the real database."""

import json
import os
import subprocess
import sys
import uuid
from pathlib import Path

import pytest

from settings import Settings
from stack import Stack
from stack.files import ROOT


@pytest.fixture
def symbol() -> str:
    return f"C{uuid.uuid4().hex[:8].upper()}"


def vanta(stack: Stack, *args: str) -> tuple[int, str]:
    env = {name: value for name, value in os.environ.items() if not name.startswith("VANTA_")}
    argv = [sys.executable, "-m", "cli", *args, "--data", str(stack.layout.data)]
    done = subprocess.run(argv, capture_output=True, text=True, env=env, cwd=ROOT, check=False, timeout=120)
    return done.returncode, done.stdout + done.stderr


def test_a_new_instrument_brings_its_calendar_along(stack: Stack, settings: Settings, symbol: str) -> None:
    code, said = vanta(stack, "instruments", "set", symbol, "--venue", "XLON", "--rail", "fiat", "--calendar", "XLON")
    assert code == 0, said
    assert "1 of 1 instruments changed" in said
    code, said = vanta(stack, "calendars", "list")
    assert "exchange_calendars" in next(line for line in said.splitlines() if "XLON" in line)
    code, said = vanta(stack, "calendars", "show", "XLON", "--days", "20")
    assert code == 0
    assert ("08:00" in said and "16:30" in said) or ("07:00" in said and "15:30" in said)  # by summer time


def test_flags_are_set_and_taken_away_and_all_of_it_is_told(stack: Stack, settings: Settings, symbol: str) -> None:
    given = ("--venue", "COINBASE", "--rail", "crypto")
    assert vanta(stack, "instruments", "set", symbol, *given, "--flags", "limit_only, halted")[0] == 0
    assert vanta(stack, "instruments", "set", symbol, "--flags", "")[0] == 0
    code, said = vanta(stack, "instruments", "history", symbol)
    assert code == 0
    assert "24/7" in said
    assert [line for line in said.splitlines() if "operator:cli" in line and "halted" in line]
    code, said = vanta(stack, "instruments", "list")
    assert symbol in said


def test_a_file_is_taken_whole_or_not_at_all(stack: Stack, settings: Settings, symbol: str, tmp_path: Path) -> None:
    file, good = tmp_path / "instruments.json", {"venue": "COINBASE", "rail": "crypto", "qty_step": 0.01}
    file.write_text(json.dumps({symbol: good, f"{symbol}X": {**good, "flags": ["shut"]}}))
    code, said = vanta(stack, "instruments", "import", str(file))
    assert (code, f"{symbol}X.flags" in said) == (1, True)
    assert symbol not in vanta(stack, "instruments", "list")[1]
    file.write_text(json.dumps({symbol: good}))
    assert vanta(stack, "instruments", "import", str(file))[0] == 0
    file.write_text("[")
    assert vanta(stack, "instruments", "import", str(file))[0] == 1


def test_a_calendar_that_there_is_not_is_one_line_and_exit_code_1(stack: Stack, settings: Settings) -> None:
    code, said = vanta(stack, "calendars", "refresh", "XXXX")
    assert code == 1
    assert "has no calendar XXXX" in said
