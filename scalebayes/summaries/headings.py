"""Headings of the columns of answers. Nothing heavy is imported here, for the commands."""

LABELS = {
    # Quantities and coordinates whose names are not their headings; "U=" is U as a coordinate.
    "law": "loss (law alone)",
    "N": "N*",
    "D": "D*",
    "tokens_per_param": "tokens/parameter",
    "loss": "loss (curve)",
    "loss=": "target loss",
    "new_run": "new run",
    "U=": "unique tokens",
    # curves along a run
    "plan=": "plan",
    "lr=": "learning rate",
    # decisions
    "excess_loss": "excess loss",
    "compute_factor": "compute used / compute needed",
    "data_ratio": "D ratio",
    "margin": "target loss minus loss",
    "total": "cost",
    "next_tenfold": "gain from 10x the data",
    "pays_from": "break-even, tokens served",
    "gain": "loss at b - a (curve)",
    "gain_law": "loss at b - a (law alone)",
    "gain_new_run": "loss at b - a (new runs)",
    **{f"{x}_{run}=": f"{x} of {run}" for x in ("N", "D", "C") for run in ("a", "b")},
    "a_better=": "a better",
    "a_better_new_run=": "a better, new runs",
    "expected_loss=": "expected loss",
    "expected_excess_loss=": "expected excess loss",
    "expected_waste=": "expected waste",
    "N_lower": "lowest N",
    "N_upper": "highest N",
    "N_from=": "N from",
    "N_to=": "N to",
    "N_safest=": "safest N",
    # reaching a loss, and what more buys
    "reachable=": "reached in draws",
    "hours": "accelerator hours",
    "gain_N": "gain from more N",
    "gain_D": "gain from more D",
    "gain_C": "gain from more C",
    "gain_all": "loss above the floor",
    "above_converged": "share above converged",
    "loss_above_converged": "loss above converged",
    # benchmark accuracy
    "accuracy": "accuracy (curve)",
    "error": "error (curve)",
    "new_accuracy": "accuracy of a new model",
    # comparisons
    "difference": "difference (curve)",
    "law_difference": "difference (law alone)",
    "p_best": "P(best)",
    "multiplier": "compute multiplier",
    "p_saves": "P(saves)",
    "p_never": "P(never reached)",
}
"""Headings of columns, by name of the quantity or, with a final =, of the coordinate."""
