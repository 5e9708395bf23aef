"""Diagnostics of a fit: convergence of the sampler, and how well the runs identify the law.

The convergence checks together are called the gate in the code: a fit passes it when none fails.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import xarray as xr

from scalebayes.data.findings.trainings import replicate_messages, shared_training_messages
from scalebayes.data.tables.repeats import is_rounded
from scalebayes.display import html
from scalebayes.display.terminal import wrap
from scalebayes.messages import Message
from scalebayes.posterior.fit import SAMPLED, Fit, draws
from scalebayes.posterior.stated import (
    log_stated,
    normalised_draws,
    normalised_tree,
    stated_spec,
)
from scalebayes.specs.sweeps import SHIFTS
from scalebayes.specs.trainings import OFFSETS
from scalebayes.units import format_quantity
from scalebayes.utils.kinds import by_kind
from scalebayes.utils.progress import shows_progress

if TYPE_CHECKING:
    import pandas as pd

MAX_R_HAT = 1.01
"""Largest R-hat that passes (Vehtari et al. 2021)."""
MIN_ESS = 400
"""Smallest bulk and tail effective sample size that passes (Vehtari et al. 2021)."""
MIN_E_BFMI = 0.3
"""Smallest Bayesian fraction of missing information of the energy that passes (Betancourt 2016)."""
FEW_RUNS = 15
"""Tables with fewer runs are warned of."""
SAME_VALUE = 0.01
"""Range of the log of an input below which all runs have the same value of it: one percent."""
COLLINEAR = 0.99
"""Correlation of log N and log D above which the terms of N and D are not told apart."""
NARROW_COMPUTE = 1.0
"""Orders of magnitude of compute that runs should span at least."""
FAR_OFF = 10.0
"""Distance from the fitted law, in typical residuals, at which a row is named as an outlier."""
NORMAL_MEDIAN = 0.6745
"""Median of the absolute value of a standard Normal."""
PRIOR_SHARE = 0.8
"""Ratio of the posterior's log standard deviation to the prior's above which the prior decides."""
ROWS_NAMED = 5
"""Number of rows that a message names."""


@dataclass(frozen=True)
class Diagnosis:
    """Result of the convergence checks and of the checks of the runs.

    Attributes
    ----------
    messages
        Findings, failures first.
    table
        R-hat, bulk and tail effective sample size (ESS) by parameter.
    """

    messages: tuple[Message, ...]
    table: pd.DataFrame

    @property
    def ok(self) -> bool:
        """Whether all convergence checks passed: no message of level "failed"."""
        return not any(message.level == "failed" for message in self.messages)

    def __str__(self) -> str:
        return "\n".join([self._verdict(), *map(wrap, self.messages)])

    __repr__ = __str__

    def _repr_html_(self) -> str:
        return html.panel(self._verdict(), html.entries(self.messages), html.table(self.table))

    def _verdict(self) -> str:
        verdict = "passed" if self.ok else "FAILED"
        r_hat = self.table["r_hat"].max()
        ess = self.table[["ess_bulk", "ess_tail"]].to_numpy().min()
        return f"Convergence checks {verdict}: R-hat at most {r_hat:.3f}, ESS at least {ess:.0f}."


@shows_progress("diagnostics")
@by_kind
def diagnose(fit: Fit) -> Diagnosis:
    """Return the convergence checks (the gate) and warnings where the runs do not identify the law.

    The convergence checks: R-hat <= 1.01, bulk and tail ESS >= 400, no divergent transition, no
    trajectory cut short at the largest tree depth, E-BFMI >= 0.3, no NaN, sampling not interrupted.
    Warnings: ONE_N, ONE_D, D_FOLLOWS_N, NARROW_COMPUTE, FEW_RUNS, GROUPS_POOLED, REPEATED_RUNS,
    FAR_OFF, PRIOR_DECIDES, and the conflicts NOT_MONOTONE, PRIOR_CONFLICT and ONE_SIDED; of a
    pooled fit THIN_GROUPS, SPREAD_FROM_PRIOR. Notes: SHARED_TRAINING, REPLICATES.

    References
    ----------
    Vehtari et al. (2021), doi:10.1214/20-BA1221. Betancourt (2016), arXiv:1604.00695.

    Examples
    --------
    >>> print(sb.diagnose(sb.load("pooled.nc")))
    Convergence checks passed: R-hat at most 1.003, ESS at least 1376.
      warning [SPREAD_FROM_PRIOR] 2 groups say little about how far groups differ in L_inf, N_c,
          alpha_N, D_c, alpha_D: those spreads depend on their priors
    """
    gate = convergence(normalised_tree(fit), partial=fit.partial)
    if fit.groups:
        return Diagnosis((*gate.messages, *_group_warnings(fit)), gate.table)
    if fit.view is not None and fit.view.is_new:
        return gate  # a new group has no runs to check
    warnings = [
        *_input_warnings(fit),
        *_table_warnings(fit),
        *_row_warnings(fit),
        *_prior_warnings(fit),
        *fit.conflicts,
    ]
    return Diagnosis((*gate.messages, *warnings), gate.table)


def convergence(tree: xr.DataTree, *, partial: bool = False) -> Diagnosis:
    """Return the convergence checks of a tree with ArviZ's groups posterior and sample_stats.

    Parameters
    ----------
    tree
        Posterior draws and sampler statistics.
    partial
        Whether sampling was interrupted, which fails.
    """
    posterior = by_scalar(tree["posterior"].to_dataset())
    for drawn in (SAMPLED, OFFSETS, SHIFTS):
        if drawn in tree.children:
            posterior = posterior.merge(tree[drawn].to_dataset())
    table = _convergence_table(posterior)
    failures = [*_parameter_failures(posterior, table), *_sampler_failures(tree)]
    if partial:
        text = "sampling was interrupted: these are the draws made until then"
        failures.append(Message("PARTIAL", "failed", text))
    return Diagnosis(tuple(failures), table)


def _convergence_table(posterior: xr.Dataset) -> pd.DataFrame:
    """Return R-hat and effective sample sizes by variable; a vector has its worst entry's."""
    import pandas as pd

    from scalebayes.utils.arviz import azs

    # The variance of a chain that never moves is zero. Its NaN is reported as STUCK and UNKNOWN.
    with np.errstate(invalid="ignore", divide="ignore"):
        r_hat = azs.rhat(posterior)
        ess_bulk = azs.ess(posterior, method="bulk")
        ess_tail = azs.ess(posterior, method="tail")
    rows = {}
    for name in posterior:
        rows[name] = {
            "r_hat": float(np.max(r_hat[name])),
            "ess_bulk": float(np.min(ess_bulk[name])),
            "ess_tail": float(np.min(ess_tail[name])),
        }
    return pd.DataFrame.from_dict(rows, orient="index")


