"""Real programs against a real gateway: SDKs, frameworks and agents, each as its makers ship it (`make clients`)."""
