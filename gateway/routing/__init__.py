"""Which upstream a request goes to, and how it is asked: deployments, attempts, health, and three kinds of upstream."""
