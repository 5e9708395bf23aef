"""Posterior of the loss at (N, D): the law's curve, and a new run that scatters around it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import xarray as xr

from scalebayes.cost import SIX_ND
from scalebayes.errors import QueryError
from scalebayes.laws import INPUTS
from scalebayes.parts import parts_of, side_by_side
from scalebayes.posterior import (
    Fit,
    draw_labels,
    law_parameters,
    noise_parameters,
    over_average,
)
from scalebayes.units import parse_quantity

BASIC = ("N", "D", "C")
"""Inputs of which any two determine the third; the others of `INPUTS` are given by name."""
LONG_NAMES = {"law": "loss of the law alone", "loss": "loss of the curve", "new_run": "loss of a new run"}


@over_average
def predict(
    fit: Fit, /, *, N: Any = None, D: Any = None, C: Any = None, new_run: bool = True, seed: int = 0, **others: Any
) -> xr.Dataset:
    """Posterior of the loss at given inputs: the law's curve, the curve with its discrepancy, and a new run.

    Parameters
    ----------
    fit
        A fit, sampled or loaded, or an average of several.
    N, D, C
        Parameters, tokens, FLOP: numbers, text such as "70B", or sequences of one length (or one). A law of N and D
        takes any two (C = 6 N D). Infinity stands for the limit.
    new_run
        Whether to draw the noise of new runs too; for many targets it takes most of the time.
    seed
        Of the discrepancy beyond the table and of the scatter of new runs.
    **others
        Further inputs of the law, as `INPUTS` calls them: S, steps; U, unique tokens; E, experts.

    Returns
    -------
    xarray.Dataset
        In nats per token, with dims (chain, draw, target): ``loss``, the curve; ``new_run``, one further run with its
        noise; and where the spec carries a discrepancy, which ``loss`` then holds, ``law``, the law's curve alone.
        The discrepancy is conditioned on the observed runs and drawn jointly over the targets. Along target stand the
        inputs and ``decades_beyond``, orders of magnitude of compute beyond the largest run (0 where it has
        no more compute, however far N and D lie from those of the runs).

    Raises
    ------
    QueryError
        When inputs are missing, not positive, or of different lengths.
    """
    if fit.spec.law_object.response != "loss":
        raise QueryError(
            f"'{fit.spec.name}' says accuracies, not losses: downstream(fit, answer) chains it to an answer"
        )
    inputs = read_inputs({"N": N, "D": D, "C": C, **others}, fit.spec.law_object.inputs, fit.spec.name)
    curves = _draw(fit, [inputs[x] for x in fit.spec.law_object.inputs], np.random.default_rng(seed), new_run)
    out = xr.Dataset({name: (("chain", "draw", "target"), values) for name, values in curves.items()})
    for name in out:
        out[str(name)].attrs = {"long_name": LONG_NAMES[str(name)], "units": "nats per token"}
    return label(out, fit, "target", inputs, inputs)


def _draw(fit: Fit, inputs: list[np.ndarray], rng: np.random.Generator, new_run: bool) -> dict[str, np.ndarray]:
    """Law (with a discrepancy), curve and new run at inputs in the law's order, each (chain, draw, target).

    A part at a time, on as many cores as there are: nothing but the answer is ever held whole, which may take a
    gigabyte. Each part draws from a generator of its own, so cores do not change what is drawn.
    """
    law, noise, known = fit.spec.law_object, fit.spec.noise_object, fit.discrepancy
    parameters, scatter = law_parameters(fit), noise_parameters(fit)
    shape = (*next(iter(parameters.values())).shape, len(inputs[0]))
    of_law, of_noise = ({k: v.reshape(-1, 1) for k, v in group.items()} for group in (parameters, scatter))
    names = [*(["law"] if known is not None else []), "loss", *(["new_run"] if new_run else [])]
    values = {name: np.empty((shape[0] * shape[1], shape[2])) for name in names}
    if known is not None:
        known.draw(known.basis.scale(inputs), rng, out=values["loss"])

    def fill(part: slice, rng: np.random.Generator) -> None:
        curve, loss = law(*inputs, **{k: v[part] for k, v in of_law.items()}), values["loss"][part]
        if known is not None:
            values["law"][part] = curve
            curve *= np.exp(loss, out=loss)
        loss[:] = curve
        if new_run:
            off = noise.draw(rng, curve.shape, **{k: v[part] for k, v in of_noise.items()})
            np.multiply(curve, np.exp(off, out=off), out=values["new_run"][part])

    parts = parts_of(len(values["loss"]), shape[2])
    side_by_side(fill, parts, rng.spawn(len(parts)))
    return {name: value.reshape(shape) for name, value in values.items()}


def label(
    dataset: xr.Dataset, fit: Fit, dim: str, along: dict[str, np.ndarray], asked: dict[str, np.ndarray]
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
        dataset.attrs[f"{x}_of_runs"] = [float(getattr(runs, x).min()), float(getattr(runs, x).max())]
    return dataset.assign_coords(coords | draw_labels(fit) | {"decades_beyond": (dim, decades, {"of": key})})


def of_several(answers: Mapping[str, xr.Dataset]) -> dict[str, Any]:
    """Attributes of what is made of several fits' answers, for `scalebayes.caveats`: those of the worst of them.

    The fewest decades that runs span, the inputs that the runs of all fits reach, the least scatter, every gate that
    failed; and which spec it is where all have one.
    """
    attributes = [answer.attrs for answer in answers.values()]
    worst: dict[str, Any] = {name: min(one[name] for one in attributes) for name in ("span", "scatter")}
    failures = [f"{name}: {one['gate_failures']}" for name, one in zip(answers, attributes, strict=True)]
    worst["gate_failures"] = "; ".join(text for text in failures if not text.endswith(": "))
    names = [one["model"] for one in attributes]
    worst["model"] = " and ".join(dict.fromkeys(names))
    if len(specs := {one.get("spec") for one in attributes} - {None}) == 1 and len(set(names)) == 1:
        worst["spec"] = specs.pop()
    for key in (f"{x}_of_runs" for x in INPUTS):
        if all(key in one for one in attributes):
            low, high = max(one[key][0] for one in attributes), min(one[key][1] for one in attributes)
            worst |= {key: [low, high]} if low <= high else {}
    return worst


def quantities(value: Any, name: str) -> np.ndarray:
    """Positive numbers, perhaps infinite, from a number, text such as "70B" or "inf", or a sequence of them.

    Raises
    ------
    QueryError
        Naming the argument, what was got and what is allowed.
    """
    values = [value] if np.ndim(value) == 0 else list(value)
    try:
        numbers = np.array([np.inf if str(v).strip().lower() == "inf" else parse_quantity(v) for v in values], float)
    except ValueError as error:
        raise QueryError(f"{name}: {error}") from None
    if not (numbers > 0).all():
        raise QueryError(f"{name} must be positive; got {', '.join(map(str, values))}")
    return numbers


def read_inputs(given: dict[str, Any], needed: tuple[str, ...], name: str) -> dict[str, np.ndarray]:
    """The inputs a law needs, and compute where it follows, broadcast to one length."""
    have = {x: quantities(v, x) for x, v in given.items() if v is not None}
    for x in have:
        if x not in INPUTS:
            raise QueryError(f"no input is called {x}: allowed are {', '.join(INPUTS)}")
        if x not in (*BASIC, *needed):
            raise QueryError(f"'{name}' has no input {x} ({INPUTS[x]}): it is a law of {', '.join(needed)}")
    lengths = {len(v) for v in have.values()} - {1}
    if len(lengths) > 1:
        what = ", ".join(f"{x}: {len(v)}" for x, v in have.items())
        raise QueryError(
            f"N, D and C{' and others' * any(x not in BASIC for x in have)} must have one length; got {what}"
        )
    have = dict(zip(have, np.broadcast_arrays(*have.values()), strict=True)) if have else {}
    have |= _third({x: have[x] for x in BASIC if x in have})
    if any(x not in have for x in needed):
        got = ", ".join(x for x in given if given[x] is not None) or "nothing"
        raise QueryError(f"'{name}' predicts from {_allowed(needed)}; got {got}")
    return {x: have[x] for x in INPUTS if x in have}


def _allowed(needed: tuple[str, ...]) -> str:
    """What a law may be asked from, in words."""
    basic, others = [x for x in needed if x in BASIC], [f"{x} ({INPUTS[x]})" for x in needed if x not in BASIC]
    two = "two of N, D and C"
    first = {0: [], 1: [f"{basic[0]}, or from {two}" if basic else ""]}.get(len(basic), [f"any {two}"])
    return ", with ".join([*first, *others])


def _third(have: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Of N, D and C the one that the other two determine, after a check where all three are given."""
    if len(have) == 3 and not np.allclose(have["C"], SIX_ND.flop(have["N"], have["D"]), rtol=0.01):
        raise QueryError("N, D and C disagree: C must be 6 N D; give two of the three")
    if len(have) != 2:
        return {}
    if "C" not in have:
        return {"C": SIX_ND.flop(have["N"], have["D"])}
    if np.isinf(list(have.values())).any():
        raise QueryError("infinite N, D or C leave the third unknown; for a limit give N and D")
    (known,) = set(have) - {"C"}
    return {"D" if known == "N" else "N": have["C"] / (6.0 * have[known])}
