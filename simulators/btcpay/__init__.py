"""A stand-in for a BTCPay Server of one store, on a chain that moves when it is told to."""

from simulators.btcpay.delivery import Webhook
from simulators.btcpay.server import BtcpayServer
from simulators.btcpay.state import Speed, Status, Why

__all__ = ["BtcpayServer", "Speed", "Status", "Webhook", "Why"]
