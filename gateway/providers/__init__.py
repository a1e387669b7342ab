"""The providers that a list of models may name: how each is reached, what each needs, what cannot be served and why."""
