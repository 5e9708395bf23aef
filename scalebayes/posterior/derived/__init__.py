"""What follows from the draws of a fit and is not stored: the groups that ArviZ expects."""
