from adapters.brokers.alpaca import AlpacaBroker
from adapters.brokers.registry import build_brokers, close_brokers
from settings import AlpacaSettings


async def test_each_broker_is_registered_under_the_venue_of_its_capabilities():
    brokers = build_brokers(alpaca=AlpacaSettings())
    assert {name: broker.capabilities.venue for name, broker in brokers.items()} == {"alpaca": "alpaca"}
    assert isinstance(brokers["alpaca"], AlpacaBroker)
    await close_brokers(brokers)
