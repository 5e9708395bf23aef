"""The datasets that questions return: names, units and attributes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import xarray as xr

from scalebayes.laws import INPUTS
from scalebayes.posterior.fit import Fit, draw_labels, noise_parameters

LONG_NAMES = {
    "law": "loss of the law alone",
    "loss": "loss of the curve",
    "new_run": "loss of a new run",
}


def label(
    dataset: xr.Dataset,
    fit: Fit,
    dim: str,
    along: dict[str, np.ndarray],
    asked: dict[str, np.ndarray],
) -> xr.Dataset:
    """Add the coordinates every answer carries: chains, draws, the inputs, and how far beyond the largest run.

    ``decades_beyond`` counts orders of magnitude of compute, or where that is not known of the law's own input that
    lies furthest out; its attribute ``of`` says which. The dataset's attributes name the model and what the fit failed,
    if anything, and tell what `scalebayes.caveats` asks: the decades that the runs span, their range of inputs, and
    their scatter.
    """
    runs, spec = fit.runs, fit.spec
    keys = ("C",) if "C" in asked and "C" in runs.table else spec.law_object.inputs
    beyond = {x: np.log10(asked[x] / getattr(runs, x).max()) for x in keys if x in asked}
    decades = np.maximum(0.0, np.max(list(beyond.values()), axis=0))
    key = max(beyond, key=lambda x: np.max(beyond[x]))
    known = getattr(runs, key)
    coords = {name: (dim, values) for name, values in along.items()}
    dataset.attrs |= {
        "gate_failures": ", ".join(fit.gate_failures),
        "model": spec.name,
        "spec": spec.hash[:12],
        "span": float(np.log10(known.max() / known.min())),
        "scatter": float(np.median(noise_parameters(fit)["sigma"])),
    }
    for x in spec.law_object.inputs:
        dataset.attrs[f"{x}_of_runs"] = [
            float(getattr(runs, x).min()),
            float(getattr(runs, x).max()),
        ]
    return dataset.assign_coords(
        coords | draw_labels(fit) | {"decades_beyond": (dim, decades, {"of": key})}
    )


def of_several(answers: Mapping[str, xr.Dataset]) -> dict[str, Any]:
    """Attributes of what is made of several fits' answers, for `scalebayes.caveats`: those of the worst of them.

    The fewest decades that runs span, the inputs that the runs of all fits reach, the least scatter, every gate that
    failed; and which spec it is where all have one.
    """
    attributes = [answer.attrs for answer in answers.values()]
    worst: dict[str, Any] = {
        name: min(one[name] for one in attributes) for name in ("span", "scatter")
    }
    failures = [
        f"{name}: {one['gate_failures']}" for name, one in zip(answers, attributes, strict=True)
    ]
    worst["gate_failures"] = "; ".join(text for text in failures if not text.endswith(": "))
    names = [one["model"] for one in attributes]
    worst["model"] = " and ".join(dict.fromkeys(names))
    if len(specs := {one.get("spec") for one in attributes} - {None}) == 1 and len(set(names)) == 1:
        worst["spec"] = specs.pop()
    for key in (f"{x}_of_runs" for x in INPUTS):
        if all(key in one for one in attributes):
            low, high = (
                max(one[key][0] for one in attributes),
                min(one[key][1] for one in attributes),
            )
            worst |= {key: [low, high]} if low <= high else {}
    return worst
