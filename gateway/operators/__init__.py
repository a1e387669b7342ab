"""The logs that the people who run the gateway see."""
