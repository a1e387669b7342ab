"""Summaries of folded messages: stored, and written between requests."""
