"""The shapes that tool results come in, and how each is said in fewer tokens. Pure, and linear in the text."""
