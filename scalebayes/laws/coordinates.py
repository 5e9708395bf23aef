r"""The coordinates that the sampler moves in: loss and slopes at the centre of the table.

A table of runs determines the loss T at its centre (the mean of log N and log D) and the slopes G
there. It says little about how the loss splits into floor and reducible part, so the posterior in a
law's own parameters is a set of long curved ridges, on which NUTS fails. For each family of laws
this module defines coordinates without the ridge, the closed-form map back to the parameters, and
the Jacobian of that map, which leaves the declared prior unchanged. Everything is plain arithmetic:
it runs on floats, arrays and PyTensor variables alike.

Symbols: T is the loss at the centre, G_x = -dL/dlog x the slope there, phi the floor's share of T,
R = T (1 - phi) the reducible loss, and s_x = (x_c/x)^alpha_x the size of a term at the centre.
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
"""Share of the loss at the centre that is irreducible, where the sampler starts."""

SMALLEST_START_SLOPE = 0.01
"""Least slope of log loss per e-fold of an input where the sampler starts: slopes are positive."""

SINGULAR_VALUE_CUTOFF = 1e-8
"""Relative singular values below this are zero in `local_fit`: inputs that vary together."""

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
    """Start and rough posterior width of a coordinate that only some laws have."""

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
        Function of the coordinates and the centre (means of the logs of the inputs). It returns the
        *logs* of the law's parameters and the log absolute determinant of the map from coordinates
        to parameters, in which a scale is measured by the log of its term's size at the centre.
    extra
        Start and width of the coordinates that are not shared between laws.
    rises
        Whether the response rises with the inputs, as an accuracy does with compute. Then
        ``log_G_C`` is the log of the slope itself.
    own_start
        Function of the logs of the inputs and of the loss that returns better starts of some
        coordinates, by name.
    """

    names: tuple[str, ...]
    recover: Callable[[Values, Values], Recovered]
    extra: Mapping[str, Extra] = field(default_factory=dict)
    rises: bool = False
    own_start: Callable[[Mapping[str, np.ndarray], np.ndarray], dict[str, float]] | None = None

    def steps(self) -> dict[str, float]:
        """Return the width of one sampler unit along each coordinate."""
        widths = {}
        for name in self.names:
            if name.startswith("log_G_"):
                widths[name] = STEP["log_G"]
            elif name in STEP:
                widths[name] = STEP[name]
            else:
                widths[name] = self.extra[name].step
        return widths

    def start(self, log_inputs: Mapping[str, np.ndarray], log_loss: np.ndarray) -> dict[str, float]:
        """Return the coordinates at which the sampler starts.

        T and the slopes come from `local_fit`, the floor's share is `FLOOR_SHARE`, coordinates of
        the law's own have their declared start, and all others are zero. `own_start` comes last.
        """
        start = dict.fromkeys(self.names, 0.0)
        if "logit_phi" in start:
            start["logit_phi"] = float(np.log(FLOOR_SHARE / (1 - FLOOR_SHARE)))
        for name, extra in self.extra.items():
            start[name] = extra.start
        for name, value in local_fit(log_inputs, log_loss, rises=self.rises).items():
            if name in start:
                start[name] = value
        if self.own_start is not None:
            start |= self.own_start(log_inputs, log_loss)
        return start


def local_fit(
    log_inputs: Mapping[str, np.ndarray], log_loss: np.ndarray, *, rises: bool = False
) -> dict[str, float]:
    """Return log loss and log slopes at the centre of the table, by least squares on log loss.

    A slope is that of a decrease, or with ``rises`` of an increase.

    The fit is quadratic in the logs of the inputs, or linear where there are fewer than three rows
    for each coefficient. Slopes below `SMALLEST_START_SLOPE` are replaced by it: this is only a
    start.
    """
    x = np.column_stack([values - values.mean() for values in log_inputs.values()])
    rows, inputs = x.shape

    # Squares and products of each pair of inputs, one column a pair.
    first, second = np.triu_indices(inputs)
    squares = x[:, first] * x[:, second]

    columns = [np.ones(rows), x]
    if rows >= 3 * (1 + inputs + squares.shape[1]):
        columns.append(squares)
    design = np.column_stack(columns)
    coefficients = np.linalg.lstsq(design, log_loss, rcond=SINGULAR_VALUE_CUTOFF)[0]

    log_T = float(coefficients[0])
    sign = 1.0 if rises else -1.0
    slopes = np.maximum(sign * coefficients[1 : 1 + inputs], SMALLEST_START_SLOPE)
    start = {"log_T": log_T}
    for name, slope in zip(log_inputs, slopes, strict=True):
        # dL/dlog x = L dlog L/dlog x
        start[f"log_G_{name}"] = log_T + float(np.log(slope))
    return start


