"""Posterior draws as tables: intervals, summaries, and the caveats that belong with them."""
