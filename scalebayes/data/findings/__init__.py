"""What a table says before any model is fitted to it: `check_runs` and the findings it returns."""