def kappa_family(
    *, floor: bool, kappa: Literal["free", "alpha_D", "one"], inputs: tuple[str, str] = ("N", "D")
) -> Coordinates:
    r"""Return coordinates of L = L_inf + (n^(1/kappa) + d^(1/kappa))^kappa and its special cases.

    With ``delta`` = log(alpha_N/alpha_D), alpha_N = (G_N + G_D e^delta)/R and
    alpha_D = alpha_N e^-delta. The terms carry the shares w_N = G_N/(alpha_N R) and
    w_D = G_D/(alpha_D R) of R, and log s = kappa log w + log R at the centre. The determinant of
    (log L_inf, log s_N, log s_D, log alpha_N, log alpha_D, log kappa) by the coordinates is kappa.

    Parameters
    ----------
    floor
        Whether the law has an irreducible loss L_inf.
    kappa
        "free" for a parameter of the law, "alpha_D" for kappa = alpha_D, "one" for kappa = 1.
    inputs
        Names of the two inputs, in the places of N and D.
    """
    first, second = inputs
    names = ["log_T", f"log_G_{first}", f"log_G_{second}", "delta"]
    if floor:
        names.append("logit_phi")
    if kappa == "free":
        names.append("log_kappa")

    def recover(z: Values, centre: Values) -> Recovered:
        log_G_first = z[f"log_G_{first}"]
        log_G_second = z[f"log_G_{second}"]
        log_rest = 0.0  # without a floor, the whole loss is reducible
        if floor:
            log_phi, log_rest = _log_shares(z["logit_phi"])
        log_R = z["log_T"] + log_rest

        log_alpha_first = log_add(log_G_first, log_G_second + z["delta"]) - log_R
        log_alpha_second = log_alpha_first - z["delta"]

        if kappa == "free":
            log_kappa = z["log_kappa"]
        elif kappa == "alpha_D":
            log_kappa = log_alpha_second
        else:
            log_kappa = 0.0
        kappa_value = np.exp(log_kappa)

        log_share_first = log_G_first - log_alpha_first - log_R
        log_share_second = log_G_second - log_alpha_second - log_R
        log_s_first = kappa_value * log_share_first + log_R
        log_s_second = kappa_value * log_share_second + log_R

        parameters = {
            f"{first}_c": _log_scale(centre[first], log_s_first, log_alpha_first),
            f"alpha_{first}": log_alpha_first,
            f"{second}_c": _log_scale(centre[second], log_s_second, log_alpha_second),
            f"alpha_{second}": log_alpha_second,
        }
        if floor:
            parameters["L_inf"] = z["log_T"] + log_phi
        if kappa == "free":
            parameters["kappa"] = log_kappa
        return parameters, log_kappa

    return Coordinates(tuple(names), recover)


def shared_exponent(exponent: str) -> Coordinates:
    """Return coordinates of L = L_inf + (N_c/N)^alpha + (D_c/D)^alpha.

    alpha = (G_N + G_D)/R, and s = G/alpha at the centre. The determinant is 1.
    """

    def recover(z: Values, centre: Values) -> Recovered:
        log_phi, log_rest = _log_shares(z["logit_phi"])
        log_alpha = log_add(z["log_G_N"], z["log_G_D"]) - z["log_T"] - log_rest
        parameters = {"L_inf": z["log_T"] + log_phi, exponent: log_alpha}
        for x in ("N", "D"):
            log_s = z[f"log_G_{x}"] - log_alpha
            parameters[f"{x}_c"] = _log_scale(centre[x], log_s, log_alpha)
        return parameters, 0.0

    return Coordinates(("log_T", "log_G_N", "log_G_D", "logit_phi"), recover)


def with_own(coordinates: Coordinates, own: Mapping[str, Extra]) -> Coordinates:
    """Return coordinates with further parameters, the log of each being its own coordinate.

    This suits parameters that lie on no ridge. `Extra.start` is the parameter itself, not its log.
    The determinant does not change.
    """

    def recover(z: Values, centre: Values) -> Recovered:
        parameters, log_jacobian = coordinates.recover(z, centre)
        own_logs = {name: z[f"log_{name}"] for name in own}
        return parameters | own_logs, log_jacobian

    added = _log_coordinates(own)
    names = (*coordinates.names, *added)
    return replace(coordinates, names=names, recover=recover, extra={**coordinates.extra, **added})


