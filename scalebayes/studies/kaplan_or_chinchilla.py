"""Kaplan or Chinchilla, on the same points: exponents, coupling, counting, and what each would have told to whom."""

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
from scalebayes.decisions.regret import regret
from scalebayes.display.terminal import paragraph
from scalebayes.errors import ScaleBayesError
from scalebayes.laws import Law
from scalebayes.posterior.fit import Fit, draw_labels, law_parameters
from scalebayes.posterior.store import save
from scalebayes.queries.frontier import frontier
from scalebayes.queries.predict import predict
from scalebayes.specs.spec import read_model
from scalebayes.studies.small_models import local_exponent, simulated_exponents
from scalebayes.summaries.intervals import CI_PROB, interval_columns, intervals
from scalebayes.summaries.summary import exponents
from scalebayes.summaries.table import Table
from scalebayes.summaries.text import align, beyond, cell, exponents_table, kind_of_interval
from scalebayes.units import format_quantity

MODELS = ("kaplan", "chinchilla", "coupled", "coupled-discrepancy")
"""Both laws, the one that holds them, and that one with a discrepancy, whose intervals know that the law is off."""
FIGURE = "frontier.png"
LARGE = 1e24
"""FLOP at which embeddings no longer matter."""
COUNTED = {
    "a_opt": "a",
    "total": "a, small models, total N",
    "non_embedding": "a, non-embedding N",
    "at_large": "the same at 1e24 FLOP",
    "loss_non_embedding": "b, small models, non-embedding C",
}


@dataclass(frozen=True, eq=False)
class Study:
    """What `study` found.

    Attributes
    ----------
    fits
        By label.
    comparison
        Their leave-one-out scores.
    couplings
        Kappa read out, of the fits whose law leaves it free.
    exponents
        The exponent a of each fit beside those of the literature (`scalebayes.summaries.summary.exponents`).
    counting : pandas.DataFrame
        By source and quantity: what a study at Kaplan's sizes would find if that law were true.
    owners : pandas.DataFrame
        By law, known model and quantity: what the law says of the model as trained, and what it would have advised.
    """

    fits: Mapping[str, Fit]
    comparison: Comparison
    couplings: Mapping[str, Coupling]
    exponents: Table
    counting: Table
    owners: Table


def study(fits: Mapping[str, Fit], ci_prob: float = CI_PROB) -> Study:
    """Put fits of several laws to the same runs beside each other and beside the literature.

    Parameters
    ----------
    fits
        By label; laws of N and D of the same runs, two or more.
    ci_prob
        Probability of the equal-tailed intervals.

    References
    ----------
    Kaplan et al. (2020), arXiv:2001.08361. Hoffmann et al. (2022), arXiv:2203.15556. Besiroglu et al. (2024),
    arXiv:2404.10102. Pearce and Song (2024), arXiv:2406.12907.
    """
    models = known_models()
    told = {label: intervals(advice(fit, models), ci_prob) for label, fit in fits.items()}
    free = {
        label: coupling(fit)
        for label, fit in fits.items()
        if "kappa" in fit.spec.law_object.parameter_names
    }
    owners = Table(pd.concat(told, names=["law"]))
    owners.attrs = next(iter(told.values())).attrs
    return Study(
        fits, compare(fits), free, exponents(fits, ci_prob), counting(fits, ci_prob), owners
    )


def advice(fit: Fit, models: pd.DataFrame) -> xr.Dataset:
    """Posterior of what a law says of trained models: their loss, the optimum of their compute, what they missed by.

    Parameters
    ----------
    fit
        A fit of a law of N and D.
    models
        N and D by model, as `scalebayes.datasets.known_models` gives them.

    Returns
    -------
    xarray.Dataset
        Dims (chain, draw, target), along target ``model``, N, D, C = 6 N D and ``decades_beyond``: ``loss``, the curve
        at the model as trained, discrepancy included where the spec carries one; ``N_best``, ``D_best`` and
        ``tokens_per_param``, compute-optimal at the same C; and ``regret``, the loss as trained less that at the
        optimum, in nats, of the curve that `frontier` minimises: two draws of a discrepancy would only add noise to it.
    """
    N, D = models["N"].to_numpy(), models["D"].to_numpy()
    trained = predict(fit, N=N, D=D)
    best = frontier(fit, C=SIX_ND.flop(N, D)).rename(budget="target")
    # Values alone: both carry coordinates of their own along target, those of the models are the ones to keep.
    out = trained[["loss"]].assign(
        N_best=best["N"].variable,
        D_best=best["D"].variable,
        tokens_per_param=best["tokens_per_param"].variable,
        regret=regret(fit, N=N, D=D)["nats_lost"].variable,
    )
    return out.assign_coords(model=("target", models.index.to_numpy(str)))


