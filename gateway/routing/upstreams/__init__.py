"""Ways to a provider: direct, translated, or the demo."""