class ExpertTerm(NamedTuple):
    """How experts change the term of one input in `with_experts`.

    The log of the term is moved by -exponent e + slope e log(x/reference), e being the log of the
    effective number of experts.

    Attributes
    ----------
    exponent, slope
        Names of these two parameters.
    sign
        1 or -1, the sign of ``slope`` in the formula.
    reference
        Value of the input at which ``exponent`` is stated.
    """

    exponent: str
    slope: str
    sign: int
    reference: float


def with_experts(
    terms: Mapping[str, ExpertTerm],
    own: Mapping[str, Extra],
    saturate: Callable[..., Numeric],
    saturation: tuple[str, ...],
) -> Coordinates:
    """Return coordinates of the additive law whose two terms change with the number of experts.

    T is the loss at the centre of the table, its experts included. log_G_N and log_G_D are the logs
    of each exponent without experts times its term at the centre. They are the slopes but for what
    experts add to the exponents. The logs of the further parameters are their own coordinates.
    The determinant is that of the additive law, 1, because each scale is only moved by further
    parameters.

    Parameters
    ----------
    terms
        How experts change the term of each input, by input.
    own
        Starts and widths of all further parameters.
    saturate
        Function ``saturate(E, **saturation)`` that returns e.
    saturation
        Names of the parameters of ``saturate``.
    """
    base = with_own(kappa_family(floor=True, kappa="one"), own)

    def recover(z: Values, centre: Values) -> Recovered:
        parameters, log_jacobian = base.recover(z, centre)
        limits = {name: np.exp(parameters[name]) for name in saturation}
        e = saturate(np.exp(centre["E"]), **limits)
        for x, term in terms.items():
            distance = centre[x] - float(np.log(term.reference))
            slope = term.sign * np.exp(parameters[term.slope])
            local_exponent = np.exp(parameters[term.exponent]) - slope * distance
            # The term without experts is larger than the term at the centre by this log.
            gain = local_exponent * e
            scale = parameters[f"{x}_c"]
            parameters[f"{x}_c"] = scale + gain * np.exp(-parameters[f"alpha_{x}"])
        return parameters, log_jacobian

    return replace(base, recover=recover)


def one_term(x: str, *, floor: bool) -> Coordinates:
    """Return coordinates of L = L_inf + (x_c/x)^alpha, or of (x_c/x)^alpha without ``floor``.

    alpha = G/R, and s = R at the centre. The determinant is 1.
    """
    names = ["log_T", f"log_G_{x}"]
    if floor:
        names.append("logit_phi")

    def recover(z: Values, centre: Values) -> Recovered:
        log_rest = 0.0  # without a floor, the whole loss is reducible
        if floor:
            log_phi, log_rest = _log_shares(z["logit_phi"])
        log_R = z["log_T"] + log_rest
        log_alpha = z[f"log_G_{x}"] - log_R
        parameters = {
            f"{x}_c": _log_scale(centre[x], log_R, log_alpha),
            f"alpha_{x}": log_alpha,
        }
        if floor:
            parameters["L_inf"] = z["log_T"] + log_phi
        return parameters, 0.0

    return Coordinates(tuple(names), recover)


def repeated_data(own: Mapping[str, Extra]) -> Coordinates:
    """Return coordinates of the additive law for tables with repeated data, and ``own`` parameters.

    Repeated data are worth between U and D unique tokens. The centre of the data is therefore half
    way between the means of log D and log U.
    """
    base = with_own(kappa_family(floor=True, kappa="one"), own)

    def recover(z: Values, centre: Values) -> Recovered:
        log_data = (centre["D"] + centre["U"]) / 2
        return base.recover(z, {"N": centre["N"], "D": log_data})

    return replace(base, recover=recover)


