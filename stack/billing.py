"""The payment systems of the embedded stack: simulators of Stripe and of a BTCPay Server, each a process of its own.

What a real one is told by its operator's hand, here is in a private file: who may ask, and where events go.
"""

import json
import sys
from collections.abc import Mapping
from pathlib import Path

from stack.credentials import Credentials
from stack.environment import process_env
from stack.files import Layout, write_private
from stack.ports import HOST
from stack.probes import accepts, http_status
from stack.process import ProcessSpec

STORE = "vanta-embedded"


def billing_env(ports: Mapping[str, int], credentials: Credentials) -> dict[str, str]:
    """The VANTA_* variables that lead to the simulators."""
    return {
        "VANTA_STRIPE__URL": f"http://{HOST}:{ports['stripe']}",
        "VANTA_STRIPE__API_KEY": credentials.stripe_key,
        "VANTA_STRIPE__WEBHOOK_SECRET": credentials.stripe_hook,
        "VANTA_BTCPAY__URL": f"http://{HOST}:{ports['btcpay']}",
        "VANTA_BTCPAY__API_KEY": credentials.btcpay_key,
        "VANTA_BTCPAY__STORE_ID": STORE,
        "VANTA_BTCPAY__WEBHOOK_SECRET": credentials.btcpay_hook,
    }


def stripe_spec(layout: Layout, ports: Mapping[str, int], credentials: Credentials) -> ProcessSpec:
    """It takes any secret key, as localstripe does."""
    config = {"webhooks": [_webhook(ports, "stripe", credentials.stripe_hook)]}
    return _spec(layout, "stripe", ports["stripe"], config, "/")


def btcpay_spec(layout: Layout, ports: Mapping[str, int], credentials: Credentials) -> ProcessSpec:
    webhook = _webhook(ports, "btcpay", credentials.btcpay_hook)
    config = {"store_id": STORE, "api_key": credentials.btcpay_key, "webhooks": [webhook]}
    return _spec(layout, "btcpay", ports["btcpay"], config, "/_control/health")


def _webhook(ports: Mapping[str, int], name: str, secret: str) -> dict[str, str]:
    return {"url": f"http://{HOST}:{ports['api']}/v1/hooks/{name}", "secret": secret}


def _spec(layout: Layout, name: str, port: int, config: Mapping[str, object], path: str) -> ProcessSpec:
    folder: Path = layout.data / name
    folder.mkdir(mode=0o700, exist_ok=True)
    write_private(folder / "config.json", json.dumps(config, indent=1))
    return ProcessSpec(
        name=name,
        argv=(sys.executable, "-m", f"simulators.{name}", "--port", str(port), "--data", str(folder)),
        log=layout.log(name),
        ready=lambda: accepts(port) and http_status(port, path) is not None,
        env=process_env({}),
        cwd=folder,
        address=f"http://{HOST}:{port}",
    )
