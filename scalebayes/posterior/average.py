"""One forecast from several fits: each model's draws, in numbers that stand as its weight."""

from __future__ import annotations

import functools
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Concatenate, Literal, cast

import numpy as np
import xarray as xr

from scalebayes.display import html
from scalebayes.errors import QueryError
from scalebayes.posterior.fit import Fit
from scalebayes.posterior.provenance import combine, with_provenance

if TYPE_CHECKING:
    from scalebayes.data.runs import Runs


@dataclass(frozen=True, repr=False)
class Average:
    """Several fits of the same runs and the weight of each, as `scalebayes.average` makes it; every query takes it.

    Attributes
    ----------
    fits
        By label.
    weights
        By label, not negative, one in sum.
    """

    fits: Mapping[str, Fit]
    weights: Mapping[str, float]

    @property
    def runs(self) -> Runs:
        """The runs that all were fitted to."""
        return next(iter(self.fits.values())).runs

    @property
    def partial(self) -> bool:
        """Whether a fit was interrupted."""
        return any(fit.partial for fit in self.fits.values())

    @property
    def gate_failures(self) -> tuple[str, ...]:
        """Codes of the convergence checks that any of the fits failed."""
        return tuple(
            dict.fromkeys(code for fit in self.fits.values() for code in fit.gate_failures)
        )

    def __repr__(self) -> str:
        parts = ", ".join(f"{label} {self.weights[label]:.2f}" for label in self.fits)
        return f"<Average of {len(self.fits)} fits to {self.runs.name}: {parts}>"

    def _repr_html_(self) -> str:
        rows = {label: f"{self.weights[label]:.2f} of {fit!r}" for label, fit in self.fits.items()}
        return html.panel(f"Average of {len(self.fits)} fits to {self.runs.name}", html.facts(rows))


def over_average[**P](
    query: Callable[Concatenate[Fit, P], xr.Dataset],
) -> Callable[Concatenate[Fit | Average, P], xr.Dataset]:
    """Let a query of a fit take an average too: each fit answers, and the answers are mixed by weight.

    The answer to an average has one chain; ``model``, along draw, says whose draw it is.
    """

    @functools.wraps(query)
    def asked(fit: Fit | Average, *args: P.args, **kwargs: P.kwargs) -> xr.Dataset:
        if isinstance(fit, Fit):
            return query(fit, *args, **kwargs)
        answers = {label: query(one, *args, **kwargs) for label, one in fit.fits.items()}
        return _mix(answers, [fit.weights[label] for label in answers])

    return cast("Any", asked)


def _mix(answers: Mapping[str, xr.Dataset], weights: Sequence[float]) -> xr.Dataset:
    """Mix draws of the same quantities; where one fit has no discrepancy, its law is its curve."""
    apart = any("law" in answer for answer in answers.values())
    given = {
        label: sorted({*map(str, answer.data_vars)} - {"law"}) for label, answer in answers.items()
    }
    if any(names != next(iter(given.values())) for names in given.values()):
        kinds = "; ".join(f"{label}: {', '.join(names)}" for label, names in given.items())
        raise QueryError(
            f"the fits of this average answer in different quantities, which do not mix ({kinds})"
        )
    chosen = by_weight(
        [answer.sizes["chain"] * answer.sizes["draw"] for answer in answers.values()], weights
    )
    parts = []
    for (label, answer), rows in zip(answers.items(), chosen, strict=True):
        whole = answer.assign(law=answer.get("law", answer["loss"])) if apart else answer
        flat = whole.stack(sample=("chain", "draw"), create_index=False).isel(sample=rows)
        flat = flat.drop_vars(["chain", "draw"]).rename(sample="draw")
        parts.append(flat.assign_coords(model=("draw", np.full(len(rows), label))))
    if all("decades_beyond" in part.coords for part in parts):
        furthest = functools.reduce(np.maximum, (part["decades_beyond"].values for part in parts))
        parts = [
            part.assign_coords(decades_beyond=part["decades_beyond"].copy(data=furthest))
            for part in parts
        ]
    mixed = xr.concat(parts, "draw", combine_attrs="drop_conflicts", join="exact")
    mixed = with_provenance(mixed, combine(answers, weights))
    mixed = mixed.assign_coords(draw=np.arange(mixed.sizes["draw"]))
    return mixed.expand_dims(chain=[0]).transpose("chain", "draw", ...)


def by_weight(sizes: Sequence[int], weights: Sequence[float]) -> list[np.ndarray]:
    """Choose draws of several posteriors, evenly thinned, as many as can be with their numbers in ratio of the weights.

    Parameters
    ----------
    sizes, weights
        How many draws each has, and the weight it gets; one in sum.
    """
    total = min(size / weight for size, weight in zip(sizes, weights, strict=True) if weight > 0)
    counts = [min(size, round(total * weight)) for size, weight in zip(sizes, weights, strict=True)]
    return [
        np.linspace(0, size - 1, n).round().astype(int)
        for size, n in zip(sizes, counts, strict=True)
    ]


def average(
    fits: Mapping[str, Fit] | Sequence[Fit],
    weights: Literal["equal", "stacking"] | Mapping[str, float] = "equal",
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
            raise QueryError(
                f"weights for {', '.join(sorted(unknown))}, but the fits are {', '.join(named)}"
            )
    else:
        raise QueryError(f"weights are 'equal', 'stacking' or numbers by label; got {weights!r}")
    values = np.array([*given.values()])
    if not (np.isfinite(values).all() and (values >= 0).all() and values.sum() > 0):
        raise QueryError(
            f"weights must not be negative, nor all zero; got {', '.join(f'{v:g}' for v in values)}"
        )
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
            raise QueryError(
                f"two fits are called {', '.join(twice)}: give them labels, {{'mine': fit, ...}}"
            )
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

    if missing := [
        label for label, fit in fits.items() if "log_likelihood" not in fit.tree.children
    ]:
        raise QueryError(
            f"no log likelihood was kept of {', '.join(missing)} (very long tables): give weights by label"
        )
    if len(fits) == 1:
        return dict.fromkeys(fits, 1.0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of high Pareto k: `compare` says it with the numbers
        table = azs.compare(
            {label: fit.tree for label, fit in fits.items()},
            method="stacking",
            var_name="log_loss",
            round_to="none",
        )
    return {label: max(0.0, float(table.loc[label, "weight"])) for label in fits}