def overfitting(reference: float) -> Coordinates:
    """Return coordinates of L = L_inf + u/(1 + u/S), u = n + d + o, with S = L_drop.

    n and d are powers of N and D, and o = (U_c/U)^alpha_U (N/reference)^gamma. At the centre
    u/(1 + u/S) = R. As in `bounded_term` the coordinate ``room`` gives S = R (1 + e^room) and
    q = 1 - R/S. Then u = R/q, and dL/du = q^2. The coordinate ``over`` is the logit of the share of
    o in u. log_G_N and log_G_D are the logs of the slopes without o, q^2 alpha_N n and
    q^2 alpha_D d, so that n and d follow as in `kappa_family`, with q^2 (n + d) for the reducible
    loss. The determinant is 1.

    Parameters
    ----------
    reference
        N at which U_c is stated.
    """
    extra = {"room": Extra(1.5, 0.5), "over": Extra(-3.0, 1.0)}
    own = _log_coordinates({"alpha_U": Extra(0.5, 0.4), "gamma": Extra(0.4, 0.4)})

    def recover(z: Values, centre: Values) -> Recovered:
        log_L_inf, log_R = _split_loss(z)
        log_q, _ = _log_shares(z["room"])
        log_u = log_R - log_q
        log_over, log_rest = _log_shares(z["over"])
        log_powers = log_u + log_rest  # of n + d
        log_reducible = log_powers + 2.0 * log_q

        log_slopes = log_add(z["log_G_N"], z["log_G_D"] + z["delta"])
        log_alpha = {"N": log_slopes - log_reducible}
        log_alpha["D"] = log_alpha["N"] - z["delta"]
        parameters = {"L_inf": log_L_inf, "L_drop": log_R + log_add(z["room"], 0.0)}
        for x in ("N", "D"):
            log_s = z[f"log_G_{x}"] - log_alpha[x] - 2.0 * log_q
            parameters[f"{x}_c"] = _log_scale(centre[x], log_s, log_alpha[x])
            parameters[f"alpha_{x}"] = log_alpha[x]

        gamma = np.exp(z["log_gamma"])
        distance = centre["N"] - float(np.log(reference))
        log_o = log_u + log_over - gamma * distance
        log_U, log_D = centre["U"], centre["D"]
        log_unique = (log_U + log_D - abs(log_U - log_D)) / 2  # of min(U, D)
        parameters["U_c"] = _log_scale(log_unique, log_o, z["log_alpha_U"])
        parameters["alpha_U"] = z["log_alpha_U"]
        parameters["gamma"] = z["log_gamma"]
        return parameters, 0.0

    names = ("log_T", "log_G_N", "log_G_D", "delta", "logit_phi", *extra, *own)
    return Coordinates(names, recover, extra | own)


class Bend(NamedTuple):
    """The shape of a bent power at the centre, for `bent_term`.

    Attributes
    ----------
    height
        h, what the bends add to log R / alpha.
    log_slope
        Log of e = 1 - dh/dlog x.
    parameters
        Function of log alpha that returns the logs of the law's further parameters.
    """

    height: Numeric
    log_slope: Numeric
    parameters: Callable[[Numeric], dict[str, Numeric]]


def bent_term(
    x: str, bend: Callable[[Values, Numeric], Bend], extra: Mapping[str, Extra]
) -> Coordinates:
    """Return coordinates of L = L_inf + R with log R = alpha (log x_c - log x + h), a bent power.

    h and e = 1 - dh/dlog x at the centre do not depend on alpha. So G = R alpha e,
    alpha = G/(R e), and the log of the term's size at the centre is log R - alpha h. The
    determinant is 1.

    Parameters
    ----------
    x
        Name of the input.
    bend
        Function of the coordinates and the centre (mean of log x) that returns the `Bend`.
    extra
        The coordinates that ``bend`` reads.
    """

    def recover(z: Values, centre: Values) -> Recovered:
        log_L_inf, log_R = _split_loss(z)
        shape = bend(z, centre[x])
        log_alpha = z[f"log_G_{x}"] - log_R - shape.log_slope
        parameters = {
            "L_inf": log_L_inf,
            f"{x}_c": _log_scale(centre[x], log_R, log_alpha) - shape.height,
            f"alpha_{x}": log_alpha,
        }
        return parameters | shape.parameters(log_alpha), 0.0

    return Coordinates(("log_T", f"log_G_{x}", "logit_phi", *extra), recover, extra)


def shifted_term(x: str) -> Coordinates:
    """Return coordinates of L = L_inf + (x_c/(x + x_0))^alpha.

    h = log e = -log(1 + x_0/x) at the centre. The coordinate ``shift`` is log(x_0/centre).
    """

    def bend(z: Values, centre: Numeric) -> Bend:
        def parameters(_log_alpha: Numeric) -> dict[str, Numeric]:
            return {f"{x}_0": centre + z["shift"]}

        height = -log_add(z["shift"], 0.0)
        return Bend(height, height, parameters)

    return bent_term(x, bend, {"shift": Extra(-4.0, 1.5)})