def counting(fits: Mapping[str, Fit], ci_prob: float = CI_PROB) -> Table:
    """What a study at Kaplan's sizes finds when a law of total parameters is true: published laws, and each fit.

    Returns
    -------
    pandas.DataFrame
        By source and quantity (`COUNTED`): median and interval; published coefficients have no interval (NaN).
    """
    lower, upper = interval_columns(ci_prob)
    parts = {}
    spec = read_model("chinchilla")
    for entry in spec.published:
        if entry.source in ("hoffmann2022", "besiroglu2024"):
            values = spec.law_object.from_notation(entry.values)
            found = _counted(
                spec.law_object, {name: np.array([[value]]) for name, value in values.items()}
            )
            rows = {name: (float(value.squeeze()), np.nan, np.nan) for name, value in found.items()}
            part = pd.DataFrame.from_dict(rows, orient="index", columns=["median", lower, upper])
            parts[entry.label] = part.rename_axis("quantity")
    for label, fit in fits.items():
        found = _counted(fit.spec.law_object, law_parameters(fit))
        drawn = xr.Dataset({k: (("chain", "draw"), v) for k, v in found.items()}, draw_labels(fit))
        parts[label] = intervals(drawn, ci_prob)
    table = Table(pd.concat(parts, names=["source"]))
    table.attrs = {"ci_prob": ci_prob, "ci_kind": "eti"}
    return table


