"""What is kept of messages that go, and what comes back of them."""
