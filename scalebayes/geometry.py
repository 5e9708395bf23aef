r"""The coordinates the sampler moves in: loss and slopes at the centre of the table.

A table of runs pins down the loss T at its centre (the mean of log N and log D) and the slopes G there. It says
little about how the loss splits into floor and reducible part, so the parameters of a law lie on long bent ridges on
which NUTS fails. Here each family of laws gets coordinates without the ridge, the closed-form way back to the
parameters, and the Jacobian, so that the prior stays the one a person wrote. Everything is plain arithmetic: it runs
on floats, arrays and PyTensor variables alike.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

type Numeric = Any
type Values = Mapping[str, Numeric]
type Recovered = tuple[dict[str, Numeric], Numeric]

FLOOR_SHARE = 0.6
STEP = {"log_T": 0.1, "log_G": 0.3, "logit_phi": 1.0, "delta": 0.5, "log_kappa": 0.5, "balance": 0.3}
"""Rough posterior widths; they only set the units of the sampler's first steps."""


@dataclass(frozen=True)
class Coordinates:
    """Natural coordinates of a law.

    Attributes
    ----------
    names
        Coordinate names; ``log_G_N`` is the log of -dL/dlogN at the centre.
    recover
        From coordinates and the centre (means of the logs of the inputs) to the *logs* of the law's parameters, and
        the log absolute determinant of that map, amplitudes measured as the log of their term's size.
    """

    names: tuple[str, ...]
    recover: Callable[[Values, Values], Recovered]

    def steps(self) -> dict[str, float]:
        """Width of one sampler unit along each coordinate."""
        return {name: STEP["log_G" if name.startswith("log_G") else name] for name in self.names}

    def start(self, log_inputs: Mapping[str, np.ndarray], log_loss: np.ndarray) -> dict[str, float]:
        """Where the sampler starts: T and the slopes from least squares, the usual floor share, nothing else."""
        local = local_fit(log_inputs, log_loss)
        rest = {"logit_phi": float(np.log(FLOOR_SHARE / (1 - FLOOR_SHARE)))}
        return {name: local.get(name, rest.get(name, 0.0)) for name in self.names}


def local_fit(log_inputs: Mapping[str, np.ndarray], log_loss: np.ndarray) -> dict[str, float]:
    """Loss and slopes at the centre of the table, by a quadratic (few rows: linear) least-squares fit of log loss.

    A slope that comes out negative or negligible is set to 1% of the loss per e-fold: this is only a start.
    """
    x = np.column_stack([values - values.mean() for values in log_inputs.values()])
    squares = [x[:, i] * x[:, j] for i in range(x.shape[1]) for j in range(i, x.shape[1])]
    quadratic = len(log_loss) >= 3 * (1 + x.shape[1] + len(squares))
    design = np.column_stack([np.ones(len(x)), x, *(squares if quadratic else [])])
    coefficients = np.linalg.lstsq(design, log_loss, rcond=1e-8)[0]
    log_T = float(coefficients[0])
    slopes = np.maximum(-coefficients[1 : 1 + x.shape[1]], 0.01)
    return {"log_T": log_T} | {
        f"log_G_{name}": log_T + float(np.log(g)) for name, g in zip(log_inputs, slopes, strict=True)
    }


