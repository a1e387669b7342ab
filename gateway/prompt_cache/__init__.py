"""The providers' prompt caches: their believed contents, our markers, and the cost of both.

- `rules.py`: the rules of each provider's cache, from the files of `providers/`.
- `prefixes.py`, `cache_identity.py`: the hashes of a request's prefixes, and the number of the cache that it reads.
- `breakpoints.py`, `markers.py`, `cache_keys.py`: the caller's markers, the decision on ours, and the cache key.
- `contents.py`, `trails.py`, `groups.py`: cache contents, the latest requests of conversations, and prefix groups.
- `usage_patterns.py`, `observations.py`, `economics.py`: habits of conversations, and the expected cost by them.
- `tracker.py`, `lookup.py`, `settlement.py`: the tracker of a process, one lookup, and its settlement after the answer.
- `sizes.py`, `misses.py`: tokens of prefixes, and the causes of misses.
- `sharing.py`, `system_text_changes.py`, `system_text_sharing.py`: the exchange with other processes, and the report on
  system texts that change.
"""
