"""Money: whose request it is, what its usage costs, and the books it is entered in."""
