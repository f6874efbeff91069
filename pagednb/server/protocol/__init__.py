"""What clients send: request bodies, each field either followed, listed as unused, or refused by name."""
