"""Requests and answers of the operations that are metered and not rewritten."""