def broken_term(x: str, *, breaks: Literal[1, 2]) -> Coordinates:
    """Return coordinates of a power with one or two breaks, over an irreducible loss.

    The exponents are alpha_x, alpha_1 and, with two breaks, alpha_2; the breaks lie at x_1 and
    x_2 = x_1 10^gap. With r_0 = 1, r_i = alpha_i/alpha_x and t_i = log(x/x_i)/f at the centre,

        h = -sum_i (r_i - r_(i-1)) f log(1 + e^t_i)
        e = 1 + sum_i (r_i - r_(i-1)) / (1 + e^-t_i)

    The further coordinates are ``break`` = log(x_1/centre), log f, log gap, and the logs of
    alpha_1/alpha_x and alpha_2/alpha_1 (``turn_1`` and ``turn_2``).
    """

    def bend(z: Values, centre: Numeric) -> Bend:
        f = np.exp(z["log_f"])
        logs = {f"{x}_1": centre + z["break"], "f": z["log_f"]}
        log_ratios = {}

        t = -z["break"] / f
        log_ratio = 0.0
        previous_ratio = 1.0
        height = 0.0
        slope = 1.0
        for i in range(1, breaks + 1):
            if i == 2:
                # The second break lies ``gap`` decades above the first.
                logs["gap"] = z["log_gap"]
                t = t - np.exp(z["log_gap"]) * float(np.log(10.0)) / f
            softplus = log_add(t, 0.0)
            log_ratio = log_ratio + z[f"turn_{i}"]
            log_ratios[f"alpha_{i}"] = log_ratio
            ratio = np.exp(log_ratio)
            height = height - (ratio - previous_ratio) * f * softplus
            slope = slope + (ratio - previous_ratio) * np.exp(t - softplus)
            previous_ratio = ratio

        def parameters(log_alpha: Numeric) -> dict[str, Numeric]:
            exponents = {name: log_alpha + value for name, value in log_ratios.items()}
            return logs | exponents

        return Bend(height, np.log(slope), parameters)

    extra = {"break": Extra(0.0, 1.0), "log_f": Extra(-0.7, 0.5), "turn_1": Extra(0.0, 0.5)}
    if breaks == 2:
        # The first break starts below the centre, so that the two start on either side of it.
        extra["break"] = Extra(-1.5, 1.0)
        extra["log_gap"] = Extra(0.3, 0.3)
        extra["turn_2"] = Extra(0.0, 0.5)
    return bent_term(x, bend, extra)


def bounded_term(x: str) -> Coordinates:
    """Return coordinates of L = L_inf + u with u/(1 - u/S)^gamma = (x_c/x)^alpha, S = L_drop.

    At the centre u = R. The coordinate ``room`` gives S = R (1 + e^room), so that
    q = 1 - R/S = 1/(1 + e^-room). Then log s = log R - gamma log q, and alpha follows from
    G = alpha/(1/R + gamma/(S - R)). The determinant is q + gamma (1 - q).
    """

    def recover(z: Values, centre: Values) -> Recovered:
        log_L_inf, log_R = _split_loss(z)
        gamma = np.exp(z["log_gamma"])
        log_q, log_used = _log_shares(z["room"])
        log_s = log_R - gamma * log_q
        # alpha = G (1/R + gamma/(S - R)) = (G/R) (1 + gamma e^-room)
        log_alpha = z[f"log_G_{x}"] - log_R + log_add(0.0, z["log_gamma"] - z["room"])
        parameters = {
            "L_inf": log_L_inf,
            "L_drop": log_R + log_add(z["room"], 0.0),
            f"{x}_c": _log_scale(centre[x], log_s, log_alpha),
            f"alpha_{x}": log_alpha,
            "gamma": z["log_gamma"],
        }
        return parameters, log_add(log_q, z["log_gamma"] + log_used)

    extra = {"room": Extra(1.5, 0.3), "log_gamma": Extra(0.0, 0.5)}
    return Coordinates(("log_T", f"log_G_{x}", "logit_phi", *extra), recover, extra)


def two_limits() -> Coordinates:
    """Return coordinates of L = L_inf + max(n, d).

    Each limit has its own slope at its own size: alpha = G/s. The coordinate ``balance`` is half of
    log(s_N/s_D). The determinant is 2.
    """

    def recover(z: Values, centre: Values) -> Recovered:
        log_L_inf, log_R = _split_loss(z)
        log_s = {"N": log_R + z["balance"], "D": log_R - z["balance"]}
        parameters = {"L_inf": log_L_inf}
        for x in ("N", "D"):
            log_alpha = z[f"log_G_{x}"] - log_s[x]
            parameters[f"{x}_c"] = _log_scale(centre[x], log_s[x], log_alpha)
            parameters[f"alpha_{x}"] = log_alpha
        return parameters, float(np.log(2.0))

    return Coordinates(("log_T", "log_G_N", "log_G_D", "logit_phi", "balance"), recover)


