"""Payment systems: Stripe for cards, BTCPay Server for bitcoin; the only code that speaks to either."""