def _counted(law: Law, parameters: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Every quantity of `COUNTED`, (chain, draw); chain by chain, to spare memory."""
    chains = [
        {k: v[i] for k, v in parameters.items()}
        for i in range(len(next(iter(parameters.values()))))
    ]
    small = [simulated_exponents(law, chain) for chain in chains]
    found = {name: np.stack([one[name] for one in small]) for name in small[0]}
    found |= {
        "a_opt": law.derive(parameters)["a_opt"],
        "at_large": local_exponent(law, parameters, LARGE),
    }
    return {name: found[name] for name in COUNTED}


def describe(result: Study) -> str:
    """Say everything a study found, as text for a terminal."""
    ci_prob = result.owners.attrs["ci_prob"]
    runs = result.comparison.average().runs
    parts = [
        f"Kaplan or Chinchilla, on the same {len(runs)} runs of {runs.name}",
        f"Posterior median with {kind_of_interval(ci_prob)} interval. A law alone does not know how far it is off;\n"
        "a spec with a discrepancy does: its losses, N* and regret are those of the curve, both together.\n"
        "The exponent a and kappa are always those of the law.",
        f"Exponent a of N* ~ C^a\n{exponents_table(result.fits, ci_prob)}",
        f"Leave-one-out\n{comparison_table(result.comparison)}\n{paragraph(result.comparison.sentence())}",
        *(paragraph(f"note: {note}") for note in result.comparison.notes),
        *(paragraph(one.sentence(ci_prob)) for one in result.couplings.values()),
        "Counting: exponents of N* ~ C^a and L ~ C^b that models of 800 to 1.6B non-embedding parameters show where\n"
        "a law of total parameters holds without noise (the design of Pearce and Song 2024)\n"
        f"{_counting_table(result.counting, ci_prob)}",
        "What each law would have told the owners of known models, at the compute they spent",
        *_owners_tables(result.owners, ci_prob),
        paragraph(f"In short: {verdict(result)}"),
    ]
    return "\n\n".join(parts)


def verdict(result: Study) -> str:
    """Say in a few sentences to quote what the form of a law does to the exponent, and what counting does."""
    ci_prob = result.owners.attrs["ci_prob"]
    laws = result.counting.xs("a_opt", level="quantity").loc[list(result.fits)]
    given = ", ".join(f"{label} {cell(row, ci_prob)}" for label, row in laws.iterrows())
    counted = result.counting["median"].unstack("quantity").drop(index=list(result.fits))
    moved = " and ".join(
        f"{row['a_opt']:.3f} to {row['non_embedding']:.3f} (coefficients of {source})"
        for source, row in counted.iterrows()
    )
    best = result.comparison.table.index[0]
    return (
        f"Fitted to the same runs the laws give a = {given} ({kind_of_interval(ci_prob)}); Kaplan et al. printed 0.73, "
        f"Hoffmann et al. 0.46 to 0.50. Counting non-embedding parameters in models as small as Kaplan's moves a from "
        f"{moved}. {best} predicts runs left out best."
    )


def _nats(row: Any, ci_prob: float) -> str:
    low, high = (row[name] for name in interval_columns(ci_prob))
    return f"{row['median']:.4f} [{low:.4f}, {high:.4f}]"


def _counting_table(table: Table, ci_prob: float) -> str:
    rows = []
    for source in table.index.unique("source"):
        found = table.xs(source, level="source")
        texts = {COUNTED[str(name)]: _plain(row, ci_prob) for name, row in found.iterrows()}
        rows.append({"law": str(source)} | texts)
    return align(rows)


def _plain(row: Any, ci_prob: float) -> str:
    return f"{row['median']:.4f}" if np.isnan(row.iloc[1]) else cell(row, ci_prob)


def _owners_tables(table: Table, ci_prob: float) -> list[str]:
    """One small table a known model: each law's advice, and the lines the papers print."""
    texts = []
    flat = table.reset_index()
    for model, about in flat.groupby("model", sort=False):
        N, D, C, decades = about[["N", "D", "C", "decades_beyond"]].iloc[0]
        title = (
            f"{model}: {format_quantity(N)} parameters on {format_quantity(D)} tokens, {format_quantity(C)} FLOP, "
            f"{beyond(decades)} beyond the largest run"
        )
        rows = [
            _owner_row(str(law), part, ci_prob) for law, part in about.groupby("law", sort=False)
        ]
        rows += [dict.fromkeys(rows[0], "-") | row for row in _printed(C)]
        texts.append(f"{title}\n{align(rows)}")
    return texts


def _owner_row(law: str, part: pd.DataFrame, ci_prob: float) -> dict[str, str]:
    said = {row["quantity"]: row for _, row in part.iterrows()}
    return {
        "law": law,
        "N*": cell(said["N_best"], ci_prob, scale=True),
        "D*": cell(said["D_best"], ci_prob, scale=True),
        "tokens/parameter": cell(said["tokens_per_param"], ci_prob),
        "loss as trained (curve)": cell(said["loss"], ci_prob),
        "regret": _nats(said["regret"], ci_prob),
    }


def _printed(C: float) -> list[dict[str, str]]:
    """N* of the lines that papers print, without intervals."""
    rows = []
    for label, line in allocations().dropna(subset=["N_ref"]).iterrows():
        N = line["N_ref"] * (C / line["C_ref"]) ** line["exponent"]
        counts = "" if line["counts"] == "total" else f" ({line['counts']} N)"
        rows.append({"law": f"{label}, as printed{counts}", "N*": format_quantity(N)})
    return rows


def refuse_to_replace(folder: Path, labels: tuple[str, ...]) -> None:
    """Say before any sampling that a folder already holds what `write` would put there.

    Raises
    ------
    ScaleBayesError
        Naming the files.
    """
    there = [
        name for name in (*(f"{label}.nc" for label in labels), FIGURE) if (folder / name).exists()
    ]
    if there:
        raise ScaleBayesError(f"{folder} already holds {', '.join(there)}; --force replaces them")


def write(result: Study, folder: Path, progress: Callable[[str], None] = print) -> None:
    """Write the fits and a figure of their frontiers to a folder."""
    from scalebayes import plots

    folder.mkdir(parents=True, exist_ok=True)
    for label, fit in result.fits.items():
        save(fit, folder / f"{label}.nc")
    plots.save(plots.frontier(result.fits), folder / FIGURE)
    progress(
        f"wrote {', '.join(str(folder / f'{label}.nc') for label in result.fits)}, {folder / FIGURE}"
    )
