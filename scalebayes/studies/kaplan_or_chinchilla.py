"""Kaplan's and Chinchilla's laws fitted to the same runs.

Compared by their exponents, coupling, leave-one-out scores, the effect of counting parameters
without embeddings, and their compute-optimal allocations for known models.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr

from scalebayes.comparison.compare import Comparison, compare, comparison_table
from scalebayes.comparison.coupling import Coupling, coupling
from scalebayes.costs.cost import SIX_ND
from scalebayes.datasets import allocations, known_models
from scalebayes.datasets.names import runs_in_words
from scalebayes.decisions.regret import regret
from scalebayes.display.terminal import paragraph
from scalebayes.laws import Law
from scalebayes.posterior.fit import Fit, draw_labels, law_parameters
from scalebayes.posterior.store import save
from scalebayes.queries.frontier import frontier
from scalebayes.queries.predict import predict
from scalebayes.specs.spec import read_model
from scalebayes.studies import folders
from scalebayes.studies.small_models import local_exponent, simulated_exponents
from scalebayes.summaries.intervals import CI_PROB, interval_columns, intervals
from scalebayes.summaries.summary import exponents
from scalebayes.summaries.table import Table
from scalebayes.summaries.text import align, beyond, cell, exponents_table, kind_of_interval
from scalebayes.units import format_quantity

MODELS = ("kaplan", "chinchilla", "coupled", "coupled-drift")
"""Both laws, the law that contains both, and that law with exponents that drift."""

FIGURE = "frontier.png"

LARGE = 1e24
"""A budget in FLOP so large that embeddings are a negligible part of the optimal model."""

COUNTED = {
    "a_opt": "a",
    "total": "a, small models, total N",
    "non_embedding": "a, non-embedding N",
    "at_large": "the same at 1e24 FLOP",
    "loss_non_embedding": "b, small models, non-embedding C",
}
"""Headings of the quantities in `Study.counting`."""

SIMULATED_WITH = ("hoffmann2022", "besiroglu2024")
"""Sources of the published coefficients in `counting`, as Pearce and Song use them."""


@dataclass(frozen=True, eq=False)
class Study:
    """The results of `study`.

    Attributes
    ----------
    fits
        The fits by label.
    comparison
        Their leave-one-out scores.
    couplings
        Summaries of kappa, for the fits whose law has it as a free parameter.
    exponents
        The exponent a of each fit and of the literature (`scalebayes.summaries.summary.exponents`).
    counting
        By source and quantity: the exponents that a study at Kaplan's sizes finds if a law holds.
    owners
        By law, known model and quantity: predicted loss, compute-optimal allocation and regret.
    """

    fits: Mapping[str, Fit]
    comparison: Comparison
    couplings: Mapping[str, Coupling]
    exponents: Table
    counting: Table
    owners: Table


def study(fits: Mapping[str, Fit], ci_prob: float = CI_PROB) -> Study:
    """Return a comparison of fits of several laws with each other and with the literature.

    Parameters
    ----------
    fits
        Two or more fits by label, of laws of N and D to the same runs.
    ci_prob
        Probability of the equal-tailed intervals.

    References
    ----------
    Kaplan et al. (2020), arXiv:2001.08361. Hoffmann et al. (2022), arXiv:2203.15556.
    Besiroglu et al. (2024), arXiv:2404.10102. Pearce and Song (2024), arXiv:2406.12907.
    """
    models = known_models()
    advised = {}
    couplings = {}
    for label, fit in fits.items():
        advised[label] = intervals(advice(fit, models), ci_prob)
        if "kappa" in fit.spec.law_object.parameter_names:
            couplings[label] = coupling(fit)
    owners = Table(pd.concat(advised, names=["law"]))
    owners.attrs = next(iter(advised.values())).attrs
    return Study(
        fits=fits,
        comparison=compare(fits),
        couplings=couplings,
        exponents=exponents(fits, ci_prob),
        counting=counting(fits, ci_prob),
        owners=owners,
    )


def advice(fit: Fit, models: pd.DataFrame) -> xr.Dataset:
    """Return the posterior of the loss, compute-optimal allocation and regret of trained models.

    Parameters
    ----------
    fit
        A fit of a law of N and D.
    models
        N and D by model, as returned by `scalebayes.datasets.known_models`.

    Returns
    -------
    xarray.Dataset
        Dims (chain, draw, target), along target ``model``, N, D, C = 6 N D and ``decades_beyond``:

        - ``loss``: the curve at the model as trained, with the discrepancy if the spec has one;
        - ``N_best``, ``D_best``, ``tokens_per_param``: compute-optimal at the same C;
        - ``regret``: the loss as trained minus the loss at the optimum, both on the curve
          that `frontier` minimises, because two draws of a discrepancy would only add noise.
    """
    N = models["N"].to_numpy()
    D = models["D"].to_numpy()
    trained = predict(fit, N=N, D=D)
    best = frontier(fit, C=SIX_ND.flop(N, D)).rename(budget="target")
    # Assign values without their coordinates along target, to keep those of the models.
    out = trained[["loss"]].assign(
        N_best=best["N"].variable,
        D_best=best["D"].variable,
        tokens_per_param=best["tokens_per_param"].variable,
        regret=regret(fit, N=N, D=D)["excess_loss"].variable,
    )
    return out.assign_coords(model=("target", models.index.to_numpy(str)))


def counting(fits: Mapping[str, Fit], ci_prob: float = CI_PROB) -> Table:
    """Return the exponents that a study at Kaplan's sizes finds if a law of total parameters holds.

    The law is one with published coefficients, or one of the fits.

    Returns
    -------
    pandas.DataFrame
        By source and quantity (`COUNTED`): median and interval. Published coefficients have no
        interval (NaN).
    """
    parts = {}
    spec = read_model("chinchilla")
    for entry in spec.published:
        if entry.source in SIMULATED_WITH:
            values = spec.law_object.from_notation(entry.values)
            parts[entry.label] = _count_published(spec.law_object, values, ci_prob)
    for label, fit in fits.items():
        found = _counted(fit.spec.law_object, law_parameters(fit))
        variables = {name: (("chain", "draw"), value) for name, value in found.items()}
        parts[label] = intervals(xr.Dataset(variables, draw_labels(fit)), ci_prob)
    table = Table(pd.concat(parts, names=["source"]))
    table.attrs = {"ci_prob": ci_prob, "ci_kind": "eti"}
    return table


def _count_published(law: Law, values: Mapping[str, float], ci_prob: float) -> pd.DataFrame:
    """Return the quantities of `COUNTED` for one set of coefficients, without intervals."""
    one_draw = {name: np.array([[value]]) for name, value in values.items()}
    lower, upper = interval_columns(ci_prob)
    rows = {}
    for name, value in _counted(law, one_draw).items():
        rows[name] = {"median": float(value.squeeze()), lower: np.nan, upper: np.nan}
    return pd.DataFrame.from_dict(rows, orient="index").rename_axis("quantity")


def _counted(law: Law, parameters: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Return every quantity of `COUNTED`, shape (chain, draw)."""
    chains = len(next(iter(parameters.values())))
    # One chain at a time, because the simulation has a value for each draw, budget and size.
    simulated = []
    for i in range(chains):
        chain = {name: value[i] for name, value in parameters.items()}
        simulated.append(simulated_exponents(law, chain))
    found = {}
    for name in simulated[0]:
        found[name] = np.stack([one[name] for one in simulated])
    found["a_opt"] = law.derive(parameters)["a_opt"]
    found["at_large"] = local_exponent(law, parameters, LARGE)
    return {name: found[name] for name in COUNTED}


