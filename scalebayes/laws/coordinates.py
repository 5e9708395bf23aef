r"""The coordinates the sampler moves in: loss and slopes at the centre of the table.

A table of runs pins down the loss T at its centre (the mean of log N and log D) and the slopes G there. It says
little about how the loss splits into floor and reducible part, so the parameters of a law lie on long bent ridges on
which NUTS fails. Here each family of laws gets coordinates without the ridge, the closed-form way back to the
parameters, and the Jacobian, so that the prior stays the one a person wrote. Everything is plain arithmetic: it runs
on floats, arrays and PyTensor variables alike.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal, NamedTuple

import numpy as np

type Numeric = Any
type Values = Mapping[str, Numeric]
type Recovered = tuple[dict[str, Numeric], Numeric]

FLOOR_SHARE = 0.6
STEP = {
    "log_T": 0.1,
    "log_G": 0.3,
    "logit_phi": 1.0,
    "delta": 0.5,
    "log_kappa": 0.5,
    "balance": 0.3,
}
"""Rough posterior widths; they only set the units of the sampler's first steps."""


class Extra(NamedTuple):
    """Where the sampler starts along a coordinate that the table alone does not show, and a rough posterior width."""

    start: float
    step: float


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
    extra
        Coordinates of a law's own, beyond those that laws share.
    """

    names: tuple[str, ...]
    recover: Callable[[Values, Values], Recovered]
    extra: Mapping[str, Extra] = field(default_factory=dict)

    def steps(self) -> dict[str, float]:
        """Width of one sampler unit along each coordinate."""
        shared = {
            name: STEP.get("log_G" if name.startswith("log_G_") else name) for name in self.names
        }
        return {
            name: self.extra[name].step if step is None else step for name, step in shared.items()
        }

    def start(self, log_inputs: Mapping[str, np.ndarray], log_loss: np.ndarray) -> dict[str, float]:
        """Where the sampler starts: T and the slopes from least squares, the usual floor share, nothing else."""
        local = local_fit(log_inputs, log_loss)
        rest = {"logit_phi": float(np.log(FLOOR_SHARE / (1 - FLOOR_SHARE)))}
        rest |= {name: extra.start for name, extra in self.extra.items()}
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
        f"log_G_{name}": log_T + float(np.log(g))
        for name, g in zip(log_inputs, slopes, strict=True)
    }


def kappa_family(
    *, floor: bool, kappa: Literal["free", "alpha_D", "one"], inputs: tuple[str, str] = ("N", "D")
) -> Coordinates:
    r"""L = L_inf + (n^(1/kappa) + d^(1/kappa))^kappa and its members, of N and D or of two other inputs.

    With R = T (1 - phi): alpha_N = (G_N + G_D e^delta)/R, alpha_D = alpha_N e^-delta, the shares of R that each term
    carries are w_N = G_N/(alpha_N R) and w_D = G_D/(alpha_D R), and log s = kappa log w + log R at the centre. The
    determinant is kappa: of (log L_inf, log s_N, log s_D, log alpha_N, log alpha_D, log kappa) by the coordinates.
    """
    one, other = inputs

    def recover(z: Values, centre: Values) -> Recovered:
        log_phi, log_rest = _log_shares(z["logit_phi"]) if floor else (None, 0.0)
        log_R = z["log_T"] + log_rest
        log_alpha_N = log_add(z[f"log_G_{one}"], z[f"log_G_{other}"] + z["delta"]) - log_R
        log_alpha_D = log_alpha_N - z["delta"]
        log_kappa = {"free": z.get("log_kappa"), "alpha_D": log_alpha_D, "one": 0.0}[kappa]
        k = np.exp(log_kappa)
        log_s_N = k * (z[f"log_G_{one}"] - log_alpha_N - log_R) + log_R
        log_s_D = k * (z[f"log_G_{other}"] - log_alpha_D - log_R) + log_R
        parameters = {
            f"{one}_c": centre[one] + log_s_N * np.exp(-log_alpha_N),
            f"alpha_{one}": log_alpha_N,
            f"{other}_c": centre[other] + log_s_D * np.exp(-log_alpha_D),
            f"alpha_{other}": log_alpha_D,
        }
        if floor:
            parameters["L_inf"] = z["log_T"] + log_phi
        if kappa == "free":
            parameters["kappa"] = log_kappa
        return parameters, log_kappa

    extra = ("logit_phi",) * floor + ("log_kappa",) * (kappa == "free")
    return Coordinates(("log_T", f"log_G_{one}", f"log_G_{other}", "delta", *extra), recover)


def shared_exponent(exponent: str) -> Coordinates:
    """L = L_inf + (N_c/N)^alpha + (D_c/D)^alpha: alpha = (G_N + G_D)/R, s = G/alpha at the centre; determinant 1."""

    def recover(z: Values, centre: Values) -> Recovered:
        log_phi, log_rest = _log_shares(z["logit_phi"])
        log_alpha = log_add(z["log_G_N"], z["log_G_D"]) - z["log_T"] - log_rest
        scales = {
            f"{x}_c": centre[x] + (z[f"log_G_{x}"] - log_alpha) * np.exp(-log_alpha)
            for x in ("N", "D")
        }
        return {"L_inf": z["log_T"] + log_phi, exponent: log_alpha} | scales, 0.0

    return Coordinates(("log_T", "log_G_N", "log_G_D", "logit_phi"), recover)


def with_own(coordinates: Coordinates, own: Mapping[str, Extra]) -> Coordinates:
    """Coordinates with further parameters that lie on no ridge: the log of each is its own coordinate.

    `Extra.start` is the parameter's own value, not its log. The determinant stays as it is.
    """

    def recover(z: Values, centre: Values) -> Recovered:
        parameters, log_jacobian = coordinates.recover(z, centre)
        return parameters | {name: z[f"log_{name}"] for name in own}, log_jacobian

    added = {
        f"log_{name}": Extra(float(np.log(start)), step) for name, (start, step) in own.items()
    }
    names = (*coordinates.names, *added)
    return replace(coordinates, names=names, recover=recover, extra={**coordinates.extra, **added})


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


def repeated_data(own: Mapping[str, Extra]) -> Coordinates:
    """Those of the additive law at the mean of log N, and half way between D and U, what repeated data are worth."""
    base = with_own(kappa_family(floor=True, kappa="one"), own)

    def recover(z: Values, centre: Values) -> Recovered:
        return base.recover(z, {"N": centre["N"], "D": (centre["D"] + centre["U"]) / 2})

    return replace(base, recover=recover)


class Bend(NamedTuple):
    """How a power bends, for `bent_term`: h and log e at the centre, and the logs of further parameters."""

    height: Numeric
    log_slope: Numeric
    parameters: Callable[[Numeric], dict[str, Numeric]]


def bent_term(
    x: str, bend: Callable[[Values, Numeric], Bend], extra: Mapping[str, Extra]
) -> Coordinates:
    """L = L_inf + R with log R = alpha (log x_c - log x + h): a power whose bends are known but for its exponent.

    ``bend`` gives, from the further coordinates and the centre, h and the log of e = 1 - dh/dlog x at the centre, both
    free of alpha, and from log alpha the logs of the law's further parameters. So G = R alpha e, alpha = G/(R e) and
    the log of the term's size at the centre is log R - alpha h. The determinant is 1.
    """

    def recover(z: Values, centre: Values) -> Recovered:
        log_phi, log_rest = _log_shares(z["logit_phi"])
        bent = bend(z, centre[x])
        log_R = z["log_T"] + log_rest
        log_alpha = z[f"log_G_{x}"] - log_R - bent.log_slope
        parameters = {
            "L_inf": z["log_T"] + log_phi,
            f"{x}_c": centre[x] + log_R * np.exp(-log_alpha) - bent.height,
            f"alpha_{x}": log_alpha,
        }
        return parameters | bent.parameters(log_alpha), 0.0

    return Coordinates(("log_T", f"log_G_{x}", "logit_phi", *extra), recover, extra)


def shifted_term(x: str) -> Coordinates:
    """L = L_inf + (x_c/(x + x_0))^alpha: h = log e = -log(1 + x_0/x) at the centre; ``shift`` is log(x_0/centre)."""

    def bend(z: Values, centre: Numeric) -> Bend:
        height = -log_add(z["shift"], 0.0)
        return Bend(height, height, lambda _: {f"{x}_0": centre + z["shift"]})

    return bent_term(x, bend, {"shift": Extra(-4.0, 1.5)})


def broken_term(x: str, *, breaks: Literal[1, 2]) -> Coordinates:
    """L = L_inf + R, with exponents alpha_x, then alpha_1 and perhaps alpha_2, and breaks at x_1 and x_1 10^gap.

    With t = log(x/x_i)/f at the centre, each break adds -(r_i - r_(i-1)) f log(1 + e^t) to h, which starts at 0, and
    (r_i - r_(i-1))/(1 + e^-t) to e, which starts at 1; r_i = alpha_i/alpha_x and r_0 = 1. Coordinates: ``break`` =
    log(x_1/centre), log f, log gap, and the logs of alpha_1/alpha_x and alpha_2/alpha_1.
    """

    def bend(z: Values, centre: Numeric) -> Bend:
        f, logs = np.exp(z["log_f"]), {f"{x}_1": centre + z["break"], "f": z["log_f"]}
        t, log_ratio, before, height, slope = -z["break"] / f, 0.0, 1.0, 0.0, 1.0
        log_ratios = {}
        for i in range(1, breaks + 1):
            if i == 2:
                logs["gap"] = z["log_gap"]
                t = t - np.exp(z["log_gap"]) * float(np.log(10.0)) / f
            softplus = log_add(t, 0.0)
            log_ratio = log_ratio + z[f"turn_{i}"]
            ratio, log_ratios[f"alpha_{i}"] = np.exp(log_ratio), log_ratio
            height = height - (ratio - before) * f * softplus
            slope, before = slope + (ratio - before) * np.exp(t - softplus), ratio
        return Bend(
            height,
            np.log(slope),
            lambda log_alpha: logs | {k: log_alpha + r for k, r in log_ratios.items()},
        )

    extra = {"break": Extra(0.0, 1.0), "log_f": Extra(-0.7, 0.5), "turn_1": Extra(0.0, 0.5)}
    if breaks == 2:
        extra = {
            **extra,
            "break": Extra(-1.5, 1.0),
            "log_gap": Extra(0.3, 0.3),
            "turn_2": Extra(0.0, 0.5),
        }
    return bent_term(x, bend, extra)


def bounded_term(x: str) -> Coordinates:
    """L = L_inf + u with u/(1 - u/S)^gamma = (x_c/x)^alpha, S the most that training can gain.

    With R = T (1 - phi) = u at the centre, S = R (1 + e^room): 1 - R/S = q = 1/(1 + e^-room). Then log s = log R -
    gamma log q, and G = alpha/(1/R + gamma/(S - R)) gives alpha. The determinant is q + gamma (1 - q).
    """

    def recover(z: Values, centre: Values) -> Recovered:
        log_phi, log_rest = _log_shares(z["logit_phi"])
        log_R, gamma = z["log_T"] + log_rest, np.exp(z["log_gamma"])
        log_q, log_used = _log_shares(z["room"])
        log_alpha = z[f"log_G_{x}"] - log_R + log_add(0.0, z["log_gamma"] - z["room"])
        parameters = {
            "L_inf": z["log_T"] + log_phi,
            "L_drop": log_R + log_add(z["room"], 0.0),
            f"{x}_c": centre[x] + (log_R - gamma * log_q) * np.exp(-log_alpha),
            f"alpha_{x}": log_alpha,
            "gamma": z["log_gamma"],
        }
        return parameters, log_add(log_q, z["log_gamma"] + log_used)

    extra = {"room": Extra(1.5, 0.3), "log_gamma": Extra(0.0, 0.5)}
    return Coordinates(("log_T", f"log_G_{x}", "logit_phi", *extra), recover, extra)


def two_limits() -> Coordinates:
    """L = L_inf + max(n, d): each limit has its own slope; ``balance`` is half of log(s_N/s_D). Determinant 2."""

    def recover(z: Values, centre: Values) -> Recovered:
        log_phi, log_rest = _log_shares(z["logit_phi"])
        log_s = {
            "N": z["log_T"] + log_rest + z["balance"],
            "D": z["log_T"] + log_rest - z["balance"],
        }
        parameters = {"L_inf": z["log_T"] + log_phi}
        for x in ("N", "D"):
            log_alpha = z[f"log_G_{x}"] - log_s[x]
            parameters |= {
                f"{x}_c": centre[x] + log_s[x] * np.exp(-log_alpha),
                f"alpha_{x}": log_alpha,
            }
        return parameters, float(np.log(2.0))

    return Coordinates(("log_T", "log_G_N", "log_G_D", "logit_phi", "balance"), recover)


def log_linear(amplitude: str, reference: Mapping[str, float]) -> Coordinates:
    """Log L = log amplitude - sum of alpha_x log(x / reference_x): the amplitude is a shift of T. Determinant 1."""

    def recover(z: Values, centre: Values) -> Recovered:
        logs = {f"alpha_{x}": z[f"log_G_{x}"] - z["log_T"] for x in reference}
        shift = sum(
            np.exp(logs[f"alpha_{x}"]) * (centre[x] - float(np.log(at)))
            for x, at in reference.items()
        )
        return {amplitude: z["log_T"] + shift} | logs, 0.0

    return Coordinates(("log_T", *(f"log_G_{x}" for x in reference)), recover)


def interaction(
    x: str,
    amplitude: str,
    saturate: Callable[..., Numeric],
    reference: float,
    own: Mapping[str, Extra],
) -> Coordinates:
    """Log L = log amplitude - alpha_N n - alpha_x e + gamma n e, n = log(N/reference), e = log of x saturated.

    T and the slope in N are the table's: alpha_N = G_N/T + gamma e, which stays positive; the rest are logs of the
    parameters themselves. Of ``own`` are the parameters of ``saturate(x, **own)``. The determinant is G_N/(T alpha_N).
    """
    base = {f"alpha_{x}": Extra(0.05, 0.4), "gamma": Extra(0.004, 0.5), **own}
    extra = {
        f"log_{name}": Extra(float(np.log(start)), step) for name, (start, step) in base.items()
    }

    def recover(z: Values, centre: Values) -> Recovered:
        logs = {name: z[f"log_{name}"] for name in base}
        n = centre["N"] - float(np.log(reference))
        e = saturate(np.exp(centre[x]), **{name: np.exp(logs[name]) for name in own})
        log_slope = z["log_G_N"] - z["log_T"]
        alpha_N = np.exp(log_slope) + np.exp(logs["gamma"]) * e
        log_L = (
            z["log_T"]
            + alpha_N * n
            + np.exp(logs[f"alpha_{x}"]) * e
            - np.exp(logs["gamma"]) * n * e
        )
        return {amplitude: log_L, "alpha_N": np.log(alpha_N)} | logs, log_slope - np.log(alpha_N)

    return Coordinates(("log_T", "log_G_N", *extra), recover, extra)


def log_add(a: Numeric, b: Numeric) -> Numeric:
    """log(exp(a) + exp(b)) by arithmetic alone, so that PyTensor variables pass through it too."""
    difference = abs(a - b)
    return (a + b + difference) / 2 + np.log1p(np.exp(-difference))


def _log_shares(logit: Numeric) -> tuple[Numeric, Numeric]:
    """Log of a share and of its complement from the share's logit."""
    log_complement = -log_add(logit, 0.0)
    return logit + log_complement, log_complement
