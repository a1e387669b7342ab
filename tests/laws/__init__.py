"""The laws of docs/architecture.md as properties: each over generated requests and over recorded conversations.

What a law says is judged by `oracle.py`, which shares no code with the gateway. Recorded conversations are sampled;
`GATEWAY_ALL=1` runs every one of them.
"""
