"""Tables of runs: reading, checking, converting and splitting them."""
