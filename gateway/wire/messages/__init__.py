"""Anthropic's Messages: how a client, or a deployment, speaks them."""
