"""Curves along a run: loss against step under a learning-rate schedule."""
