"""Pieces that are kept of messages that go, and excerpts that come back."""
