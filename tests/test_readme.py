"""What the README tells people to type works as it stands."""

import json
import os
import random
import re
import subprocess
import sys
import tempfile
from pathlib import Path

import psutil

from stack import control
from stack.files import ROOT, Layout
from stack.ports import is_free

README = (ROOT / "README.md").read_text("utf-8")


def test_the_first_order_of_the_readme_reaches_its_follower():
    found = re.search(r"## Your own first order\n\n```sh\n(.*?)```", README, re.DOTALL)
    assert found is not None
    # Below those that stacks take: the script starts one first, and others may start beside it.
    port = str(next(port for port in random.sample(range(9_000, 15_000), 500) if is_free(port)))
    script = found.group(1).replace("9000", port).replace(". .venv/bin/activate\n", "")
    # The order is there at once, its delivery a moment later; people read slower than a script.
    wait = "for i in $(seq 50); do curl -s $RECEIVER/received | grep -q FO- && break; sleep 0.2; done\n"
    script = script.replace("get /v1/manager-orders/$ORDER/dag", f"{wait}get /v1/manager-orders/$ORDER/dag")
    with tempfile.TemporaryDirectory(prefix="vanta-readme-") as folder:
        data = Path(folder) / "data"
        code, output = run(script, data, port)
    assert code == 0, output[-3_000:]
    body = json.loads(json.loads(re.findall(r'"body": (".*"),?$', output, re.MULTILINE)[-1]))
    assert (body["symbol"], body["qty_str"]) == ("AAPL", "5")
    assert "times the follower's scale" in output


def run(script: str, data: Path, receiver_port: str) -> tuple[int, str]:
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    env = {**os.environ, "VANTA_DATA": str(data), "PATH": path}
    with (data.parent / "output").open("w+") as output:
        shell = subprocess.Popen(
            ["/bin/bash", "-ec", "set -m\n" + script],
            cwd=ROOT, env=env, stdout=output, stderr=subprocess.STDOUT, start_new_session=True,
        )  # fmt: skip
        try:
            code = shell.wait(300)
        finally:
            _end(receiver_port)
            control.down(Layout(data))
            control.remove_data(Layout(data))
        output.seek(0)
        return code, output.read()


def _end(receiver_port: str) -> None:
    """A script that stopped half-way has left its receiver."""
    for process in psutil.process_iter(["cmdline"]):
        words = process.info["cmdline"] or ()
        if "simulators.receiver" in words and receiver_port in words:
            process.kill()


def test_every_page_and_file_that_the_readme_links_to_is_there():
    links = re.findall(r"\]\(([^)#]+)\)", README)
    assert links
    assert [link for link in links if not link.startswith("http") and not (ROOT / link).exists()] == []
