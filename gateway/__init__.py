"""The gateway: makes requests to language models fit their budget, and keeps the books."""
