"""Several fits side by side: models of the same runs, and recipes with runs of their own."""
