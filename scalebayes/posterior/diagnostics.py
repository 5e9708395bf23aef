"""The gate: whether the sampler converged, and whether these runs identify this law."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import xarray as xr

from scalebayes.display import html
from scalebayes.messages import Message
from scalebayes.posterior.fit import SAMPLED, Fit, draws
from scalebayes.units import format_quantity

if TYPE_CHECKING:
    import pandas as pd

    from scalebayes.laws import Parameter
    from scalebayes.specs.spec import Spec

R_HAT, ESS, E_BFMI = 1.01, 400, 0.3
"""Bounds of the gate (Vehtari et al. 2021; Betancourt 2016)."""
WORST = {"r_hat": np.max, "ess_bulk": np.min, "ess_tail": np.min}
"""Of a quantity that is a vector, its worst entry counts."""
FEW_RUNS = 15
FAR_OFF = 10.0
"""Distance from the curve, in usual scatters, at which a row is named."""
PRIOR_SHARE = 0.8
"""A posterior whose log standard deviation is above this share of the prior's is called the prior's."""


@dataclass(frozen=True)
class Diagnosis:
    """What the gate found.

    Attributes
    ----------
    messages
        Findings, failures first.
    table
        R-hat, bulk and tail ESS by parameter.
    """

    messages: tuple[Message, ...]
    table: pd.DataFrame

    @property
    def ok(self) -> bool:
        """Whether the gate passed: no message of level "failed"."""
        return not any(m.level == "failed" for m in self.messages)

    def __str__(self) -> str:
        return "\n".join([self._verdict(), *(f"  {m}" for m in self.messages)])

    __repr__ = __str__

    def _repr_html_(self) -> str:
        return html.panel(self._verdict(), html.entries(self.messages), html.table(self.table))

    def _verdict(self) -> str:
        worst = (
            f"R-hat at most {self.table['r_hat'].max():.3f}, ESS at least {self._least_ess():.0f}"
        )
        return f"Gate {'passed' if self.ok else 'FAILED'}: {worst}."

    def _least_ess(self) -> float:
        return float(self.table[["ess_bulk", "ess_tail"]].to_numpy().min())


def diagnose(fit: Fit) -> Diagnosis:
    """Check convergence (the gate) and how well the runs identify the law (warnings).

    The gate: R-hat <= 1.01, bulk and tail ESS >= 400, no divergence, no saturated tree, E-BFMI >= 0.3, no NaN, all
    draws there. Warnings: ONE_N, ONE_D, D_FOLLOWS_N, NARROW_COMPUTE, FEW_RUNS, GROUPS_POOLED, REPEATED_RUNS, FAR_OFF,
    PRIOR_DECIDES; of a pooled fit THIN_GROUPS, SPREAD_FROM_PRIOR.

    References
    ----------
    Vehtari et al. (2021), doi:10.1214/20-BA1221. Betancourt (2016), arXiv:1604.00695.
    """
    gate = convergence(fit.tree, partial=fit.partial)
    if fit.groups:
        return Diagnosis((*gate.messages, *_of_groups(fit)), gate.table)
    if fit.view is not None and fit.view.is_new:
        return gate
    return Diagnosis((*gate.messages, *_design(fit), *_rows(fit), *_prior_decides(fit)), gate.table)


def convergence(tree: xr.DataTree, *, partial: bool = False) -> Diagnosis:
    """The gate alone, on any tree with a posterior and sampler statistics under ArviZ's names."""
    import arviz_stats as azs
    import pandas as pd

    posterior = by_scalar(tree["posterior"].to_dataset())
    if SAMPLED in tree.children:
        posterior = posterior.merge(tree[SAMPLED].to_dataset())
    with np.errstate(
        invalid="ignore", divide="ignore"
    ):  # a stuck chain has no variance; that is what we report
        columns = {
            "r_hat": azs.rhat(posterior),
            "ess_bulk": azs.ess(posterior, method="bulk"),
            "ess_tail": azs.ess(posterior, method="tail"),
        }
    table = pd.DataFrame(
        {key: {n: float(WORST[key](v[n])) for n in posterior} for key, v in columns.items()}
    )
    interrupted = Message(
        "PARTIAL", "failed", "sampling was interrupted: these are the draws made until then"
    )
    faults = (
        *_parameter_faults(posterior, table),
        *_sampler_faults(tree),
        *(interrupted,) * partial,
    )
    return Diagnosis(faults, table)


