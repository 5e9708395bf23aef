"""Specs: a law with priors, a noise model, perhaps a discrepancy and pooling, read from a TOML file."""
