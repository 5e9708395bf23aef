"""What to train: decisions, regret and probabilities."""