def by_scalar(posterior: xr.Dataset) -> xr.Dataset:
    """Draws with each group's parameter under a name of its own, as L_inf[pythia]."""
    out: dict[str, xr.DataArray] = {}
    for name, values in posterior.data_vars.items():
        if "group" in values.dims:
            out |= {f"{name}[{g}]": values.sel(group=g, drop=True) for g in values["group"].values}
        else:
            out[str(name)] = values
    return xr.Dataset(out)


def _parameter_faults(posterior: xr.Dataset, table: pd.DataFrame) -> Iterator[Message]:
    bad = [str(name) for name in posterior if not np.isfinite(posterior[name]).all()]
    if bad:
        yield Message("NAN", "failed", f"draws of {', '.join(bad)} are not finite")
    still = [
        str(n) for n in posterior if (posterior[n].max("draw") == posterior[n].min("draw")).any()
    ]
    if still:
        yield Message("STUCK", "failed", f"a chain never moves in {', '.join(still)}")
    known = table.fillna({"r_hat": -np.inf, "ess_bulk": np.inf, "ess_tail": np.inf})
    name, worst = known["r_hat"].idxmax(), known["r_hat"].max()
    if worst > R_HAT:
        yield Message(
            "R_HAT",
            "failed",
            f"chains disagree: R-hat is {worst:.3f} in {name}; at most {R_HAT} passes",
        )
    for code, part in (("ESS_BULK", "bulk"), ("ESS_TAIL", "tail")):
        name, least = known[f"ess_{part}"].idxmin(), known[f"ess_{part}"].min()
        if least < ESS:
            text = f"{name} has {least:.0f} effective draws in the {part}; at least {ESS} pass"
            yield Message(code, "failed", text)
    unknown = table.index[table.isna().any(axis=1)]
    if len(unknown):
        text = f"R-hat or ESS of {', '.join(unknown)} cannot be computed: that takes two chains of four finite draws"
        yield Message("UNKNOWN", "failed", text)


def _sampler_faults(tree: xr.DataTree) -> Iterator[Message]:
    import arviz_stats as azs

    stats = tree["sample_stats"].to_dataset()
    divergences = int(stats["diverging"].sum())
    if divergences:
        count = f"{divergences} divergent transition{'s' * (divergences > 1)}"
        text = f"{count}: the sampler may have missed part of the posterior"
        yield Message("DIVERGENCES", "failed", text)
    saturated = int(stats["reached_max_treedepth"].sum())
    if saturated:
        share = saturated / stats["reached_max_treedepth"].size
        yield Message(
            "TREE_DEPTH",
            "failed",
            f"{saturated} trajectories ({share:.1%}) were cut short at the largest tree depth",
        )
    with np.errstate(invalid="ignore", divide="ignore"):
        bfmi = float(np.min(azs.bfmi(stats["energy"].values)))
    if not bfmi >= E_BFMI:
        text = f"the energy is explored too slowly: E-BFMI is {bfmi:.2f} in one chain; at least {E_BFMI} passes"
        yield Message("E_BFMI", "failed", text)


def _design(fit: Fit) -> Iterator[Message]:
    """What the table cannot tell, whatever the sampler does."""
    runs, law = fit.runs, fit.spec.law_object
    for x in law.inputs:
        values = getattr(runs, x)
        if np.ptp(np.log(values)) < 0.01:
            what = (
                f"the exponent alpha_{x}"
                if f"alpha_{x}" in law.parameter_names
                else f"what {x} does"
            )
            text = f"all runs have {x} = {format_quantity(values[0])}: {what} comes from the prior alone"
            yield Message(f"ONE_{x}", "warning", text)
    if law.inputs == ("N", "D"):
        log_N, log_D = np.log(runs.N), np.log(runs.D)
        if np.ptp(log_N) > 0.01 and np.ptp(log_D) > 0.01 and np.corrcoef(log_N, log_D)[0, 1] > 0.99:
            text = "D follows N (correlation of their logs above 0.99): the two terms cannot be told apart"
            yield Message("D_FOLLOWS_N", "warning", text)
    if len(runs) < FEW_RUNS:
        text = f"{len(runs)} runs: fewer than {FEW_RUNS} say little about {len(law.parameters)} parameters"
        yield Message("FEW_RUNS", "warning", text)
    if fit.spec.pool is None and "group" in runs.table and runs.table["group"].nunique() > 1:
        text = f"{runs.table['group'].nunique()} groups are fitted as one: nothing in this law tells them apart"
        yield Message("GROUPS_POOLED", "warning", text)
    span = np.ptp(np.log10(runs.C)) if "C" in runs.table else np.inf
    if span < 1:
        yield Message(
            "NARROW_COMPUTE",
            "warning",
            f"the runs span {span:.1f} orders of magnitude of compute, less than one",
        )


