"""What a request weighs and how much room each part of it has."""
