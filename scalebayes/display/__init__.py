"""Numbers and tables as a terminal or a notebook shows them."""
