"""The table of the posterior of a fit of curves, with published values."""

from __future__ import annotations

import numpy as np

from scalebayes.curves.curve_fit import CurveFit
from scalebayes.posterior.diagnostics import by_scalar
from scalebayes.summaries.caveats import failure_messages
from scalebayes.summaries.intervals import CI_PROB
from scalebayes.summaries.summary import table_of_draws
from scalebayes.summaries.table import Table


def summarise(fit: CurveFit, ci_prob: float = CI_PROB) -> Table:
    """Return the posterior of the parameters as the paper writes the law, with published values.

    Rows and columns are those of `scalebayes.summary`. Published values stand beside each group;
    they are of the authors' runs, whose learning rates are in the same unit: one a step.
    """
    table = table_of_draws(by_scalar(fit.stored["posterior"].to_dataset()), ci_prob)
    for published in fit.model.published:
        values = []
        for row in table.index:
            name = str(row).partition("[")[0]
            values.append(published.values.get(name, np.nan))
        table[published.label] = values
    if fit.gate_failures:
        table.attrs["caveats"] = failure_messages(fit.model.name, fit.gate_failures)
    return table
