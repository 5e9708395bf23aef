r"""Partial pooling: each group of runs has parameters of its own, scattered around shared ones.

With u the log of what a prior is stated on (a parameter, or for a scale the size in nats of its term at the reference),

    u_gj = mu_j + tau_j z_gj,    z_gj ~ Normal(0, 1),    exp(mu_j) ~ the prior of parameter j,    tau_j ~ its spread's,

for every parameter j of the law, and the same for the log of the noise's sigma. So groups with few runs borrow from the
others, as far as those resemble each other, and a new group is a draw around mu (Gelman and Hill 2007). What else
stands between law and losses (nu, eta) is shared by all groups.

References
----------
Gelman and Hill (2007), Data analysis using regression and multilevel/hierarchical models, ISBN 978-0-521-68689-1.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from scalebayes.data.runs import Runs
from scalebayes.errors import RunsError
from scalebayes.laws import Law
from scalebayes.laws.coordinates import Recovered, log_add
from scalebayes.specs.spec import Spec

type Numeric = Any
"""A float, an array, or a PyTensor variable."""

LEAST_SHARE = 0.02
"""Share of an input in which runs do not differ, so that its log is finite."""
POPULATION, SPREAD = "{}_population", "{}_spread"
"""Names of a pooled parameter's population median and of its spread, in the tree."""


@dataclass(frozen=True)
class Grouping:
    """Names of a table's groups in order of first appearance, and each run's place among them, (runs,)."""

    names: tuple[str, ...]
    of_run: np.ndarray

    def rows(self, place: int) -> np.ndarray:
        """Rows of one group."""
        return np.flatnonzero(self.of_run == place)


def read_grouping(runs: Runs, spec: Spec) -> Grouping:
    """Groups of a table.

    Raises
    ------
    RunsError
        When the table has no column ``group``, or one group only.
    """
    if "group" not in runs.table:
        columns = ", ".join(runs.table.columns)
        raise RunsError(
            f"'{spec.name}' pools runs by {spec.pool}, but {runs.name} has no group: its columns are {columns}. Name "
            "the column that says it: read_runs(..., group='COLUMN'), or --map group=COLUMN"
        )
    groups = runs.table["group"].astype(str)
    names = tuple(groups.unique())
    if len(names) == 1:
        raise RunsError(
            f"'{spec.name}' pools runs by {spec.pool}, but all {len(runs)} runs of {runs.name} are of one, {names[0]}: "
            "there is nothing to pool. Fit it with a model without pool, or add runs of another"
        )
    return Grouping(names, groups.map({name: i for i, name in enumerate(names)}).to_numpy())


def pooled_names(spec: Spec) -> tuple[str, ...]:
    """Parameters of which each group has its own: those of the law, and sigma."""
    return (*spec.law_object.parameter_names, "sigma")


def shared_names(spec: Spec) -> tuple[str, ...]:
    """Parameters that all groups share: the noise's tail, the discrepancy's amplitude."""
    return tuple(name for name in spec.scatter_names if name != "sigma")


def variable_names(spec: Spec) -> tuple[str, ...]:
    """Names in the tree of a fit; of a pooled one by group, shared, population medians, spreads."""
    if spec.pool is None:
        return (*spec.law_object.parameter_names, *spec.scatter_names)
    names = pooled_names(spec)
    return (*names, *shared_names(spec), *map(POPULATION.format, names), *map(SPREAD.format, names))


def to_sizes(
    logs: Mapping[str, Numeric], law: Law, log_at: Mapping[str, Numeric]
) -> dict[str, Numeric]:
    """Logs of what priors are stated on from logs of parameters; `log_at` holds the log references of the scales."""
    at = _scales(law, log_at)
    return {
        n: np.exp(logs[at[n][0]]) * (logs[n] - at[n][1]) if n in at else logs[n]
        for n in law.parameter_names
    }


def from_sizes(
    sizes: Mapping[str, Numeric], law: Law, log_at: Mapping[str, Numeric]
) -> dict[str, Numeric]:
    """The inverse of `to_sizes`."""
    at = _scales(law, log_at)
    return {
        n: at[n][1] + sizes[n] * np.exp(-sizes[at[n][0]]) if n in at else sizes[n]
        for n in law.parameter_names
    }


def _scales(law: Law, log_at: Mapping[str, Numeric]) -> dict[str, tuple[str, Numeric]]:
    """Exponent and log reference of the parameters whose priors are on the size of a term."""
    return {
        p.name: (p.exponent, log_at[p.name])
        for p in law.parameters
        if p.exponent and p.name in log_at
    }


