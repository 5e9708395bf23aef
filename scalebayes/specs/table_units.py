r"""The normalised table: the units in which a law is sampled, whatever those of the user.

Inputs are divided by their geometric means and the loss by its own, so the table's centre and its
typical loss are 1. The spec is stated in the same units, and the draws are rescaled afterwards
(`scalebayes.laws.Law.rescale`). Multiplying a column of the table by a constant leaves the
normalised table as it is, to the last bit, and with it the draws, when all priors are relative to
the table.

That takes rounded distances from the centre (`scalebayes.data.distances`).
"""

from __future__ import annotations

import weakref
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr

from scalebayes.data.distances import log_centres, log_distance, log_distances
from scalebayes.data.runs import Runs
from scalebayes.laws import Law, Parameter
from scalebayes.laws.rescaling import COUNTS, LOSS, Units
from scalebayes.specs.parts import Prior
from scalebayes.specs.population import POPULATION
from scalebayes.specs.spec import Spec


@dataclass(frozen=True)
class Normalised:
    """A table and a spec in the units in which a law is sampled.

    Attributes
    ----------
    runs
        The normalised table: the law's inputs, the response, and the group if there is one.
    spec
        The spec with every prior stated in the units of that table, as numbers.
    units
        The constants that bring normalised values back to the units of the user's table.
    """

    runs: Runs
    spec: Spec
    units: Units


KEPT: weakref.WeakKeyDictionary[Runs, dict[str, Normalised]] = weakref.WeakKeyDictionary()
"""Normalised tables and specs by the user's table and the hash of the spec."""


def normalise(runs: Runs, spec: Spec) -> Normalised:
    """Return a table and a spec in the units in which the law is sampled.

    They are kept as long as the table is alive, and with them what is known of the normalised
    table, such as the basis of a discrepancy.
    """
    of_table = KEPT.setdefault(runs, {})
    if spec.hash not in of_table:
        units = table_units(runs, spec)
        normalised_runs = _normalised_runs(runs, spec)
        of_table[spec.hash] = Normalised(normalised_runs, normalised_spec(spec, units), units)
    return of_table[spec.hash]


def table_units(runs: Runs, spec: Spec) -> Units:
    """Return the constants by which a table is divided to normalise it.

    Numbers of experts are not divided. Nor is anything where the law has constants of its own, or
    inputs where a prior is on a value at a reference that the law contains.
    """
    law = spec.law_object
    log_centre = log_centres(runs, law.inputs)
    log_inputs = {}
    for x in law.inputs:
        log_inputs[x] = 0.0
        if _divides_input(spec, x):
            log_inputs[x] = log_centre[x] - _log_reference(law, x)
    log_response = 0.0
    if _divides_loss(law):
        log_response = float(np.mean(np.log(runs.loss)))
    return Units(log_inputs, log_response)


def normalised_spec(spec: Spec, units: Units) -> Spec:
    """Return a spec with every prior of the law stated in normalised units, as numbers."""
    law = spec.law_object
    priors = dict(spec.priors)
    for parameter in law.parameters:
        priors[parameter.name] = _in_units(priors[parameter.name], parameter, law, units)
    return spec.model_copy(update={"priors": priors})


def to_table(values: xr.Dataset, spec: Spec, units: Units) -> xr.Dataset:
    """Return draws in the units of the table, from draws in normalised units.

    Values are by the names in a fit's tree: the law's parameters, and those of the population of a
    pooled spec. Other variables stay.
    """
    law = spec.law_object
    changed: dict[str, Any] = law.rescale(_by_name(values, law.parameter_names), units)
    population = {name: POPULATION.format(name) for name in law.parameter_names}
    if population[law.parameter_names[0]] in values:
        medians = {name: values[label] for name, label in population.items()}
        for name, value in law.rescale(medians, units).items():
            changed[population[name]] = value
    return values.assign(changed)


def to_normalised(values: xr.Dataset, spec: Spec, units: Units) -> xr.Dataset:
    """Return draws in normalised units, from draws in the units of the table."""
    return to_table(values, spec, units.inverse())


def _by_name(values: xr.Dataset, names: tuple[str, ...]) -> dict[str, xr.DataArray]:
    return {name: values[name] for name in names}


def _normalised_runs(runs: Runs, spec: Spec) -> Runs:
    law = spec.law_object
    columns: dict[str, Any] = {}
    for x, distance in log_distances(runs, law.inputs).items():
        columns[x] = getattr(runs, x)
        if _divides_input(spec, x):
            columns[x] = np.exp(distance + _log_reference(law, x))
    if "P" in columns:  # the table holds its log, the loss
        columns["loss"] = np.log(columns.pop("P"))
    if law.response != LOSS:
        columns["accuracy"] = runs.table["accuracy"]
    elif _divides_loss(law):
        columns["loss"] = np.exp(log_distance(runs.loss, runs.loss))
    else:
        columns["loss"] = runs.loss
    for label in ("group", "training"):
        if label in runs.table:
            columns[label] = runs.table[label]
    table = pd.DataFrame(columns, index=runs.table.index)
    return Runs(table, runs.name, metric=runs.metric)


def _divides_input(spec: Spec, x: str) -> bool:
    """Return whether normalisation divides an input by its centre."""
    law = spec.law_object
    if x in COUNTS or not law.has_free_units:
        return False
    at_reference = [p.name for p in law.parameters if p.at_reference]
    return all(spec.priors[name].is_relative for name in at_reference)


def _divides_loss(law: Law) -> bool:
    """Return whether normalisation divides the response by its typical value."""
    return law.response == LOSS and law.has_free_units


def _log_reference(law: Law, x: str) -> float:
    """Return the log of what an input is at the centre of a normalised table."""
    return float(np.log(law.reference.get(x, 1.0)))


def _in_units(prior: Prior, parameter: Parameter, law: Law, units: Units) -> Prior:
    """Return the prior of one parameter stated in normalised units."""
    x = parameter.scale_of
    if prior.is_relative:
        # At the centre of a normalised table the typical loss is 1, and so is every input, or it
        # is the reference that the law contains.
        centre = None if x is None else law.reference.get(x, 1.0)
        return prior.model_copy(update={"at": centre})
    changes: Mapping[str, Any] = {}
    if x is not None and prior.log_at is not None:
        at = float(np.exp(prior.log_at - units.log_inputs[x]))
        changes = _scaled(prior, -units.log_response) | {"at": at}
    elif parameter.unit == LOSS:
        changes = _scaled(prior, -units.log_response)
    elif parameter.unit is not None:
        changes = _scaled(prior, -units.log_inputs[parameter.unit])
    return prior.model_copy(update=changes)


def _scaled(prior: Prior, log_factor: float) -> dict[str, Any]:
    """Return the arguments of a prior's distribution, of the variable times a factor."""
    return asdict(prior.distribution.scaled(float(np.exp(log_factor))))
