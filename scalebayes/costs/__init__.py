"""Costs of training runs, shapes of transformers and counts of parameters."""
