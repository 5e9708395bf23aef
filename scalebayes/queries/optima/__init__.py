"""The search for compute-optimal sizes, at one budget and along many."""
