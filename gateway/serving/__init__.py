"""The way of a request: admitted, fitted, attempted, settled."""
