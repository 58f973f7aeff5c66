"""Stripe, for trying things out: the `localstripe` server, and around it what it lacks of the API that we use.

Customers, payment methods, products, plans, coupons, payment intents, charges, refunds and the form of requests are
localstripe's. Checkout, the portal, periods and renewals, prorations, discounts, pausing, signed deliveries that are
repeated, Idempotency-Key, and a clock that can be moved on are laid around it here, in the shapes of the pinned API
version. docs/billing.md has the table.
"""
