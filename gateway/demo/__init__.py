"""The product shown on a conversation of its own: no key, no network, under a minute."""
