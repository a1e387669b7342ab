"""Forms in which documents stand in a text, one module each. Every one is found by its shape, in any language. Pure."""
