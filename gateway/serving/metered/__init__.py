"""The way of requests that are metered and not rewritten."""
