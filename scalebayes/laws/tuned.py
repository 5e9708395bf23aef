r"""Law of tuned runs: loss by N, D, learning rate and batch, L(N, D, learning_rate, batch).

Over a plane of (log learning rate, log batch) the loss of a model is a valley. Its bottom is the
loss of a well-tuned run, a law of N and D, and the place of the bottom moves with N and D by powers
(Step Law, Li et al. 2025, arXiv:2503.04715).
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from scalebayes.laws import coordinates
from scalebayes.laws.coordinates import Extra, Recovered, Values
from scalebayes.laws.joint import (
    D_REFERENCE,
    N_REFERENCE,
    additive,
    allocation_exponents,
    hoffmann_amplitudes,
)
from scalebayes.laws.law import Numeric, Parameter, law
from scalebayes.laws.parameters import ALPHA_D, ALPHA_N, D_C, L_INF, N_C
from scalebayes.laws.rescaling import Units, rescale_by_declaration

LN_10 = float(np.log(10.0))

RATE_0 = Parameter(
    "rate_0",
    r"\eta_0",
    "best learning rate at 1B parameters and 20B tokens",
    unit="learning_rate",
    at_reference=True,
)
RATE_N = Parameter("rate_N", r"\eta_N", "factor of the best learning rate for ten times N")
RATE_D = Parameter("rate_D", r"\eta_D", "factor of the best learning rate for ten times D")
BATCH_0 = Parameter(
    "batch_0",
    "B_0",
    "best batch at 1B parameters and 20B tokens",
    unit="batch",
    at_reference=True,
)
BATCH_N = Parameter("batch_N", "B_N", "factor of the best batch for ten times N")
BATCH_D = Parameter("batch_D", "B_D", "factor of the best batch for ten times D")
RHO = Parameter("rho", r"\rho", "exponent of the best learning rate of a batch in that batch")
C_RATE = Parameter("c_rate", r"c_\eta", "curvature of log loss along the log learning rate")
C_BATCH = Parameter("c_batch", "c_B", "curvature of log loss along the log batch")
SKEW = Parameter("skew", "s", "how much steeper the valley is above the best rate than below")


def step_law(N: Numeric, D: Numeric) -> dict[str, Numeric]:
    """Return the best learning rate and batch of Step Law (Li et al. 2025, arXiv:2503.04715).

    eta* = 1.79 N^-0.713 D^0.307 and B* = 0.58 D^0.571 tokens, with N without embeddings.
    """
    log_N, log_D = np.log(N), np.log(D)
    return {
        "learning_rate": 1.79
        * np.exp(STEP_LAW["rate_exponent_N"] * log_N)
        * np.exp(STEP_LAW["rate_exponent_D"] * log_D),
        "batch": 0.58 * np.exp(STEP_LAW["batch_exponent_D"] * log_D),
    }


STEP_LAW: Mapping[str, float] = {
    "rate_exponent_N": -0.713,
    "rate_exponent_D": 0.307,
    "batch_exponent_N": 0.0,
    "batch_exponent_D": 0.571,
}
"""Exponents that Li et al. (2025) print; they found no dependence of the best batch on N."""


def exponents(
    *, rate_N: Numeric, rate_D: Numeric, batch_N: Numeric, batch_D: Numeric
) -> dict[str, Numeric]:
    """Return the exponents of the best rate and batch in N and D, logs of factors to base 10."""
    return {
        "rate_exponent_N": np.log(rate_N) / LN_10,
        "rate_exponent_D": np.log(rate_D) / LN_10,
        "batch_exponent_N": np.log(batch_N) / LN_10,
        "batch_exponent_D": np.log(batch_D) / LN_10,
    }


def log_best(
    N: Numeric, D: Numeric, at_reference: Numeric, factor_N: Numeric, factor_D: Numeric
) -> Numeric:
    """Return the log of a best value, a power of N and of D, given its factors for ten times each.

    at_reference: the best value at `N_REFERENCE` parameters and `D_REFERENCE` tokens.
    """
    exponent_N = np.log(factor_N) / LN_10
    exponent_D = np.log(factor_D) / LN_10
    size_part = exponent_N * (np.log(N) - float(np.log(N_REFERENCE)))
    data_part = exponent_D * (np.log(D) - float(np.log(D_REFERENCE)))
    return np.log(at_reference) + size_part + data_part


def best(
    N: Numeric,
    D: Numeric,
    *,
    rate_0: Numeric,
    rate_N: Numeric,
    rate_D: Numeric,
    batch_0: Numeric,
    batch_N: Numeric,
    batch_D: Numeric,
) -> dict[str, Numeric]:
    """Return the learning rate and the batch at the bottom of the valley."""
    return {
        "learning_rate": np.exp(log_best(N, D, rate_0, rate_N, rate_D)),
        "batch": np.exp(log_best(N, D, batch_0, batch_N, batch_D)),
    }


def skewed_square(u: Numeric, skew: Numeric) -> Numeric:
    """Return 2 (e^(s u) - 1 - s u)/s^2: u^2 for small s u, linear below, exponential above."""
    scaled = skew * u
    return 2.0 * (np.expm1(scaled) - scaled) / (skew * skew)


def _rescale_tuned(units: Units, **values: Numeric) -> dict[str, Numeric]:
    """Return the parameters of `tuned` in other units: the reference N and D are constants.

    With N = c N' the best rate at 1e9 of N is that at 1e9/c of N', so it changes by the exponent of
    N times log c.
    """
    rescaled = rescale_by_declaration(tuned.parameters, values, units)
    log_N, log_D = units.log_inputs["N"], units.log_inputs["D"]
    for name in ("rate", "batch"):
        exponent_N = np.log(values[f"{name}_N"]) / LN_10
        exponent_D = np.log(values[f"{name}_D"]) / LN_10
        shift = exponent_N * log_N + exponent_D * log_D
        rescaled[f"{name}_0"] = rescaled[f"{name}_0"] * np.exp(-shift)
    return rescaled


OWN = {
    "rate_N": Extra(0.2, 0.5),
    "rate_D": Extra(2.0, 0.5),
    "batch_N": Extra(1.0, 0.5),
    "batch_D": Extra(3.0, 0.5),
    "rho": Extra(0.35, 0.3),
    "c_rate": Extra(0.008, 0.3),
    "c_batch": Extra(0.006, 0.3),
    "skew": Extra(0.5, 0.4),
}
"""Starts and rough posterior widths of the parameters of the valley."""
TRIMS = 8
"""Times that the start's regression is repeated without the rows far above it."""
KEPT_DEVIATIONS = 2.0
"""Rows further above the regression than these robust standard deviations are left out."""
LEAST_CURVATURE = 1e-4
"""Curvature at which the sampler starts where the regression finds no valley."""


