"""Which runs to make next, and how many: sweeps before any run exists, and runs added to a fit."""
