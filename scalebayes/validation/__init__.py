"""How far a fit can be trusted: backtests, sensitivity, influential runs, outliers."""
