"""Answers that are given again without asking an upstream: vectors of inputs that were embedded before."""
