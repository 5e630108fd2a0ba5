"""Makes the weights that are shipped. Nothing that serves imports this."""