def describe(result: Study) -> str:
    """Return all results of a study as text for a terminal."""
    ci_prob = result.owners.attrs["ci_prob"]
    runs = result.comparison.average().runs
    comparison = comparison_table(result.comparison)
    sentence = paragraph(result.comparison.sentence())
    parts = [
        f"Kaplan or Chinchilla, on the same {runs_in_words(runs)}",
        f"Posterior median with {kind_of_interval(ci_prob)} interval. "
        "The intervals of a law alone do not include\n"
        "its misfit. Those of a law whose exponents drift do: losses, N* and regret are of the "
        "bent law,\n"
        "the exponent a and kappa of the law itself, at the centre of the runs.",
        f"Exponent a of N* ~ C^a\n{exponents_table(result.fits, ci_prob)}",
        f"Leave-one-out\n{comparison}\n{sentence}",
    ]
    parts.extend(paragraph(f"note: {note}") for note in result.comparison.notes)
    parts.extend(paragraph(kappa.sentence(ci_prob)) for kappa in result.couplings.values())
    parts.append(
        "Counting: the exponents of N* ~ C^a and L ~ C^b in models of 800 to 1.6B non-embedding "
        "parameters, if a law\n"
        "of total parameters holds without noise (the design of Pearce and Song 2024)\n"
        f"{_counting_table(result.counting, ci_prob)}"
    )
    parts.append(
        "Known models: the compute-optimal allocation of each law at the compute they used"
    )
    parts.extend(_owners_tables(result.owners, ci_prob))
    parts.append(paragraph(f"In short: {verdict(result)}"))
    return "\n\n".join(parts)


