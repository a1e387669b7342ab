"""Remedies for the results of tools."""
