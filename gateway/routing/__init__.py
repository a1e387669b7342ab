"""The way of a request to an upstream: models, deployments, attempts, health, and three kinds of upstream."""
