from adapters.brokers.alpaca import AlpacaBroker
from adapters.brokers.registry import build_brokers, close_brokers
from domain.enrolment import BROKER_VENUES, CONVERTING_VENUES, WHOLE_VENUES
from domain.ports import Converting
from settings import AlpacaSettings, CoinbaseSettings, TradierSettings


async def test_each_broker_is_registered_under_the_venue_of_its_capabilities():
    brokers = build_brokers(alpaca=AlpacaSettings(), coinbase=CoinbaseSettings(), tradier=TradierSettings())
    assert {name: broker.capabilities.venue for name, broker in brokers.items()} == {
        name: name for name in BROKER_VENUES
    }
    assert {name for name, broker in brokers.items() if broker.capabilities.converts} == CONVERTING_VENUES
    assert {name for name, broker in brokers.items() if not broker.capabilities.fractional} == WHOLE_VENUES
    assert all(isinstance(brokers[name], Converting) for name in CONVERTING_VENUES)
    assert isinstance(brokers["alpaca"], AlpacaBroker)
    await close_brokers(brokers)
