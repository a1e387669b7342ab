"""Requests whose bodies are too large to be read and planned beside others: processes, turns, room for what waits."""
