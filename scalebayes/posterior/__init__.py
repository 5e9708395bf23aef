"""A fit: its draws, groups, averages, diagnostics and file."""
