"""A scripted model provider: a process of its own that speaks OpenAI's wire and keeps its own books.

It imports nothing of the gateway, so that what the two agree on is agreed on by arithmetic: its prices are typed by
hand, its tokens are counted by its own code. Start it with `python -m tests.upstream --port 9000`; it prints
the port it got.
"""
