"""Prefixes that are kept warm in provider caches."""
