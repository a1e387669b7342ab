"""The providers' prompt caches: contents, markers, economics."""
