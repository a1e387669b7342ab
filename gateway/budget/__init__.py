"""Sizes of requests, and the room of each of their parts."""