def verdict(result: Study) -> str:
    """Return, in a few sentences, the effects of the law's form and of counting on the exponent."""
    ci_prob = result.owners.attrs["ci_prob"]
    labels = list(result.fits)
    fitted = []
    for label, row in result.counting.xs("a_opt", level="quantity").loc[labels].iterrows():
        fitted.append(f"{label} {cell(row, ci_prob)}")
    published = result.counting["median"].unstack("quantity").drop(index=labels)
    moved = []
    for source, row in published.iterrows():
        change = f"{row['a_opt']:.3f} to {row['non_embedding']:.3f}"
        moved.append(f"{change} (coefficients of {source})")
    best = result.comparison.table.index[0]
    return (
        f"Fitted to the same runs the laws give a = {', '.join(fitted)} "
        f"({kind_of_interval(ci_prob)}); Kaplan et al. printed 0.73, Hoffmann et al. 0.46 to 0.50. "
        "Counting non-embedding parameters in models as small as Kaplan's moves a from "
        f"{' and '.join(moved)}. {best} has the best leave-one-out score."
    )


def _four_decimals(row: Any, ci_prob: float) -> str:
    low, high = (row[name] for name in interval_columns(ci_prob))
    return f"{row['median']:.4f} [{low:.4f}, {high:.4f}]"


def _counting_table(table: Table, ci_prob: float) -> str:
    rows = []
    for source in table.index.unique("source"):
        found = table.xs(source, level="source")
        texts = {"law": str(source)}
        for name, row in found.iterrows():
            texts[COUNTED[str(name)]] = _with_interval(row, ci_prob)
        rows.append(texts)
    return align(rows)


def _with_interval(row: Any, ci_prob: float) -> str:
    """Return a median with its interval, or alone if it has none."""
    has_interval = not np.isnan(row.iloc[1])
    if has_interval:
        return cell(row, ci_prob)
    return f"{row['median']:.4f}"


def _owners_tables(table: Table, ci_prob: float) -> list[str]:
    """Return a table for each known model: the allocation of each law and of published lines."""
    texts = []
    flat = table.reset_index()
    for model, about in flat.groupby("model", sort=False):
        N, D, C, decades = about[["N", "D", "C", "decades_beyond"]].iloc[0]
        title = (
            f"{model}: {format_quantity(N)} parameters on {format_quantity(D)} tokens, "
            f"{format_quantity(C)} FLOP, {beyond(decades)} beyond the largest run"
        )
        rows = []
        for law, part in about.groupby("law", sort=False):
            rows.append(_owner_row(str(law), part, ci_prob))
        no_values = dict.fromkeys(rows[0], "-")
        rows.extend(no_values | row for row in _published_optima(C))
        texts.append(f"{title}\n{align(rows)}")
    return texts


def _owner_row(law: str, part: pd.DataFrame, ci_prob: float) -> dict[str, str]:
    rows = {row["quantity"]: row for _, row in part.iterrows()}
    return {
        "law": law,
        "N*": cell(rows["N_best"], ci_prob, scale=True),
        "D*": cell(rows["D_best"], ci_prob, scale=True),
        "tokens/parameter": cell(rows["tokens_per_param"], ci_prob),
        "loss as trained (curve)": cell(rows["loss"], ci_prob),
        "regret": _four_decimals(rows["regret"], ci_prob),
    }


def _published_optima(C: float) -> list[dict[str, str]]:
    """Return N* at C of the lines that papers print, which have no intervals."""
    rows = []
    for label, line in allocations().dropna(subset=["N_ref"]).iterrows():
        N = line["N_ref"] * (C / line["C_ref"]) ** line["exponent"]
        law = f"{label}, as printed"
        if line["counts"] != "total":
            law += f" ({line['counts']} N)"
        rows.append({"law": law, "N*": format_quantity(N)})
    return rows


def check_output_folder(folder: Path, labels: tuple[str, ...], *, force: bool) -> None:
    """Check that the files of `write` can be written to a folder, before any sampling.

    Raises
    ------
    ScaleBayesError
        When the folder cannot be written, or already has some of the files, unless ``force``.
    """
    names = [f"{label}.nc" for label in labels]
    folders.check_output_folder(folder, [*names, FIGURE], force=force)


def write(result: Study, folder: Path, progress: Callable[[str], None] = print) -> None:
    """Write the fits and a figure of their frontiers to a folder."""
    from scalebayes import plots

    folder.mkdir(parents=True, exist_ok=True)
    written = []
    for label, fit in result.fits.items():
        save(fit, folder / f"{label}.nc")
        written.append(folder / f"{label}.nc")
    plots.save(plots.frontier(result.fits), folder / FIGURE)
    written.append(folder / FIGURE)
    progress(f"wrote {', '.join(map(str, written))}")
