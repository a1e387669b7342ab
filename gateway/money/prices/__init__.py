"""Prices: the rates of a model, read from the price table, and the cost of usage at them."""