def _of_groups(fit: Fit) -> Iterator[Message]:
    """Of a pooled fit: groups of few runs, and spreads that so many groups say nothing about."""
    counts = fit.runs.table["group"].astype(str).value_counts(sort=False)
    needed = len(fit.spec.law_object.parameters) + 1
    if thin := [f"{name} ({count})" for name, count in counts.items() if count < needed]:
        text = f"fewer runs than {needed}, so that the other groups and the prior decide much of them: {', '.join(thin)}"
        yield Message("THIN_GROUPS", "warning", text)
    posterior, prior = (fit.tree[group].to_dataset() for group in ("posterior", "prior"))
    names = {name: f"{name}_spread" for name in fit.spec.spread}
    ratios = {
        name: float(posterior[spread].std() / prior[spread].std()) for name, spread in names.items()
    }
    if unknown := [name for name, ratio in ratios.items() if ratio > PRIOR_SHARE]:
        text = f"{len(fit.groups)} groups say little about how far they differ in {', '.join(unknown)}: the prior does"
        yield Message("SPREAD_FROM_PRIOR", "warning", text)


def _rows(fit: Fit) -> Iterator[Message]:
    """Rows that are there twice, and rows far from the curve of the median parameters, for what it is worth a look."""
    table = fit.runs.table[[x for x in ("N", "D", "C", "loss", "accuracy") if x in fit.runs.table]]
    if len(twice := table.index[table.duplicated()]):
        text = f"the same numbers as an earlier run, so they count twice: {_some(twice)}"
        yield Message("REPEATED_RUNS", "warning", text)
    off = np.abs(residuals_at_median(fit))
    usual = (
        float(np.median(off)) / 0.6745
    )  # the standard deviation of Normal residuals with this median
    far = table.index[off > FAR_OFF * usual]
    if len(far):
        text = f"more than {FAR_OFF:g} times the usual scatter of {usual:.1%} from the curve: {_some(far)}"
        yield Message("FAR_OFF", "warning", text)


def _some(runs: pd.Index) -> str:
    """Names of runs, the first five of many."""
    return ", ".join(f"run {name}" for name in runs[:5]) + (
        f" and {len(runs) - 5} more" if len(runs) > 5 else ""
    )


def residuals_at_median(fit: Fit) -> np.ndarray:
    """Log loss less that of the curve at the median of each parameter, what it expects of a discrepancy taken in."""
    runs, law, median = fit.runs, fit.spec.law_object, draws(fit).median()
    residual = law.log_residual(runs, {name: float(median[name]) for name in law.parameter_names})
    return residual - fit.spec.observation.expected_at_runs(fit.tree, runs, residual)


def _prior_decides(fit: Fit) -> Iterator[Message]:
    for parameter in fit.spec.law_object.parameters:
        posterior, prior = (
            log_size(draws(fit, group), parameter, fit.spec) for group in ("posterior", "prior")
        )
        ratio = float(posterior.std() / prior.std())
        if ratio > PRIOR_SHARE:
            text = f"{parameter.name} is {ratio:.0%} as wide as its prior (log scale): the runs say little about it"
            yield Message("PRIOR_DECIDES", "warning", text)


def log_size(values: xr.Dataset, parameter: Parameter, spec: Spec) -> xr.DataArray:
    """Log of what the prior is stated on: the parameter, or for a scale the size of its term at the reference."""
    log = xr.ufuncs.log(values[parameter.name])
    at = spec.priors[parameter.name].at
    size = log if at is None else values[parameter.exponent] * (log - float(np.log(at)))
    return size.where(np.isfinite(size))
