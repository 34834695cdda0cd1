"""This site in its mesh: what it asks of other sites, and what it answers them."""
