"""Who calls: logins, tokens, keys, and what they are worth at this moment."""
