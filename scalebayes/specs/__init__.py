"""Specs: a law with priors, noise, perhaps a discrepancy and pooling, from a TOML file."""