def log_linear(amplitude: str, reference: Mapping[str, float]) -> Coordinates:
    """Return coordinates of log L = log amplitude - sum of alpha_x log(x/reference_x).

    The log amplitude is log T shifted from the centre to the reference. The determinant is 1.
    """

    def recover(z: Values, centre: Values) -> Recovered:
        log_alphas = {}
        for x in reference:
            log_alphas[f"alpha_{x}"] = z[f"log_G_{x}"] - z["log_T"]
        shift = 0.0
        for x, at in reference.items():
            distance = centre[x] - float(np.log(at))
            shift = shift + np.exp(log_alphas[f"alpha_{x}"]) * distance
        return {amplitude: z["log_T"] + shift} | log_alphas, 0.0

    slopes = [f"log_G_{x}" for x in reference]
    return Coordinates(("log_T", *slopes), recover)


def interaction(
    x: str,
    amplitude: str,
    saturate: Callable[..., Numeric],
    reference: float,
    own: Mapping[str, Extra],
) -> Coordinates:
    """Return coordinates of log L = log amplitude - alpha_N n - alpha_x e + gamma n e.

    n = log(N/reference), and e is the log of x after saturation. The table determines T and the
    slope in N, which give alpha_N = G_N/T + gamma e, always positive. The other coordinates are the
    logs of the parameters themselves. The determinant is G_N/(T alpha_N).

    Parameters
    ----------
    x
        Name of the input that saturates.
    amplitude
        Name of the parameter that is the loss at n = e = 0.
    saturate
        Function ``saturate(x, **own)`` that returns e.
    reference
        N at which n = 0.
    own
        Starts and widths of the parameters of ``saturate``.
    """
    base = {f"alpha_{x}": Extra(0.05, 0.4), "gamma": Extra(0.004, 0.5), **own}
    extra = _log_coordinates(base)

    def recover(z: Values, centre: Values) -> Recovered:
        logs = {name: z[f"log_{name}"] for name in base}
        saturation = {name: np.exp(logs[name]) for name in own}
        n = centre["N"] - float(np.log(reference))
        e = saturate(np.exp(centre[x]), **saturation)

        log_relative_slope = z["log_G_N"] - z["log_T"]
        alpha_N = np.exp(log_relative_slope) + np.exp(logs["gamma"]) * e
        size_term = alpha_N * n
        other_term = np.exp(logs[f"alpha_{x}"]) * e
        interaction_term = np.exp(logs["gamma"]) * n * e
        log_amplitude = z["log_T"] + size_term + other_term - interaction_term
        parameters = {amplitude: log_amplitude, "alpha_N": np.log(alpha_N)}
        return parameters | logs, log_relative_slope - np.log(alpha_N)

    return Coordinates(("log_T", "log_G_N", *extra), recover, extra)


def log_add(a: Numeric, b: Numeric) -> Numeric:
    """Return log(exp(a) + exp(b)), by arithmetic that floats and PyTensor variables share."""
    difference = abs(a - b)
    return (a + b + difference) / 2 + np.log1p(np.exp(-difference))


def _log_shares(logit: Numeric) -> tuple[Numeric, Numeric]:
    """Return the logs of a share and of its complement, given the logit of the share."""
    log_complement = -log_add(logit, 0.0)
    return logit + log_complement, log_complement


def _split_loss(z: Values) -> tuple[Numeric, Numeric]:
    """Return the logs of the floor L_inf = T phi and of the reducible loss R = T (1 - phi)."""
    log_phi, log_rest = _log_shares(z["logit_phi"])
    return z["log_T"] + log_phi, z["log_T"] + log_rest


def _log_scale(log_x: Numeric, log_s: Numeric, log_alpha: Numeric) -> Numeric:
    """Return log x_c of a term whose size is s = (x_c/x)^alpha at x."""
    return log_x + log_s * np.exp(-log_alpha)


def _log_coordinates(parameters: Mapping[str, Extra]) -> dict[str, Extra]:
    """Return coordinates that are the logs of parameters; `Extra.start` becomes a log as well."""
    coordinates = {}
    for name, (start, step) in parameters.items():
        coordinates[f"log_{name}"] = Extra(float(np.log(start)), step)
    return coordinates
