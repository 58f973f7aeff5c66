"""localstripe, a stateful Stripe, with what it lacks and the product uses laid around it."""