def _trimmed_regression(
    log_inputs: Mapping[str, np.ndarray], log_loss: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Return the gradient (4,) and the Hessian (4, 4) of log loss at the centre of the table.

    A quadratic in the logs of the inputs is fitted by least squares. Diverged runs lie far above
    it, so rows far above the fit are left out, and the fit is repeated.
    """
    x = np.column_stack([values - values.mean() for values in log_inputs.values()])
    first, second = np.triu_indices(x.shape[1])
    design = np.column_stack([np.ones(len(x)), x, x[:, first] * x[:, second]])
    # Start with the better half of the runs: more than half have seldom diverged.
    kept = log_loss <= np.median(log_loss)
    for _ in range(TRIMS):
        coefficients = np.linalg.lstsq(design[kept], log_loss[kept], rcond=1e-8)[0]
        residual = log_loss - design @ coefficients
        scale = 1.4826 * np.median(np.abs(residual[kept]))
        kept = residual <= KEPT_DEVIATIONS * scale
    hessian = np.zeros((x.shape[1], x.shape[1]))
    for i, j, value in zip(first, second, coefficients[1 + x.shape[1] :], strict=True):
        hessian[i, j] += value
        hessian[j, i] += value
    return coefficients[: 1 + x.shape[1]], hessian


def start_of_valley(log_inputs: Mapping[str, np.ndarray], log_loss: np.ndarray) -> dict[str, float]:
    """Return coordinates of the bottom of the valley and of the law there, by regression.

    Empty where the regression finds no minimum in rate and batch, or too few rows.
    """
    rows = len(log_loss)
    coefficients = 1 + len(log_inputs) * (len(log_inputs) + 3) // 2
    if rows < 3 * coefficients:
        return {}
    linear, hessian = _trimmed_regression(log_inputs, log_loss)
    inside = hessian[2:, 2:]
    if np.linalg.eigvalsh(inside).min() < 2 * LEAST_CURVATURE:
        return {}
    # The bottom (r, b) solves inside @ (r, b) + linear + cross @ (n, d) = 0.
    cross = hessian[2:, :2]
    centre = -np.linalg.solve(inside, linear[3:])
    slopes = -np.linalg.solve(inside, cross)
    rho = -inside[0, 1] / inside[0, 0]
    c_batch = (inside[1, 1] - inside[0, 0] * rho**2) / 2
    log_T = float(linear[0] + 0.5 * linear[3:] @ centre)
    start = {
        "log_T": log_T,
        "log_best_rate": float(np.mean(log_inputs["learning_rate"]) + centre[0]),
        "log_best_batch": float(np.mean(log_inputs["batch"]) + centre[1]),
        "log_c_rate": float(np.log(max(inside[0, 0] / 2, LEAST_CURVATURE))),
        "log_c_batch": float(np.log(max(c_batch, LEAST_CURVATURE))),
        "log_rho": float(np.log(np.clip(rho, 0.05, 1.0))),
    }
    for i, name in enumerate(("rate", "batch")):
        for j, x in enumerate(("N", "D")):
            # Beyond an exponent of 1 either way the regression is not to be trusted.
            start[f"log_{name}_{x}"] = LN_10 * float(np.clip(slopes[i, j], -1.0, 1.0))
    # Along the bottom the law's slope in N and D is the gradient plus what the bottom's move adds.
    along = linear[1:3] + linear[3:] @ slopes
    for x, slope in zip(("N", "D"), along, strict=True):
        steepness = max(-float(slope), coordinates.SMALLEST_START_SLOPE)
        start[f"log_G_{x}"] = log_T + float(np.log(steepness))
    return start


def valley() -> coordinates.Coordinates:
    """Return coordinates of the additive law with a valley over it.

    The best rate and batch at the table's centre are sampled, which are nearly independent of their
    exponents, and so are the logs of the other parameters. The determinant is that of the law.
    """
    base = coordinates.with_own(coordinates.kappa_family(floor=True, kappa="one"), OWN)
    extra = {**base.extra, "log_best_rate": Extra(0.0, 0.2), "log_best_batch": Extra(0.0, 0.2)}

    def recover(z: Values, centre: Values) -> Recovered:
        logs, log_jacobian = base.recover(z, centre)
        distance_N = (centre["N"] - float(np.log(N_REFERENCE))) / LN_10
        distance_D = (centre["D"] - float(np.log(D_REFERENCE))) / LN_10
        for name in ("rate", "batch"):
            move = z[f"log_{name}_N"] * distance_N + z[f"log_{name}_D"] * distance_D
            logs[f"{name}_0"] = z[f"log_best_{name}"] - move
        return logs, log_jacobian

    names = (*base.names, "log_best_rate", "log_best_batch")
    return coordinates.Coordinates(names, recover, extra, own_start=start_of_valley)


@law(
    title="Additive terms under a valley in learning rate and batch",
    parameters=(
        L_INF,
        N_C,
        ALPHA_N,
        D_C,
        ALPHA_D,
        RATE_0,
        RATE_N,
        RATE_D,
        BATCH_0,
        BATCH_N,
        BATCH_D,
        RHO,
        C_RATE,
        C_BATCH,
        SKEW,
    ),
    latex=r"(L_\infty + (N_c/N)^{\alpha_N} + (D_c/D)^{\alpha_D})\, e^{c_\eta V(u, s) + c_B z^2},\;"
    r" u = \log(\eta/\eta_*) - \rho z, z = \log(B/B_*),"
    r" \eta_* = \eta_0 \eta_N^{n} \eta_D^{d}, B_* = B_0 B_N^{n} B_D^{d}",
    references=("li2025steplaw", "hoffmann2022"),
    coordinates=valley(),
    derived=(hoffmann_amplitudes, allocation_exponents, exponents),
    reference={"N": N_REFERENCE, "D": D_REFERENCE},
    own_rescale=_rescale_tuned,
    tuned="additive",
    best=best,
)
def tuned(
    N: Numeric,
    D: Numeric,
    learning_rate: Numeric,
    batch: Numeric,
    *,
    L_inf: Numeric,
    N_c: Numeric,
    alpha_N: Numeric,
    D_c: Numeric,
    alpha_D: Numeric,
    rate_0: Numeric,
    rate_N: Numeric,
    rate_D: Numeric,
    batch_0: Numeric,
    batch_N: Numeric,
    batch_D: Numeric,
    rho: Numeric,
    c_rate: Numeric,
    c_batch: Numeric,
    skew: Numeric,
) -> Numeric:
    """L = law(N, D) exp(c_rate V(u) + c_batch z^2).

    z = log(batch/batch*) and u = log(rate/rate*) - rho z.
    law is Hoffmann's additive law, the loss of a well-tuned run. rate* and batch* are powers of N
    and D: rate* = rate_0 at 1B parameters and 20B tokens, times rate_N for every tenfold of N and
    rate_D for every tenfold of D. The best rate of another batch is rate* (batch/batch*)^rho.
    V(u) = 2 (e^(s u) - 1 - s u)/s^2 is u^2 near the bottom and for s = 0; with s > 0 too high a
    rate costs more than one that is as much too low. The quadratic form is positive definite
    because both curvatures are.
    """
    loss = additive.function(N, D, L_inf=L_inf, N_c=N_c, alpha_N=alpha_N, D_c=D_c, alpha_D=alpha_D)
    z = np.log(batch) - log_best(N, D, batch_0, batch_N, batch_D)
    u = np.log(learning_rate) - log_best(N, D, rate_0, rate_N, rate_D) - rho * z
    # Far beyond any rate in use the loss overflows, and infinite serves every purpose.
    with np.errstate(over="ignore"):
        return loss * np.exp(c_rate * skewed_square(u, skew) + c_batch * z * z)