def turn(z: Mapping[str, Numeric], log_shares: Mapping[str, Numeric]) -> dict[str, Numeric]:
    """Natural coordinates with the slope along the runs, c_N G_N + c_D G_D, and log(n/d) in place of G_N and G_D.

    Runs along a line, D in proportion to N or all with one D, show the slope along it and nothing of the ratio: in
    these coordinates what they show is straight. The ratio is that of the terms at the centre: of a law with kappa
    log(G_N/G_D) is delta + log(n/d)/kappa, and would scatter the more the smaller kappa is. `log_shares` are the logs
    of c by input; a law with fewer than two slopes among its coordinates stays as it is.
    """
    slopes = _slopes(z, log_shares)
    if len(slopes) != 2:
        return dict(z)
    one, other = slopes
    ratio = np.exp(z.get("log_kappa", 0.0)) * (z[one] - z[other] - z.get("delta", 0.0))
    return {**z, one: log_add(*(share + z[slope] for slope, share in slopes.items())), other: ratio}


def turn_back(z: Mapping[str, Numeric], log_shares: Mapping[str, Numeric]) -> Recovered:
    """The inverse of `turn`, and the log of its determinant, 1/kappa."""
    slopes = _slopes(z, log_shares)
    if len(slopes) != 2:
        return dict(z), 0.0
    (one, of_one), (other, of_other) = slopes.items()
    log_kappa = z.get("log_kappa", 0.0)
    ratio = z.get("delta", 0.0) + z[other] * np.exp(-log_kappa)
    second = z[one] - log_add(of_one + ratio, of_other)
    return {**z, one: second + ratio, other: second}, -log_kappa


def _slopes(z: Mapping[str, Numeric], log_shares: Mapping[str, Numeric]) -> dict[str, Numeric]:
    """Log shares by slope: not every input has one (unique tokens do not, nor do experts)."""
    return {f"log_G_{x}": share for x, share in log_shares.items() if f"log_G_{x}" in z}


def log_shares_of(log_inputs: Mapping[str, np.ndarray]) -> dict[str, float]:
    """Logs of the shares c of the inputs in the direction in which runs lie, each at least some percent."""
    x = np.column_stack([values - values.mean() for values in log_inputs.values()])
    _, axes = np.linalg.eigh(x.T @ x)
    shares = np.maximum(np.abs(axes[:, -1]), LEAST_SHARE)
    return dict(zip(log_inputs, np.log(shares / shares.sum()), strict=True))


def references(spec: Spec) -> dict[str, float]:
    """Logs of the inputs at which priors of scales are stated."""
    return {
        name: float(np.log(prior.at)) for name, prior in spec.priors.items() if prior.at is not None
    }


def pooled_prior_draws(spec: Spec, groups: int, draws: int, seed: int = 0) -> dict[str, np.ndarray]:
    """Draws of everything from the prior of a pooled spec: by group (draws, groups), the others (draws,)."""
    rng = np.random.default_rng(seed)
    medians = {name: prior.draw(rng, draws) for name, prior in spec.priors.items()}
    spreads = {name: prior.draw(rng, draws) for name, prior in spec.spread.items()}
    sizes = {name: np.log(medians[name]) for name in pooled_names(spec)}
    out = {name: medians[name] for name in shared_names(spec)}
    out |= {SPREAD.format(name): values for name, values in spreads.items()}
    out |= {POPULATION.format(name): values for name, values in _parameters(sizes, spec).items()}
    z = {name: rng.standard_normal((draws, groups)) for name in sizes}
    return out | _parameters(
        {n: sizes[n][:, None] + spreads[n][:, None] * z[n] for n in sizes}, spec
    )


def around_population(
    values: Mapping[str, np.ndarray], spec: Spec, rng: np.random.Generator
) -> dict[str, np.ndarray]:
    """One group's parameters for each draw of population medians and spreads, exp(mu + tau z)."""
    medians = {name: np.log(values[POPULATION.format(name)]) for name in pooled_names(spec)}
    sizes = to_sizes(medians, spec.law_object, references(spec)) | {"sigma": medians["sigma"]}
    drawn = {
        n: u + values[SPREAD.format(n)] * rng.standard_normal(u.shape) for n, u in sizes.items()
    }
    return _parameters(drawn, spec)


def _parameters(sizes: Mapping[str, np.ndarray], spec: Spec) -> dict[str, np.ndarray]:
    """Parameters from logs of what priors are stated on."""
    logs = from_sizes(sizes, spec.law_object, references(spec)) | {"sigma": sizes["sigma"]}
    with np.errstate(
        over="ignore"
    ):  # a scale whose exponent is almost zero is infinite for every purpose
        return {name: np.exp(value) for name, value in logs.items()}