def by_scalar(posterior: xr.Dataset) -> xr.Dataset:
    """Return draws with each group's parameter as a variable of its own, such as L_inf[pythia]."""
    scalars: dict[str, xr.DataArray] = {}
    for name, values in posterior.data_vars.items():
        if "group" not in values.dims:
            scalars[str(name)] = values
            continue
        for group in values["group"].values:
            scalars[f"{name}[{group}]"] = values.sel(group=group, drop=True)
    return xr.Dataset(scalars)


def _parameter_failures(posterior: xr.Dataset, table: pd.DataFrame) -> Iterator[Message]:
    """Yield failures of the draws of each parameter."""
    not_finite, stuck = [], []
    for name, values in posterior.data_vars.items():
        if not np.isfinite(values).all():
            not_finite.append(str(name))
        if (values.max("draw") == values.min("draw")).any():
            stuck.append(str(name))
    if not_finite:
        text = f"draws of {', '.join(not_finite)} are not finite"
        yield Message("NAN", "failed", text)
    if stuck:
        yield Message("STUCK", "failed", f"a chain never moves in {', '.join(stuck)}")

    # Statistics that cannot be computed pass here, because they are reported as UNKNOWN below.
    known = table.fillna({"r_hat": -np.inf, "ess_bulk": np.inf, "ess_tail": np.inf})
    r_hat = known["r_hat"]
    if r_hat.max() > MAX_R_HAT:
        text = (
            f"chains disagree: R-hat is {r_hat.max():.3f} in {r_hat.idxmax()}; "
            f"at most {MAX_R_HAT} passes"
        )
        yield Message("R_HAT", "failed", text)
    for part in ("bulk", "tail"):
        ess = known[f"ess_{part}"]
        if ess.min() < MIN_ESS:
            text = (
                f"{ess.idxmin()} has {ess.min():.0f} effective draws in the {part}; "
                f"at least {MIN_ESS} pass"
            )
            yield Message(f"ESS_{part.upper()}", "failed", text)
    unknown = table.index[table.isna().any(axis=1)]
    if len(unknown):
        text = (
            f"R-hat or ESS of {', '.join(unknown)} cannot be computed: "
            "that takes two chains of four finite draws"
        )
        yield Message("UNKNOWN", "failed", text)