def kappa_family(*, floor: bool, kappa: Literal["free", "alpha_D", "one"]) -> Coordinates:
    r"""L = L_inf + (n^(1/kappa) + d^(1/kappa))^kappa and its members.

    With R = T (1 - phi): alpha_N = (G_N + G_D e^delta)/R, alpha_D = alpha_N e^-delta, the shares of R that each term
    carries are w_N = G_N/(alpha_N R) and w_D = G_D/(alpha_D R), and log s = kappa log w + log R at the centre. The
    determinant is kappa: of (log L_inf, log s_N, log s_D, log alpha_N, log alpha_D, log kappa) by the coordinates.
    """

    def recover(z: Values, centre: Values) -> Recovered:
        log_phi, log_rest = _log_shares(z["logit_phi"]) if floor else (None, 0.0)
        log_R = z["log_T"] + log_rest
        log_alpha_N = log_add(z["log_G_N"], z["log_G_D"] + z["delta"]) - log_R
        log_alpha_D = log_alpha_N - z["delta"]
        log_kappa = {"free": z.get("log_kappa"), "alpha_D": log_alpha_D, "one": 0.0}[kappa]
        k = np.exp(log_kappa)
        log_s_N = k * (z["log_G_N"] - log_alpha_N - log_R) + log_R
        log_s_D = k * (z["log_G_D"] - log_alpha_D - log_R) + log_R
        parameters = {
            "N_c": centre["N"] + log_s_N * np.exp(-log_alpha_N),
            "alpha_N": log_alpha_N,
            "D_c": centre["D"] + log_s_D * np.exp(-log_alpha_D),
            "alpha_D": log_alpha_D,
        }
        if floor:
            parameters["L_inf"] = z["log_T"] + log_phi
        if kappa == "free":
            parameters["kappa"] = log_kappa
        return parameters, log_kappa

    extra = ("logit_phi",) * floor + ("log_kappa",) * (kappa == "free")
    return Coordinates(("log_T", "log_G_N", "log_G_D", "delta", *extra), recover)


def one_term(x: str, *, floor: bool) -> Coordinates:
    """L = L_inf + (x_c/x)^alpha: alpha = G/R, s = R, with R = T (1 - phi); the determinant is 1."""

    def recover(z: Values, centre: Values) -> Recovered:
        log_phi, log_rest = _log_shares(z["logit_phi"]) if floor else (None, 0.0)
        log_R = z["log_T"] + log_rest
        log_alpha = z[f"log_G_{x}"] - log_R
        parameters = {f"{x}_c": centre[x] + log_R * np.exp(-log_alpha), f"alpha_{x}": log_alpha}
        if floor:
            parameters["L_inf"] = z["log_T"] + log_phi
        return parameters, 0.0

    return Coordinates(("log_T", f"log_G_{x}", *("logit_phi",) * floor), recover)


def two_limits() -> Coordinates:
    """L = L_inf + max(n, d): each limit has its own slope; ``balance`` is half of log(s_N/s_D). Determinant 2."""

    def recover(z: Values, centre: Values) -> Recovered:
        log_phi, log_rest = _log_shares(z["logit_phi"])
        log_s = {"N": z["log_T"] + log_rest + z["balance"], "D": z["log_T"] + log_rest - z["balance"]}
        parameters = {"L_inf": z["log_T"] + log_phi}
        for x in ("N", "D"):
            log_alpha = z[f"log_G_{x}"] - log_s[x]
            parameters |= {f"{x}_c": centre[x] + log_s[x] * np.exp(-log_alpha), f"alpha_{x}": log_alpha}
        return parameters, float(np.log(2.0))

    return Coordinates(("log_T", "log_G_N", "log_G_D", "logit_phi", "balance"), recover)


def log_linear(amplitude: str, reference: Mapping[str, float]) -> Coordinates:
    """Log L = log amplitude - sum of alpha_x log(x / reference_x): the amplitude is a shift of T. Determinant 1."""

    def recover(z: Values, centre: Values) -> Recovered:
        logs = {f"alpha_{x}": z[f"log_G_{x}"] - z["log_T"] for x in reference}
        shift = sum(np.exp(logs[f"alpha_{x}"]) * (centre[x] - float(np.log(at))) for x, at in reference.items())
        return {amplitude: z["log_T"] + shift} | logs, 0.0

    return Coordinates(("log_T", *(f"log_G_{x}" for x in reference)), recover)


def log_add(a: Numeric, b: Numeric) -> Numeric:
    """log(exp(a) + exp(b)) by arithmetic alone, so that PyTensor variables pass through it too."""
    difference = abs(a - b)
    return (a + b + difference) / 2 + np.log1p(np.exp(-difference))


def _log_shares(logit: Numeric) -> tuple[Numeric, Numeric]:
    """Log of a share and of its complement from the share's logit."""
    log_complement = -log_add(logit, 0.0)
    return logit + log_complement, log_complement
