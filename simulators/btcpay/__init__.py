"""A BTCPay Server of one store: Greenfield API, webhooks, and a chain whose blocks come when they are told to."""