def _sampler_failures(tree: xr.DataTree) -> Iterator[Message]:
    """Yield failures of the statistics that the sampler recorded."""
    from scalebayes.utils.arviz import azs

    stats = tree["sample_stats"].to_dataset()
    divergences = int(stats["diverging"].sum())
    if divergences:
        noun = "transition" if divergences == 1 else "transitions"
        text = f"{divergences} divergent {noun}: the sampler may have missed part of the posterior"
        yield Message("DIVERGENCES", "failed", text)
    saturated = int(stats["reached_max_treedepth"].sum())
    if saturated:
        share = saturated / stats["reached_max_treedepth"].size
        text = f"{saturated} trajectories ({share:.1%}) were cut short at the largest tree depth"
        yield Message("TREE_DEPTH", "failed", text)
    with np.errstate(invalid="ignore", divide="ignore"):
        bfmi = float(np.min(azs.bfmi(stats["energy"].values)))
    if np.isnan(bfmi) or bfmi < MIN_E_BFMI:
        text = (
            f"the energy is explored too slowly: E-BFMI is {bfmi:.2f} in one chain; "
            f"at least {MIN_E_BFMI} passes"
        )
        yield Message("E_BFMI", "failed", text)


def _input_warnings(fit: Fit) -> Iterator[Message]:
    """Yield warnings of inputs whose effect the runs do not identify."""
    runs, law = fit.runs, fit.spec.law_object
    for x in law.inputs:
        values = getattr(runs, x)
        if np.ptp(np.log(values)) >= SAME_VALUE:
            continue
        if f"alpha_{x}" in law.parameter_names:
            unknown = f"the exponent alpha_{x}"
        else:
            unknown = f"what {x} does"
        value = format_quantity(values[0])
        text = f"all runs have {x} = {value}: {unknown} comes from the prior alone"
        yield Message(f"ONE_{x}", "warning", text)
    if law.inputs == ("N", "D"):
        log_N, log_D = np.log(runs.N), np.log(runs.D)
        both_vary = np.ptp(log_N) > SAME_VALUE and np.ptp(log_D) > SAME_VALUE
        if both_vary and np.corrcoef(log_N, log_D)[0, 1] > COLLINEAR:
            text = (
                f"D follows N (correlation of their logs above {COLLINEAR}): "
                "the two terms cannot be told apart"
            )
            yield Message("D_FOLLOWS_N", "warning", text)


def _table_warnings(fit: Fit) -> Iterator[Message]:
    """Yield warnings of the number of runs, their groups and their range of compute."""
    runs = fit.runs
    if len(runs) < FEW_RUNS:
        text = (
            f"{len(runs)} runs: fewer than {FEW_RUNS} say little about "
            f"{len(fit.spec.law_object.parameters)} parameters"
        )
        yield Message("FEW_RUNS", "warning", text)
    if not fit.spec.is_pooled and "group" in runs.table:
        groups = runs.table["group"].nunique()
        if groups > 1:
            text = f"{groups} groups are fitted as one: nothing in this law tells them apart"
            yield Message("GROUPS_POOLED", "warning", text)
    if "C" in runs.table:
        span = np.ptp(np.log10(runs.C))
        if span < NARROW_COMPUTE:
            text = f"the runs span {span:.1f} orders of magnitude of compute, less than one"
            yield Message("NARROW_COMPUTE", "warning", text)
    if "loss" in runs.table and not fit.spec.is_pooled:
        yield from shared_training_messages(runs)
        yield from replicate_messages(runs, float(draws(fit)["sigma"].median()))


