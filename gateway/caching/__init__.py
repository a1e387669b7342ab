"""Provider prompt caches: what they hold, what they cost, and what breaks them. Pure."""
