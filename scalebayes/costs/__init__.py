"""The compute and money that a run costs, and the counting of parameters and FLOP."""
