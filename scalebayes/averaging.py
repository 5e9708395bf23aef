"""One forecast from several fits: each model's draws, in numbers that stand as its weight."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from typing import Literal

import numpy as np

from scalebayes.errors import QueryError
from scalebayes.posterior import Average, Fit


def average(
    fits: Mapping[str, Fit] | Sequence[Fit], weights: Literal["equal", "stacking"] | Mapping[str, float] = "equal"
) -> Average:
    """Pool several fits of the same runs: what `predict`, `frontier` and the other queries then answer from.

    Where laws disagree, the spread between them is part of what is not known. On five public tables the equal pool of
    {additive, coupled} x {law alone, with discrepancy} was sharper than any of the four and its worst case better
    (docs/calibration.md). Stacking weights score what lies *between* the runs (leave one out), not beyond them, and
    can put all weight on one law; equal weights are the default for that reason.

    Parameters
    ----------
    fits
        Fits by label, or a sequence of fits of models with different names.
    weights
        ``"equal"``, ``"stacking"`` (Yao et al. 2018, from the log likelihoods of `Fit.tree`), or a number by label.

    Raises
    ------
    QueryError
        When there is no fit, two have one name, the runs differ, or weights are negative, unknown or all zero.

    References
    ----------
    Yao, Vehtari, Simpson and Gelman (2018), Using stacking to average Bayesian predictive distributions,
    doi:10.1214/17-BA1091.
    """
    named = named_fits(fits)
    if weights == "equal":
        given = dict.fromkeys(named, 1.0)
    elif weights == "stacking":
        given = _stacking(named)
    elif isinstance(weights, Mapping):
        given = {label: float(weights.get(label, 0.0)) for label in named}
        if unknown := weights.keys() - named.keys():
            raise QueryError(f"weights for {', '.join(sorted(unknown))}, but the fits are {', '.join(named)}")
    else:
        raise QueryError(f"weights are 'equal', 'stacking' or numbers by label; got {weights!r}")
    values = np.array([*given.values()])
    if not (np.isfinite(values).all() and (values >= 0).all() and values.sum() > 0):
        raise QueryError(f"weights must not be negative, nor all zero; got {', '.join(f'{v:g}' for v in values)}")
    return Average(named, dict(zip(named, (values / values.sum()).tolist(), strict=True)))


def named_fits(fits: Mapping[str, Fit] | Sequence[Fit]) -> dict[str, Fit]:
    """Fits by label, all of them of the same runs.

    Raises
    ------
    QueryError
        When there is none, two have one name, or the runs differ.
    """
    if not isinstance(fits, Mapping):
        names = [fit.spec.name for fit in fits]
        if twice := sorted({name for name in names if names.count(name) > 1}):
            raise QueryError(f"two fits are called {', '.join(twice)}: give them labels, {{'mine': fit, ...}}")
        fits = dict(zip(names, fits, strict=True))
    if not fits:
        raise QueryError("there is no fit: give one or more")
    (first, one), *others = fits.items()
    for label, fit in others:
        if fit.runs.hash != one.runs.hash:
            raise QueryError(
                f"'{label}' and '{first}' were fitted to different runs, which cannot stand side by side: "
                f"{fit.runs!r}; {one.runs!r}"
            )
    return dict(fits)


def _stacking(fits: Mapping[str, Fit]) -> dict[str, float]:
    """Weights that maximise the leave-one-out score of the mixture."""
    import arviz_stats as azs

    if missing := [label for label, fit in fits.items() if "log_likelihood" not in fit.tree.children]:
        raise QueryError(
            f"no log likelihood was kept of {', '.join(missing)} (very long tables): give weights by label"
        )
    if len(fits) == 1:
        return dict.fromkeys(fits, 1.0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of high Pareto k: `compare` says it with the numbers
        table = azs.compare(
            {label: fit.tree for label, fit in fits.items()}, method="stacking", var_name="log_loss", round_to="none"
        )
    return {label: max(0.0, float(table.loc[label, "weight"])) for label in fits}
