"""What trading at venues keeps: order streams, exchange sessions, and the legs of routed orders."""
