"""The warm-ups of prefixes in provider caches: decision and schedule. `serving/warm_up_calls.py` sends them."""
