"""Forecasts along a run: `forecast` of a run under way, `predict` of any schedule."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import xarray as xr

from scalebayes.curves.condensed import SETTLED, drop_modes
from scalebayes.curves.conditioning import (
    Deviations,
    curve_draws,
    deviations_given,
    new_deviations,
)
from scalebayes.curves.curve_fit import CurveFit, run_messages
from scalebayes.curves.curves import Curve, Curves
from scalebayes.curves.guess import SAME_RATE, guess_schedule
from scalebayes.curves.laws import points_of
from scalebayes.curves.schedules import Schedule, named_schedule, schedule_of_array
from scalebayes.errors import QueryError
from scalebayes.messages import Message
from scalebayes.posterior.provenance import Provenance, with_provenance
from scalebayes.summaries.caveats import failure_messages
from scalebayes.units import parse_quantity

UNDER_ITS_SCHEDULE = "its schedule"
FALL = 0.1
"""Share of the peak to which the rate falls in the what-if plans."""
SHARE_OF_DECAY = 0.1
"""Length of the decay in the what-if plans, as a share of the steps so far."""
CELLS_OF_ANSWERS = 32
"""Cells of a rise or fall of the rate in answers, which need not be fast."""
RATES_LOOKED_AT = 200
"""Steps at which the lowest learning rate of a plan is looked for."""
FAR = 3.25
"""Area over the largest of the runs above which forecasts were not checked (benchmarks)."""
LONG_NAMES = {
    "law": "loss of the law alone",
    "loss": "expected loss of the run",
    "new_run": "loss of one checkpoint",
}


@dataclass(frozen=True)
class Plan:
    """A schedule to answer for.

    Attributes
    ----------
    name
        What it is, in words.
    schedule
        The learning rate from step 0 on.
    steps
        Steps at which the loss is asked for, (targets,).
    """

    name: str
    schedule: Schedule
    steps: np.ndarray


def predict_curve(
    fit: CurveFit,
    /,
    *,
    schedule: Any = None,
    steps: float | str | None = None,
    at: Any = None,
    group: str | None = None,
    peak: float | None = None,
    warmup: float | str | None = None,
    seed: int = 0,
    **arguments: Any,
) -> xr.Dataset:
    """Return the posterior of the loss along a new run under any schedule.

    Parameters
    ----------
    fit
        A fit of curves.
    schedule
        ``"constant"``, ``"cosine"``, ``"linear"``, ``"wsd"`` or ``"steps"``; an array with the
        learning rate of each step, or with rows (step, rate); or a `Schedule`.
    steps
        Number of steps, for a schedule by name.
    at
        Steps at which the loss is asked for; by default the last.
    group
        Group of the runs, such as a model size, for a fit of several.
    peak, warmup
        Largest learning rate and steps of the warm-up, for a schedule by name; by default those of
        the first run of the group.
    seed
        Seed of the run's own deviations.
    **arguments
        Further arguments of a schedule by name: ``final``, the last rate as a share of the peak;
        ``decay`` and ``form`` of WSD; ``at_steps`` and ``factors`` of steps.

    Returns
    -------
    xarray.Dataset
        With dims (chain, draw, target): ``law``, the loss of the law; ``loss``, the expected loss
        of one further run; ``new_run``, that of one checkpoint with its noise. Coordinates along
        target: step, lr, and ``decades_beyond``, orders of magnitude of area beyond the runs.

    Raises
    ------
    QueryError
        When there is no such schedule or group, or a step lies beyond the schedule.
    """
    if schedule is None:
        raise QueryError(
            "a fit of curves along runs predicts under a schedule: give schedule=, such as "
            "'cosine' with steps=, or an array with the learning rate of each step"
        )
    group = _group(fit, group)
    first = next(curve for curve in fit.curves.runs.values() if curve.group == group)
    made = _schedule(schedule, steps, peak, warmup, first.schedule, arguments)
    targets = np.array([made.end]) if at is None else _steps(at)
    _check_steps(targets, made.end)
    name = schedule if isinstance(schedule, str) else "schedule"
    plan = Plan(name, made, targets)
    positions = fit.positions()
    rng = np.random.default_rng(seed)
    log_area = _log_area(fit, plan)
    deviations = new_deviations(positions, fit, log_area, rng)
    values = _losses(fit, group, plan, positions, deviations, rng)
    return _answer(fit, [(first, [plan], [values])], [], names_plans=False)


def forecast(
    fit: CurveFit,
    /,
    *,
    run: str | Sequence[str] | Curves | None = None,
    step: Any = None,
    schedule: Any = None,
    anneal: Any = None,
    to: float = FALL,
    plans: bool = True,
    seed: int = 0,
    **arguments: Any,
) -> xr.Dataset:
    """Return the posterior of the loss of a run under way, at later steps and under other plans.

    The forecast starts from the run's own checkpoints: its offset, its correlated deviation and
    the error of what annealing has saved in it.

    Parameters
    ----------
    fit
        A fit of curves.
    run
        Id of a run of the fit, or several ids; or the curves of one other run, which then does not
        change the parameters of the law. By default all runs of the fit that end before ``step``.
    step
        Steps at which the loss is asked for; by default the end of the schedule.
    schedule
        What the learning rate will be: an array from step 0 on, or a name as `scalebayes.predict`
        takes it, for a run up to the last ``step``. By default that of the run's table; where that
        ends before ``step``, a schedule by name that the rate has followed so far, or else the last
        rate.
    anneal
        Steps of a linear decay that begins now; several are several plans. By default a tenth of
        the steps so far.
    to
        Share of the largest rate to which that decay falls.
    plans
        Whether to answer for decays that begin now too.
    seed
        Seed of the deviations.
    **arguments
        Further arguments of a schedule by name.

    Returns
    -------
    xarray.Dataset
        As `scalebayes.predict` of a fit of curves gives it, with the plan of each target as a
        coordinate: its schedule, or a decay over the next steps.

    Raises
    ------
    QueryError
        When there is no such run, or a step is not after its last checkpoint.

    Examples
    --------
    >>> steps = np.arange(1000.0, 20_500.0, 500.0)
    >>> loss = (3.0 + 0.53 * (3e-4 * steps) ** -0.5) * (1 + 3e-4 * np.sin(7 * steps))
    >>> flat = pd.DataFrame({"run": "flat", "step": steps, "lr": 3e-4, "loss": loss})
    >>> low = flat.assign(run="low", lr=np.where(steps < 8000, 3e-4, 3e-5))
    >>> since = np.maximum(steps - 8000, 0)
    >>> low["loss"] += np.exp(-since / 1000) / 10 - 0.1 + since * 3e-6
    >>> fit = sb.fit(sb.read_curves(pd.concat([flat, low]), name="log"), "multi-power")
    >>> answer = sb.forecast(fit, run="flat", step=30_000, plans=False)
    >>> f"{float(answer['loss'].median()):.2f}"
    '3.17'
    """
    if not isinstance(fit, CurveFit):
        raise QueryError(
            "forecast asks a fit of curves along runs: fit(read_curves(FILE), 'multi-power'). For "
            "losses of other N and D, predict asks a fit of a table of runs"
        )
    targets = None if step is None else _steps(step)
    messages: list[Message] = []
    positions = fit.positions()
    rng = np.random.default_rng(seed)
    answers = []
    for curve in _runs_under_way(fit, run, targets):
        found = _plans(curve, targets, schedule, anneal if plans else (), to, arguments, messages)
        values = _given_run(fit, curve, found, positions, rng)
        answers.append((curve, found, values))
    return _answer(fit, answers, messages)


def _plans(
    curve: Curve,
    targets: np.ndarray | None,
    schedule: Any,
    anneal: Any,
    to: float,
    arguments: dict[str, Any],
    messages: list[Message],
) -> list[Plan]:
    """Return the plans of a run: its schedule, and decays that begin now.

    anneal: lengths of the decays; None for the usual one, and empty for none.
    """
    last = float(curve.steps[-1])
    ahead = schedule_ahead(curve, targets, schedule, arguments, messages)
    if targets is None:
        targets = np.array([ahead.end])
    if (targets < last).any():
        raise QueryError(
            f"{curve.run} has checkpoints up to step {last:g}: ask for later steps; got "
            f"{targets.min():g}"
        )
    return [Plan(UNDER_ITS_SCHEDULE, ahead, targets), *_decays(curve, anneal, to)]


def _given_run(
    fit: CurveFit,
    curve: Curve,
    plans: Sequence[Plan],
    positions: np.ndarray,
    rng: np.random.Generator,
) -> list[dict[str, np.ndarray]]:
    """Return the losses of plans of a run, given its checkpoints."""
    log_area = np.concatenate([_log_area(fit, plan) for plan in plans])
    deviations = deviations_given(fit, curve, positions, log_area, rng)
    values = []
    begin = 0
    for plan in plans:
        part = slice(begin, begin + len(plan.steps))
        own = replace(deviations, along=deviations.along[:, part])
        values.append(_losses(fit, curve.group, plan, positions, own, rng))
        begin = part.stop
    return values


def along(
    fit: CurveFit,
    curve: Curve,
    schedule: Schedule,
    steps: np.ndarray,
    *,
    known: float,
    draws: int,
    seed: int = 0,
) -> dict[str, np.ndarray]:
    """Return losses along a run at any steps, (draws, steps) each, for figures.

    Parameters
    ----------
    curve
        The run.
    schedule
        Its learning rate, beyond its checkpoints too.
    steps
        Steps, increasing.
    known
        Step up to which the run's checkpoints are given; before the first, none are.
    draws, seed
        Number of draws, and seed of the deviations.
    """
    positions = fit.positions()
    chosen = np.linspace(0, len(positions) - 1, min(draws, len(positions))).astype(int)
    plan = Plan(UNDER_ITS_SCHEDULE, schedule, steps)
    rng = np.random.default_rng(seed)
    given = Curves({curve.run: curve}, curve.run).before(known).runs
    if given:
        return _given_run(fit, given[curve.run], [plan], positions[chosen], rng)[0]
    deviations = new_deviations(positions[chosen], fit, _log_area(fit, plan), rng)
    return _losses(fit, curve.group, plan, positions[chosen], deviations, rng)


def _group(fit: CurveFit, asked: str | None) -> str:
    """Return the group that is asked for."""
    groups = fit.groups
    if asked is None and len(groups) == 1:
        return groups[0]
    if asked not in groups:
        raise QueryError(f"the runs are of the groups {', '.join(groups)}: give one; got {asked!r}")
    return asked


def _runs_under_way(
    fit: CurveFit, asked: str | Sequence[str] | Curves | None, targets: np.ndarray | None
) -> list[Curve]:
    """Return the runs that are asked for, or those that end before the targets."""
    if isinstance(asked, Curves):
        return [_of_a_known_group(fit, curve) for curve in asked.runs.values()]
    if isinstance(asked, str):
        return [fit.curves[asked]]
    if asked is not None:
        return [fit.curves[run] for run in asked]
    runs = list(fit.curves.runs.values())
    if targets is None or len(runs) == 1:
        if len(runs) == 1:
            return runs
        known = ", ".join(list(fit.curves.runs)[:12])
        raise QueryError(f"give a run (run=, --run) or a step (step=, --to): the runs are {known}")
    under_way = [curve for curve in runs if curve.steps[-1] < targets.min()]
    if not under_way:
        last = max(curve.steps[-1] for curve in runs)
        raise QueryError(f"no run ends before step {targets.min():g}: the last ends at {last:g}")
    return under_way


def _of_a_known_group(fit: CurveFit, curve: Curve) -> Curve:
    """Return a curve with the only group of the fit, where its own is not one of the fit."""
    if curve.group in fit.groups:
        return curve
    return replace(curve, group=_group(fit, None))


def _steps(asked: Any) -> np.ndarray:
    """Return steps as numbers; text such as 72K is read."""
    try:
        values = [parse_quantity(each) for each in _listed(asked)]
    except ValueError as error:
        raise QueryError(f"a step: {error}") from None
    if not values:
        raise QueryError("give at least one step")
    return np.array(values, dtype=float)


def _listed(asked: Any) -> list[Any]:
    """Return several values, or one, as a list."""
    if isinstance(asked, Iterable) and not isinstance(asked, str):
        return list(asked)
    return [asked]


def _check_steps(steps: np.ndarray, end: float) -> None:
    """Raise where a step lies outside a schedule."""
    if (steps > end).any() or (steps <= 0).any():
        raise QueryError(
            f"the schedule has steps up to {end:g}; got {steps.min():g} to {steps.max():g}"
        )


def _schedule(
    given: Any,
    steps: Any,
    peak: float | None,
    warmup: Any,
    like: Schedule,
    arguments: dict[str, Any],
) -> Schedule:
    """Return a schedule that was given by name, as an array or as itself.

    like: schedule of a run, for the peak and the warm-up that are not given.
    """
    if isinstance(given, Schedule):
        return given
    if not isinstance(given, str):
        return schedule_of_array(given)
    if steps is None:
        raise QueryError(f"give the number of steps of the schedule {given!r}: steps=24000")
    arguments = dict(arguments)
    if "at_steps" in arguments:
        arguments["at"] = arguments.pop("at_steps")
    return named_schedule(
        given,
        float(parse_quantity(steps)),
        peak=like.peak if peak is None else peak,
        warmup=like.warmup if warmup is None else float(parse_quantity(warmup)),
        **arguments,
    )


def schedule_ahead(
    curve: Curve,
    targets: np.ndarray | None,
    given: Any,
    arguments: dict[str, Any],
    messages: list[Message],
) -> Schedule:
    """Return the schedule of a run, past and to come.

    Parameters
    ----------
    curve
        The run.
    targets
        Steps that are asked for, or None for the end of its schedule.
    given, arguments
        What the schedule will be, and arguments of a schedule by name; None for what its table
        says.
    messages
        Receives what was assumed.
    """
    own = curve.schedule
    end = own.end if targets is None else float(targets.max())
    if given is not None:
        planned = _schedule(given, end, None, None, own, arguments)
        _check_steps(np.array([end]), planned.end)
        last = float(curve.steps[-1])
        jump = _jump(curve, planned)
        if jump is not None:
            messages.append(jump)
        return own.until(last).then(_after(planned, last))
    if end <= own.end:
        return own
    guessed = guess_schedule(curve, end)
    if guessed is not None:
        name, planned = guessed
        text = (
            f"the learning rate of {curve.run} so far is that of {name} over {end:g} steps, which "
        )
        messages.append(Message("SCHEDULE_GUESSED", "note", f"{text}is assumed to go on"))
        return planned
    rate = own.rates[-1]
    text = (
        f"{curve.run} has learning rates up to step {own.end:g}: the last, {rate:.3g}, is "
        "assumed to stay. Give schedule= (--schedule) to say otherwise"
    )
    messages.append(Message("SCHEDULE_HELD", "warning", text))
    return own.then(Schedule(np.array([own.end, end]), np.array([rate, rate])))


def _jump(curve: Curve, planned: Schedule) -> Message | None:
    """Return a warning where a given schedule does not go on from the rate that a run has."""
    own, last = curve.schedule, curve.steps[-1:]
    rate, given = own.rate(last).item(), planned.rate(last).item()
    if abs(given - rate) <= SAME_RATE * own.peak:
        return None
    text = (
        f"{curve.run} has a learning rate of {rate:.3g} at its last checkpoint, step "
        f"{last.item():.0f}, but the given schedule has {given:.3g} there: the forecast assumes "
        "that the rate jumps at this step"
    )
    return Message("SCHEDULE_JUMPS", "warning", text)


def _after(planned: Schedule, step: float) -> Schedule:
    """Return the part of a schedule after a step."""
    later = planned.steps > step
    steps = np.append(step, planned.steps[later])
    rates = np.append(planned.rate(np.array([step])), planned.rates[later])
    if len(steps) < 2:
        steps, rates = np.append(steps, step), np.append(rates, rates)
    return Schedule(steps, rates)


def _decays(curve: Curve, anneal: Any, to: float) -> list[Plan]:
    """Return plans in which the rate decays linearly from now on."""
    if not 0 <= to < 1:
        raise QueryError(f"to is a share of the largest rate, from 0 to below 1; got {to!r}")
    last = float(curve.steps[-1])
    if anneal is None:
        lengths = np.array([max(1.0, round(SHARE_OF_DECAY * last))])
    else:
        listed = _listed(anneal)
        lengths = _steps(listed) if listed else np.array([])
    now = float(curve.schedule.rate(np.array([last]))[0])
    goal = to * curve.schedule.peak
    plans = []
    for length in lengths:
        if length <= 0:
            raise QueryError(f"a decay takes at least one step; got {length:g}")
        # A rate that is lower already stays as it is.
        decay = Schedule(np.array([last, last + length]), np.array([now, min(now, goal)]))
        schedule = curve.schedule.until(last).then(decay)
        name = f"decay over the next {length:g}"
        plans.append(Plan(name, schedule, np.array([last + length])))
    return plans


def _log_area(fit: CurveFit, plan: Plan) -> np.ndarray:
    """Return the log area of the targets of a plan over the typical one."""
    return np.log(plan.schedule.area(plan.steps) / fit.layout.scale.area)


def _losses(
    fit: CurveFit,
    group: str,
    plan: Plan,
    positions: np.ndarray,
    deviations: Deviations,
    rng: np.random.Generator,
) -> dict[str, np.ndarray]:
    """Return the losses of a plan, (draws, targets) each: law, expected loss, checkpoint."""
    points = points_of(plan.schedule, plan.steps, fit.layout.scale, CELLS_OF_ANSWERS)
    law, share = curve_draws(fit, group, points, positions)
    sigma = fit.layout.noise(positions)[:, :1]
    log_ratio = deviations.offset[:, None] + deviations.along
    log_ratio += np.einsum("sj,stj->st", deviations.drop_error, drop_modes(share))
    loss = law * np.exp(log_ratio)
    return {
        "law": law,
        "loss": loss,
        "new_run": loss * np.exp(sigma * rng.normal(size=loss.shape)),
    }


def _answer(
    fit: CurveFit,
    answers: Sequence[tuple[Curve, Sequence[Plan], Sequence[dict[str, np.ndarray]]]],
    messages: list[Message],
    *,
    names_plans: bool = True,
) -> xr.Dataset:
    """Return losses of plans of runs as an answer with its caveats."""
    sizes = fit.stored["posterior"].sizes
    shape = (sizes["chain"], sizes["draw"], -1)
    runs, names, steps, rates, areas, values = [], [], [], [], [], []
    found: list[Message] = []
    for curve, plans, losses in answers:
        for plan, each in zip(plans, losses, strict=True):
            runs += [curve.run] * len(plan.steps)
            names += [plan.name] * len(plan.steps)
            steps.append(plan.steps)
            rates.append(plan.schedule.rate(plan.steps))
            areas.append(plan.schedule.area(plan.steps))
            values.append(each)
        found += _caveats(fit, plans, curve.group)
    variables = {}
    for name, long_name in LONG_NAMES.items():
        joined = np.concatenate([each[name] for each in values], axis=1)
        about = {"long_name": long_name}
        variables[name] = (("chain", "draw", "target"), joined.reshape(shape), about)
    group = answers[0][0].group
    own = [curve.areas for curve in fit.curves.runs.values() if curve.group == group]
    least, most = min(each.min() for each in own), max(each.max() for each in own)
    coords: dict[str, Any] = {}
    if names_plans:
        if len(answers) > 1:
            coords["run"] = ("target", np.array(runs, dtype=object))
        coords["plan"] = ("target", np.array(names, dtype=object))
    coords["step"] = ("target", np.concatenate(steps))
    coords["lr"] = ("target", np.concatenate(rates))
    posterior = fit.stored["posterior"].to_dataset()
    coords |= {dim: posterior[dim].values for dim in ("chain", "draw")}
    beyond = np.maximum(0.0, np.log10(np.concatenate(areas) / most))
    coords["decades_beyond"] = ("target", beyond, {"of": "area"})
    failed = failure_messages(fit.model.name, fit.gate_failures)
    # A caveat that several plans share is given once.
    told = dict.fromkeys([*failed, *messages, *found, *run_messages(fit)])
    record = Provenance(span=float(np.log10(most / least)), conflicts=tuple(told))
    return with_provenance(xr.Dataset(variables, coords), record)


def _caveats(fit: CurveFit, plans: Sequence[Plan], group: str) -> list[Message]:
    """Return warnings about plans whose learning rates or areas no run of the group has."""
    runs = [curve for curve in fit.curves.runs.values() if curve.group == group]
    return [*_rate_caveats(runs, plans), *_area_caveats(runs, plans)]


def _rate_caveats(runs: Sequence[Curve], plans: Sequence[Plan]) -> Iterator[Message]:
    """Yield a warning where a rate falls below all of the runs, and one where the peak differs."""
    lowest = min(curve.rates.min() for curve in runs)
    highest = max(curve.schedule.peak for curve in runs)
    reached = min(_lowest_rate(plan) for plan in plans)
    if reached < 0.9 * lowest:
        text = (
            f"the learning rate falls to {reached:.2g}, below the {lowest:.2g} of the runs: what "
            "annealing saves there is an extrapolation"
        )
        yield Message("RATE_BELOW", "warning", text)
    peak = max(plan.schedule.peak for plan in plans)
    if not 0.9 * highest <= peak <= 1.1 * highest:
        text = (
            f"the largest learning rate is {peak:.2g}, and that of the runs {highest:.2g}: the law "
            "does not know which rates train well"
        )
        yield Message("OTHER_PEAK", "warning", text)


def _lowest_rate(plan: Plan) -> float:
    """Return the lowest learning rate from the warm-up to the last step of a plan."""
    steps = np.linspace(plan.schedule.warmup, max(plan.steps), RATES_LOOKED_AT)
    return float(plan.schedule.rate(steps).min())


def _area_caveats(runs: Sequence[Curve], plans: Sequence[Plan]) -> Iterator[Message]:
    """Yield a warning where the area lies far beyond the runs, and one where a step is early."""
    largest = max(curve.areas[-1] for curve in runs)
    area = max(float(plan.schedule.area(plan.steps).max()) for plan in plans)
    if area > FAR * largest:
        text = (
            f"the area below the learning rate is {area / largest:.1f} times the largest of the "
            f"runs: forecasts were checked up to three times"
        )
        yield Message("AREA_BEYOND", "warning", text)
    early = []
    for plan in plans:
        of_warmup = plan.schedule.area(np.array([plan.schedule.warmup]))[0]
        is_early = plan.schedule.area(plan.steps) < SETTLED * of_warmup
        early += [*plan.steps[is_early]]
    if early:
        text = f"step {min(early):g} lies in the transient after the warm-up, which is not fitted"
        yield Message("TRANSIENT", "warning", text)