def _group_warnings(fit: Fit) -> Iterator[Message]:
    """Yield warnings of a pooled fit: groups with few runs, and spreads that the prior decides."""
    counts = fit.runs.table["group"].astype(str).value_counts(sort=False)
    needed = len(fit.spec.law_object.parameters) + 1
    thin = [f"{name} ({count})" for name, count in counts.items() if count < needed]
    if thin:
        text = (
            f"groups with fewer than {needed} runs, whose parameters depend much on the other "
            f"groups and the prior: {', '.join(thin)}"
        )
        yield Message("THIN_GROUPS", "warning", text)

    posterior, prior = fit.stored["posterior"].to_dataset(), fit.stored["prior"].to_dataset()
    unknown = []
    for name in fit.spec.spread:
        spread = f"{name}_spread"
        if float(posterior[spread].std() / prior[spread].std()) > PRIOR_SHARE:
            unknown.append(name)
    if unknown:
        text = (
            f"{len(fit.groups)} groups say little about how far groups differ in "
            f"{', '.join(unknown)}: those spreads depend on their priors"
        )
        yield Message("SPREAD_FROM_PRIOR", "warning", text)


def _row_warnings(fit: Fit) -> Iterator[Message]:
    """Yield warnings of duplicate rows and of outliers from the law at the median parameters."""
    columns = [x for x in ("N", "D", "C", "loss", "accuracy") if x in fit.runs.table]
    table = fit.runs.table[columns]
    duplicates = table.index[table.duplicated() & ~_have_replicates(table)]
    if len(duplicates):
        text = f"the same numbers as an earlier run, so they count twice: {_named_runs(duplicates)}"
        yield Message("REPEATED_RUNS", "warning", text)

    # A robust standard deviation: that of Normal residuals with this median absolute value.
    distance = np.abs(residuals_at_median(fit))
    typical = float(np.median(distance)) / NORMAL_MEDIAN
    outliers = table.index[distance > FAR_OFF * typical]
    if len(outliers):
        text = (
            f"more than {FAR_OFF:g} times the typical residual of {typical:.1%} from the curve: "
            f"{_named_runs(outliers)}"
        )
        yield Message("FAR_OFF", "warning", text)


def _have_replicates(table: pd.DataFrame) -> pd.Series:
    """Return whether seeds may agree: runs of the same inputs differ, and responses are rounded."""
    *inputs, response = table.columns
    if not inputs or not all(map(is_rounded, table[response])):
        return table[response].isna()  # all false: responses are numbers
    return table.groupby(inputs)[response].transform("nunique") > 1


def _named_runs(runs: Sequence[object] | pd.Index) -> str:
    """Return the names of the first runs, and how many more there are."""
    names = ", ".join(f"run {name}" for name in runs[:ROWS_NAMED])
    more = len(runs) - ROWS_NAMED
    if more > 0:
        return f"{names} and {more} more"
    return names


def residuals_at_median(fit: Fit) -> np.ndarray:
    """Return log loss minus log law at the median of each parameter, shape (runs,).

    Where the spec has a discrepancy, its expectation at the runs is subtracted too.
    """
    law, median = fit.spec.law_object, draws(fit).median()
    parameters = {name: float(median[name]) for name in law.parameter_names}
    residual = law.log_residual(fit.runs, parameters)
    return residual - fit.spec.observation.expected_at_runs(fit.stored, fit.runs, residual)


def _prior_warnings(fit: Fit) -> Iterator[Message]:
    """Yield warnings of parameters whose posterior is nearly as wide as their prior."""
    posterior, prior = normalised_draws(fit), normalised_draws(fit, "prior")
    spec = stated_spec(fit)
    for parameter in spec.law_object.parameters:
        posterior_width = log_stated(posterior, parameter.name, spec).std()
        prior_width = log_stated(prior, parameter.name, spec).std()
        ratio = float(posterior_width / prior_width)
        if ratio > PRIOR_SHARE:
            text = (
                f"{parameter.name} is {ratio:.0%} as wide as its prior (log scale): "
                "the runs say little about it"
            )
            yield Message("PRIOR_DECIDES", "warning", text)
