"""A fit of curves: a model, checkpoints, and posterior draws."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import xarray as xr

from scalebayes.curves.curves import ROOM, Curves
from scalebayes.curves.density import Layout
from scalebayes.curves.laws import Scale
from scalebayes.curves.models import NOISE, CurveModel
from scalebayes.errors import QueryError
from scalebayes.messages import Message
from scalebayes.posterior.diagnostics import Diagnosis, convergence
from scalebayes.posterior.fit import Sampled

if TYPE_CHECKING:
    from typing import NoReturn

FEW_RUNS = 2
"""Schedules whose rate falls that tell the parameters of annealing apart, at least."""


@dataclass(frozen=True, repr=False, eq=False)
class CurveFit(Sampled):
    """Posterior of a model of curves given checkpoints.

    Attributes
    ----------
    model
        The model.
    curves
        The checkpoints.
    stored
        DataTree with the groups posterior (parameters as the paper writes the law, and noise),
        sampled (positions as `scalebayes.curves.density` reads them), sample_stats and prior.
    """

    model: CurveModel
    curves: Curves
    stored: xr.DataTree
    OWN_FUNCTIONS: ClassVar[Mapping[str, str]] = {
        "predict": f"{ROOM}.forecast:predict_curve",
        "save": f"{ROOM}.store:save_curve_fit",
        "summary": f"{ROOM}.summary:summarise",
        "diagnose": f"{ROOM}.curve_fit:diagnose_curves",
    }

    @property
    def groups(self) -> tuple[str, ...]:
        """Names of the groups of runs, one empty name for runs without groups."""
        return self.curves.groups

    @property
    def layout(self) -> Layout:
        """What the entries of a position are."""
        return layout_of(self.curves, self.model)

    @property
    def spec(self) -> NoReturn:
        """Raise, because questions about laws of N and D have no answer here."""
        self._refuse()

    @property
    def runs(self) -> NoReturn:
        """Raise, as `spec`."""
        self._refuse()

    @property
    def fits(self) -> NoReturn:
        """Raise, as `spec`."""
        self._refuse()

    @property
    def weights(self) -> NoReturn:
        """Raise, as `spec`."""
        self._refuse()

    def _refuse(self) -> NoReturn:
        raise QueryError(
            "this is a fit of curves along runs: it answers forecast, predict with a schedule, "
            "summary, diagnose, save and plots.curves. Questions about N, D and C need a fit of a "
            "table of runs (read_runs)"
        )

    def positions(self) -> np.ndarray:
        """Return the draws of the position, chains one after the other, (draws, entries)."""
        draws = self.stored["sampled"].to_dataset()["position"]
        values = draws.transpose("chain", "draw", "entry").values
        return values.reshape(-1, values.shape[-1])

    def __repr__(self) -> str:
        sizes = self.stored["posterior"].sizes
        size = f"{sizes['chain']} x {sizes['draw']} draws"
        if self.partial:
            size += ", partial: interrupted"
        if self.gate_failures:
            size += f", convergence checks FAILED: {', '.join(self.gate_failures)}"
        return (
            f"<CurveFit of {self.model.name} to {self.curves.name}: {len(self.curves)} "
            f"checkpoints of {len(self.curves.runs)} runs, {size}>"
        )


def layout_of(curves: Curves, model: CurveModel) -> Layout:
    """Return what the entries of a position are, for curves and a model."""
    areas = np.concatenate([curve.areas for curve in curves.runs.values()])
    rate = max(curve.schedule.peak for curve in curves.runs.values())
    lowest = []
    for group in curves.groups:
        losses = [curve.losses.min() for curve in curves.runs.values() if curve.group == group]
        lowest.append(float(min(losses)))
    scale = Scale(float(np.exp(np.log(areas).mean())), rate)
    return Layout(model.law_object, curves.groups, tuple(lowest), scale)


def posterior_of(layout: Layout, positions: xr.DataArray) -> xr.Dataset:
    """Return the parameters as the paper writes the law, and the noise, of positions.

    positions: (chain, draw, entry). Several groups are a dimension of the law's parameters.
    """
    values = positions.transpose("chain", "draw", "entry").values
    by_group = {}
    for group, sampled in layout.parameters(values).items():
        named = {name: sampled[..., i] for i, name in enumerate(layout.law.sampled)}
        by_group[group] = layout.law.to_published(named, layout.scale)
    variables: dict[str, Any] = {}
    for name in layout.law.published:
        each = [by_group[group][name] for group in layout.groups]
        if len(each) == 1:
            variables[name] = (("chain", "draw"), each[0])
        else:
            variables[name] = (("chain", "draw", "group"), np.stack(each, axis=-1))
    noise = layout.noise(values)
    for i, name in enumerate(NOISE):
        variables[name] = (("chain", "draw"), noise[..., i])
    coords: dict[str, Any] = {
        dim: np.arange(size) for dim, size in zip(("chain", "draw"), values.shape[:2], strict=True)
    }
    if len(layout.groups) > 1:
        coords["group"] = list(layout.groups)
    return xr.Dataset(variables, coords)


def diagnose_curves(fit: CurveFit) -> Diagnosis:
    """Return the convergence checks of a fit of curves, and warnings about its runs.

    Warnings: NO_ANNEALING, a group without a schedule that falls; ONE_SCHEDULE, with only one;
    notes: SPIKES, checkpoints that were left out.
    """
    gate = convergence(fit.stored, partial=fit.partial)
    return Diagnosis((*gate.messages, *run_messages(fit)), gate.table)


def run_messages(fit: CurveFit) -> list[Message]:
    """Return messages about the runs that a fit was made from."""
    found = []
    for group in fit.groups:
        curves = [curve for curve in fit.curves.runs.values() if curve.group == group]
        falling = [curve for curve in curves if _has_annealed(curve.rates)]
        of_group = f" of {group}" if group else ""
        if not falling:
            text = (
                f"the learning rate falls in no run{of_group}: what annealing saves there follows "
                "from the prior alone"
            )
            found.append(Message("NO_ANNEALING", "warning", text))
        elif len(falling) < FEW_RUNS:
            text = (
                f"the learning rate falls in one run{of_group} only, {falling[0].run}: one "
                "schedule does not tell how fast a fall of the rate takes effect"
            )
            found.append(Message("ONE_SCHEDULE", "warning", text))
    spikes = fit.metadata["spikes"]
    if spikes:
        count = sum(len(steps) for steps in spikes.values())
        text = (
            f"{count} checkpoints far from their neighbours were left out, of {', '.join(spikes)}"
        )
        found.append(Message("SPIKES", "note", text))
    return found


def _has_annealed(rates: np.ndarray) -> bool:
    """Whether the learning rate has fallen by a tenth of its peak among the checkpoints."""
    return bool(rates[-1] < 0.9 * rates.max())
