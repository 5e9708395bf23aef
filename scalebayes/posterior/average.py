"""Averages of fits: weighted mixtures of the draws of several models of the same runs.

`scalebayes.average` (`comparison/average.py`) makes them and finds their weights.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Concatenate, cast

import numpy as np
import xarray as xr

from scalebayes.data.metrics import one_metric
from scalebayes.display import html
from scalebayes.errors import QueryError
from scalebayes.posterior.fit import Fit
from scalebayes.posterior.provenance import combine, with_provenance

if TYPE_CHECKING:
    from scalebayes.data.runs import Runs


@dataclass(frozen=True, repr=False)
class Average:
    """Several fits of the same runs with a weight each, made by `scalebayes.average`.

    Every query accepts one in place of a fit.

    Attributes
    ----------
    fits
        Fits by label.
    weights
        Weights by label: not negative, with sum one.
    """

    fits: Mapping[str, Fit]
    weights: Mapping[str, float]

    @property
    def runs(self) -> Runs:
        """The runs that all fits share."""
        return next(iter(self.fits.values())).runs

    @property
    def partial(self) -> bool:
        """Whether the sampling of any fit was interrupted."""
        return any(fit.partial for fit in self.fits.values())

    @property
    def gate_failures(self) -> tuple[str, ...]:
        """Codes of the convergence checks that any of the fits failed."""
        codes: list[str] = []
        for fit in self.fits.values():
            codes += fit.gate_failures
        return tuple(dict.fromkeys(codes))

    def __repr__(self) -> str:
        parts = ", ".join(f"{label} {self.weights[label]:.2f}" for label in self.fits)
        return f"<Average of {len(self.fits)} fits to {self.runs.name}: {parts}>"

    def _repr_html_(self) -> str:
        rows = {label: f"{self.weights[label]:.2f} of {fit!r}" for label, fit in self.fits.items()}
        return html.panel(f"Average of {len(self.fits)} fits to {self.runs.name}", html.facts(rows))


def over_average[**P](
    query: Callable[Concatenate[Fit, P], xr.Dataset],
) -> Callable[Concatenate[Fit | Average, P], xr.Dataset]:
    """Return the query extended to averages: it asks each fit and mixes the answers by weight.

    The answer of an average has one chain; its coordinate ``model`` (draw) names the fit that each
    draw comes from. Of a law with hyperparameters the tuned runs are asked (`Fit.tuned_runs`).
    """

    @functools.wraps(query)
    def of_tuned_runs(fit: Fit, *args: P.args, **kwargs: P.kwargs) -> xr.Dataset:
        return query(fit.tuned_runs, *args, **kwargs)

    return over_average_as_fitted(cast("Callable[Concatenate[Fit, P], xr.Dataset]", of_tuned_runs))


def over_average_as_fitted[**P](
    query: Callable[Concatenate[Fit, P], xr.Dataset],
) -> Callable[Concatenate[Fit | Average, P], xr.Dataset]:
    """Return what `over_average` does, of a query that takes hyperparameters."""

    @functools.wraps(query)
    def query_of_average(fit: Fit | Average, *args: P.args, **kwargs: P.kwargs) -> xr.Dataset:
        if isinstance(fit, Fit):
            return query(fit, *args, **kwargs)
        answers = {label: query(one, *args, **kwargs) for label, one in fit.fits.items()}
        return _mix(answers, fit.weights)

    return cast("Any", query_of_average)


def of_tuned(fit: Fit | Average) -> Fit | Average:
    """Return the fit, or each fit of an average, at the best hyperparameters of its law."""
    if isinstance(fit, Fit):
        return fit.tuned_runs
    fits = {label: one.tuned_runs for label, one in fit.fits.items()}
    return Average(fits, fit.weights)


def _mix(answers: Mapping[str, xr.Dataset], weights: Mapping[str, float]) -> xr.Dataset:
    """Return draws of all answers, in numbers proportional to the weights, as one chain."""
    answers = _same_quantities(answers)
    ordered_weights = [weights[label] for label in answers]
    sizes = [answer.sizes["chain"] * answer.sizes["draw"] for answer in answers.values()]
    chosen = by_weight(sizes, ordered_weights)

    parts = []
    for (label, answer), rows in zip(answers.items(), chosen, strict=True):
        samples = answer.stack(sample=("chain", "draw"), create_index=False).isel(sample=rows)
        part = samples.drop_vars(["chain", "draw"]).rename(sample="draw")
        parts.append(part.assign_coords(model=("draw", np.full(len(rows), label))))

    parts = _with_furthest_distance(parts)
    mixed = xr.concat(parts, "draw", combine_attrs="drop_conflicts", join="exact")
    mixed = with_provenance(mixed, combine(answers, ordered_weights))
    mixed = mixed.assign_coords(draw=np.arange(mixed.sizes["draw"]))
    return mixed.expand_dims(chain=[0]).transpose("chain", "draw", ...)


def _same_quantities(answers: Mapping[str, xr.Dataset]) -> dict[str, xr.Dataset]:
    """Return the answers with the same variables, which concatenation needs.

    Only fits with a discrepancy answer with the loss of the law alone ("law"). Without one the law
    is the curve, so that its "law" is its "loss".

    Raises
    ------
    QueryError
        When the answers differ in any other variable.
    """
    variables = {}
    for label, answer in answers.items():
        variables[label] = sorted({str(name) for name in answer.data_vars} - {"law"})
    first = next(iter(variables.values()))
    if any(names != first for names in variables.values()):
        kinds = "; ".join(f"{label}: {', '.join(names)}" for label, names in variables.items())
        raise QueryError(
            f"the fits of this average answer in different quantities, which do not mix ({kinds})"
        )
    if not any("law" in answer for answer in answers.values()):
        return dict(answers)
    return {
        label: answer.assign(law=answer.get("law", answer["loss"]))
        for label, answer in answers.items()
    }


def _with_furthest_distance(parts: list[xr.Dataset]) -> list[xr.Dataset]:
    """Return the answers with the largest of their distances beyond the runs at each target."""
    if not all("decades_beyond" in part.coords for part in parts):
        return parts
    furthest = np.max([part["decades_beyond"].values for part in parts], axis=0)
    return [
        part.assign_coords(decades_beyond=part["decades_beyond"].copy(data=furthest))
        for part in parts
    ]


def by_weight(sizes: Sequence[int], weights: Sequence[float]) -> list[np.ndarray]:
    """Return indices of draws of several posteriors, in numbers proportional to the weights.

    The total is the largest for which no posterior needs more draws than it has; each posterior is
    thinned evenly.

    Parameters
    ----------
    sizes
        Number of draws of each posterior.
    weights
        Weight of each posterior, with sum one.
    """
    total = min(size / weight for size, weight in zip(sizes, weights, strict=True) if weight > 0)
    chosen = []
    for size, weight in zip(sizes, weights, strict=True):
        count = min(size, round(total * weight))
        chosen.append(np.linspace(0, size - 1, count).round().astype(int))
    return chosen


def named_fits(fits: Mapping[str, Fit] | Sequence[Fit]) -> dict[str, Fit]:
    """Return fits of the same runs by label; the label in a sequence is the model's name.

    Raises
    ------
    QueryError
        When there is no fit, two have the same name, or the runs or their metrics differ.
    """
    if not isinstance(fits, Mapping):
        fits = _by_model_name(fits)
    if not fits:
        raise QueryError("there is no fit: give one or more")
    (first_label, first), *others = fits.items()
    for label, fit in others:
        if fit.runs.hash != first.runs.hash:
            raise QueryError(
                f"'{label}' and '{first_label}' were fitted to different runs and cannot be "
                f"combined: {fit.runs!r}; {first.runs!r}"
            )
    one_metric({label: fit.runs.metric for label, fit in fits.items()})
    return dict(fits)


def _by_model_name(fits: Sequence[Fit]) -> dict[str, Fit]:
    names = [fit.spec.name for fit in fits]
    duplicates = sorted({name for name in names if names.count(name) > 1})
    if duplicates:
        raise QueryError(
            f"two fits are called {', '.join(duplicates)}: give them labels, {{'mine': fit, ...}}"
        )
    return dict(zip(names, fits, strict=True))
