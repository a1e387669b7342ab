"""Documents: found, cut and arranged."""
