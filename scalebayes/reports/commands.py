"""How to make a report again: commands where their options suffice, else lines of Python."""

from __future__ import annotations

import json
import math
import re
import shlex
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from scalebayes.comparison.compare import Comparison
from scalebayes.costs.cost import Price
from scalebayes.data.metrics import LOSS, NATS_PER_TOKEN
from scalebayes.data.reading import Reading
from scalebayes.data.tables.columns import LABELS, QUANTITIES
from scalebayes.datasets import TABLES
from scalebayes.errors import SpecError
from scalebayes.fitting.samplers import own_settings
from scalebayes.posterior.average import Average
from scalebayes.posterior.fit import Fit
from scalebayes.queries.ahead import inputs_ahead
from scalebayes.specs.spec import read_model, with_trainings
from scalebayes.summaries.intervals import CI_PROB
from scalebayes.validation.sensitivity import AS_FITTED, Sensitivity

SETTINGS = ("chains", "draws", "tune")
"""Settings of the sampler that `scalebayes fit` has options for."""
USUAL_SETTINGS = {"draws": 1000, "chains": 4}
"""Settings that `scalebayes.fit` uses by default, whatever the model."""
WITHOUT_EFFECT = ("cores",)
"""Settings of the sampler that change no draw."""
TEXT_OPTIONS = ("loss_unit", "tokens_per_byte", "sep", "decimal", "name_pattern", "metric")
"""Arguments of `read_runs` with an option of the same name."""
FLAGS = {
    ("own_units", True): "--own-units",
    ("strict", False): "--lenient",
    ("skip_incomplete", True): "--skip-incomplete",
    ("keep_outliers", True): "--keep-outliers",
    ("best", True): "--best",
}
"""Arguments that an option without a value stands for."""
FILE_NAME = re.compile(r"[\w][\w. ()+-]*")
"""Labels of fits that can be names of files."""


@dataclass(frozen=True)
class Question:
    """What a report was asked, beside its subject.

    Attributes
    ----------
    asked
        N, D and C as far as they were given.
    ci_prob
        Probability of the intervals.
    price
        Price of compute, or None.
    sensitivity
        Refits under other assumptions, or None.
    """

    asked: Mapping[str, Any] = field(default_factory=dict)
    ci_prob: float = CI_PROB
    price: Price | None = None
    sensitivity: Sensitivity | None = None


@dataclass(frozen=True)
class Remaking:
    """The text that makes a report again.

    Attributes
    ----------
    language
        ``"commands"`` or ``"Python"``.
    text
        The commands or the lines of Python.
    remarks
        Sentences on what else is needed, or on what is not known.
    models
        Specs that are no models of the package, as JSON by the name of the file to save them in.
    """

    language: str
    text: str
    remarks: tuple[str, ...]
    models: Mapping[str, str]


def remaking(
    subject: Fit | Average | Comparison, fits: Mapping[str, Fit], question: Question
) -> Remaking:
    """Return how to make a report again.

    subject : what was reported. fits : its fits by label.
    """
    models = {}
    for label, fit in fits.items():
        if not is_known_model(fit):
            models[_json_name(label)] = fit.spec.model_dump_json(indent=1)
    remarks = _remarks(fits, models)
    if _commands_suffice(subject, fits, question):
        lines = [_fit_command(label, fit) for label, fit in fits.items()]
        lines.append(_report_command(list(fits), question))
        return Remaking("commands", "\n".join(lines), remarks, models)
    return Remaking("Python", _in_python(subject, fits, question), remarks, models)


def is_known_model(fit: Fit) -> bool:
    """Return whether the spec is the package's model of that name, for the table of the fit."""
    try:
        spec = read_model(fit.spec.name)
    except SpecError:  # no model of the package has this name
        return False
    if fit.view is None:
        spec = with_trainings(spec, fit.runs)
    return spec.hash == fit.spec.hash


def _remarks(fits: Mapping[str, Fit], models: Mapping[str, str]) -> tuple[str, ...]:
    """Return what is needed beside the text, and what is not known, one sentence each."""
    sentences: dict[str, None] = {}  # a set that keeps its order
    for fit in fits.values():
        reading = fit.runs.reading
        if reading is None:
            sentences[_of_unknown_reading(fit)] = None
            continue
        if reading.source is None:
            sentences["`table` is the table in memory that was read."] = None
        elif reading.function != "load_runs":
            sentences[f"The table is read from {_sources(reading)}."] = None
        if reading.hash != _hash_of_fitted_runs(fit):
            sentences[
                "The runs were changed or selected after they were read, so these lines fit "
                "another table than this report shows."
            ] = None
    for name in models:
        sentences[f"Save the JSON below as {name} first."] = None
    return tuple(sentences)


def _of_unknown_reading(fit: Fit) -> str:
    """Return the sentence on a table whose reading is not known."""
    if fit.runs.name in TABLES:
        return (
            "This fit does not record how its table was read; the options for outliers and sweeps "
            "are assumed to be the default ones."
        )
    return (
        "This fit does not record how its table was read (an earlier version saved it, or its "
        "table was made in memory), so options may be missing."
    )


def _sources(reading: Reading) -> str:
    """Return the path or the paths of a table in words."""
    if isinstance(reading.source, tuple):
        return ", ".join(reading.source)
    return str(reading.source)


def _hash_of_fitted_runs(fit: Fit) -> str:
    """Return the hash of the table that was fitted. For a view it is the table of all groups."""
    hashes = fit.metadata.get("hashes", {})
    return str(hashes.get("runs", fit.runs.hash))


def _json_name(label: str) -> str:
    """Return the name of the file for a spec."""
    return f"{re.sub(r'[^A-Za-z0-9.-]+', '-', label)}.json"


# Commands


def _commands_suffice(
    subject: Fit | Average | Comparison, fits: Mapping[str, Fit], question: Question
) -> bool:
    """Return whether options of the command line can state everything that was asked."""
    if isinstance(subject, Average):
        return False
    if isinstance(subject, Comparison):
        refitted = (subject.table["high_k"] != subject.table["high_k_left"]).any()
        if refitted or question.sensitivity is not None:
            return False
    for label, fit in fits.items():
        if not FILE_NAME.fullmatch(label) or not _has_command(fit):
            return False
    if question.sensitivity is None:
        return True
    (fit,) = fits.values()
    return _is_usual(fit, question.sensitivity, question.asked)


def _has_command(fit: Fit) -> bool:
    """Return whether `scalebayes fit` can make a fit."""
    if fit.view is not None or not is_known_model(fit) or _further_settings(fit):
        return False
    reading = fit.runs.reading
    if reading is None:
        return True
    if not isinstance(reading.source, str) or reading.source.startswith("-"):
        return False
    if reading.function == "load_runs":
        return True
    if reading.function != "read_runs" or reading.source in TABLES:
        return False
    is_path = bool(Path(reading.source).suffix) or Path(reading.source).exists()
    return is_path and all(_option(*item) for item in reading.arguments.items())


def _fit_command(label: str, fit: Fit) -> str:
    """Return the command that makes a fit again and saves it under its label."""
    words = ["scalebayes", "fit", *_table_words(fit), "-m", fit.spec.name]
    if fit.metadata.get("backend", "nutpie") != "nutpie":
        words += ["--backend", fit.metadata["backend"]]
    for name, value in _settings(fit).items():
        words += [f"--{name}", str(value)]
    words += ["--quick", "-o", f"{label}.nc"]
    return shlex.join(words)


def _table_words(fit: Fit) -> list[str]:
    """Return the table of a fit and the options by which it was read."""
    reading = fit.runs.reading
    if reading is not None:
        words = [_sources(reading)]
        for name, value in reading.arguments.items():
            words += _option(name, value)
        return words
    if fit.runs.name in TABLES:
        return [fit.runs.name]
    words = [fit.runs.source or f"{fit.runs.name}.csv"]
    if fit.runs.metric not in (NATS_PER_TOKEN, LOSS):
        words += ["--metric", fit.runs.metric]
    return words


def _option(name: str, value: Any) -> list[str]:
    """Return an argument of a reading as an option; empty where there is no such option."""
    if isinstance(value, bool):
        flag = FLAGS.get((name, value))
        return [] if flag is None else [flag]
    if name in QUANTITIES or name in LABELS:
        return ["--map", f"{name}={value}"]
    if name in TEXT_OPTIONS:
        return [f"--{name.replace('_', '-')}", _number(value)]
    if name == "scale":
        words = []
        for column, factor in value.items():
            words += ["--scale", f"{column}={_number(factor)}"]
        return words
    return []


def _report_command(labels: list[str], question: Question) -> str:
    """Return the command that makes the report from the saved fits."""
    words = ["scalebayes", "report"]
    words += [f"{label}.nc" for label in labels]
    for name, values in question.asked.items():
        for value in _as_list(values):
            words += [f"--{name}", _number(value)]
    if question.ci_prob != CI_PROB:
        words += ["--ci-prob", _number(question.ci_prob)]
    words += _price_words(question.price)
    if question.sensitivity is not None:
        words.append("--sensitivity")
    return shlex.join([*words, "-o", "report.html"])


def _price_words(price: Price | None) -> list[str]:
    """Return the options that state a price."""
    if price is None:
        return []
    words = ["--price", _number(price.per_hour)]
    words += ["--flop-per-second", _number(price.flop_per_second)]
    if price.utilisation != 1:
        words += ["--utilisation", _number(price.utilisation)]
    if price.currency != Price.currency:
        words += ["--currency", price.currency]
    return words


def _settings(fit: Fit) -> dict[str, int]:
    """Return the seed and the sampler's settings that commands have options for, by name."""
    settings = {}
    if "seed" in fit.metadata:
        settings["seed"] = int(fit.metadata["seed"])
    known = _asked_settings(fit)
    for name in SETTINGS:
        if name in known:
            settings[name] = int(known[name])
    return settings


def _asked_settings(fit: Fit) -> dict[str, Any]:
    """Return the settings of the sampler that were asked for.

    A retry after failed convergence checks changes them, so those of the last attempt differ. Files
    of earlier versions hold only the last ones; these then are repeated.
    """
    return fit.metadata.get("asked") or fit.metadata.get("sampler") or {}


def _further_settings(fit: Fit) -> dict[str, Any]:
    """Return the settings that `scalebayes fit` has no options for and that are not the usual."""
    if "asked" not in fit.metadata:
        return {}
    usual = own_settings("nutpie", fit.spec)
    known = (*SETTINGS, *WITHOUT_EFFECT)
    return {
        name: value
        for name, value in fit.metadata["asked"].items()
        if name not in known and usual.get(name) != value
    }


def _is_usual(fit: Fit, sensitivity: Sensitivity, asked: Mapping[str, Any]) -> bool:
    """Return whether --sensitivity asks for the decision and the refits that were made."""
    if _refit_arguments(fit, sensitivity):
        return False
    question = dict(asked)
    if not question:
        question = inputs_ahead(fit)
    elif "C" in question and len(question) != 2:
        question = {"C": question["C"]}
    found = _decided(sensitivity)
    for name in question:
        if name not in found:
            continue
        wanted = [float(value) for value in np.atleast_1d(_parsed(question[name]))]
        if not np.allclose(np.unique(wanted), np.unique(found[name]), rtol=1e-12):
            return False
    return sensitivity.table.attrs["ci_prob"] == CI_PROB


def _parsed(values: Any) -> np.ndarray:
    from scalebayes.queries.inputs import quantities

    return quantities(values, "C")


def _decided(sensitivity: Sensitivity) -> dict[str, list[float]]:
    """Return the inputs of the decision that a sensitivity is about, by name."""
    rows = sensitivity.table.reset_index()
    rows = rows[rows["assumed"] == AS_FITTED]
    names = [name for name in ("N", "D", "C") if name in rows]
    distinct = rows[names].drop_duplicates()
    return {name: distinct[name].astype(float).tolist() for name in names}


def _refit_arguments(fit: Fit, sensitivity: Sensitivity) -> dict[str, Any]:
    """Return the seed and settings of the refits that differ from the usual ones."""
    others = [refit for label, refit in sensitivity.fits.items() if label != AS_FITTED]
    if not others:
        return {}
    refit = others[0]
    asked = refit.metadata.get("asked", {})
    usual = own_settings("nutpie", refit.spec) | USUAL_SETTINGS
    differing = {name: value for name, value in asked.items() if usual.get(name) != value}
    if refit.metadata.get("seed") != fit.metadata.get("seed"):
        differing["seed"] = refit.metadata["seed"]
    return differing


# Python


def _in_python(
    subject: Fit | Average | Comparison, fits: Mapping[str, Fit], question: Question
) -> str:
    """Return the lines of Python that make a report again."""
    first = next(iter(fits.values()))
    lines = ["import scalebayes as sb", ""]
    if any(not is_known_model(fit) for fit in fits.values()):
        lines[:0] = ["from pathlib import Path", ""]
    lines.append(f"runs = {_reading_call(first)}")
    if isinstance(subject, Fit):
        lines.append(f"subject = {_fit_call(next(iter(fits)), first)}")
    else:
        lines.append("fits = {")
        for label, fit in fits.items():
            lines.append(f"    {_literal(label)}: {_fit_call(label, fit)},")
        lines.append("}")
    if isinstance(subject, Comparison):
        lines.append("subject = sb.compare(fits)")
    elif isinstance(subject, Average):
        weights = {label: float(weight) for label, weight in subject.weights.items()}
        lines.append(f"subject = sb.average(fits, weights={_literal(weights)})")

    arguments = _report_arguments(first, question)
    lines.append(_call("sb.report", ["subject", '"report.html"'], arguments))
    return "\n".join(lines)


def _report_arguments(fit: Fit, question: Question) -> dict[str, str]:
    """Return the arguments of `scalebayes.report` as text by name. fit: the first one."""
    arguments = {name: _literal(_plain(value)) for name, value in question.asked.items()}
    if question.ci_prob != CI_PROB:
        arguments["ci_prob"] = _literal(question.ci_prob)
    if question.price is not None:
        arguments["price"] = _price_call(question.price)
    if question.sensitivity is not None:
        refits = {name: _literal(value) for name, value in _decision(question.sensitivity).items()}
        if question.sensitivity.table.attrs["ci_prob"] != CI_PROB:
            refits["ci_prob"] = _literal(question.sensitivity.table.attrs["ci_prob"])
        further = _refit_arguments(fit, question.sensitivity)
        refits |= {name: _literal(value) for name, value in further.items()}
        arguments["sensitivity"] = _call("sb.sensitivity", ["subject"], refits)
    return arguments


def _decision(sensitivity: Sensitivity) -> dict[str, Any]:
    """Return the inputs of a decision as arguments; one value stands alone."""
    decided = _decided(sensitivity)
    if {"N", "D"} <= set(decided):
        decided.pop("C", None)
    return {name: values[0] if len(values) == 1 else values for name, values in decided.items()}


def _reading_call(fit: Fit) -> str:
    """Return the call that reads the table of a fit."""
    reading = fit.runs.reading
    if reading is None:
        if fit.runs.name in TABLES:
            return f"sb.load_runs({_literal(fit.runs.name)})"
        source = fit.runs.source or f"{fit.runs.name}.csv"
        arguments = {}
        if fit.runs.metric not in (NATS_PER_TOKEN, LOSS):
            arguments["metric"] = _literal(fit.runs.metric)
        return _call("sb.read_runs", [_literal(source)], arguments)
    source = "table"
    if reading.source is not None:
        source = _literal(_plain(reading.source))
    arguments = {name: _literal(value) for name, value in reading.arguments.items()}
    return _call(f"sb.{reading.function}", [source], arguments)


def _fit_call(label: str, fit: Fit) -> str:
    """Return the call that makes a fit, or the view of a group of it."""
    model = _literal(fit.spec.name)
    if not is_known_model(fit):
        text = f'Path({_literal(_json_name(label))}).read_text("utf-8")'
        model = f"sb.Spec.model_validate_json({text})"
    arguments: dict[str, Any] = dict(_settings(fit))
    if fit.metadata.get("backend", "nutpie") != "nutpie":
        arguments["backend"] = fit.metadata["backend"]
    arguments |= _further_settings(fit)
    made = _call(
        "sb.fit", ["runs", model], {name: _literal(value) for name, value in arguments.items()}
    )
    if fit.view is None:
        return made
    if fit.view.is_new:
        seed = {"seed": str(fit.view.seed)} if fit.view.seed else {}
        return _call("sb.new_group", [made], seed)
    return f"sb.group({made}, {_literal(fit.view.group)})"


def _price_call(price: Price) -> str:
    """Return the call that makes a price."""
    arguments = {}
    if price.currency != Price.currency:
        arguments["currency"] = _literal(price.currency)
    if price.utilisation != 1:
        arguments["utilisation"] = _literal(price.utilisation)
    numbers = [_literal(price.per_hour), _literal(price.flop_per_second)]
    return _call("sb.Price", numbers, arguments)


def _call(function: str, values: list[str], arguments: Mapping[str, str]) -> str:
    """Return a call as text."""
    named = [f"{name}={value}" for name, value in arguments.items()]
    return f"{function}({', '.join([*values, *named])})"


def _literal(value: Any) -> str:
    """Return a value as Python writes it, with texts in double quotes."""
    if isinstance(value, str):
        return json.dumps(value, ensure_ascii=False)
    if isinstance(value, Mapping):
        entries = [f"{_literal(name)}: {_literal(one)}" for name, one in value.items()]
        return f"{{{', '.join(entries)}}}"
    if isinstance(value, list | tuple):
        return f"[{', '.join(_literal(one) for one in value)}]"
    if isinstance(value, float):
        if math.isinf(value):
            return f'float("{value}")'
        return _number(value)
    return repr(value)


# Values


def _number(value: Any) -> str:
    """Return a number as the shortest text that is read as the same number; text as it is."""
    if not isinstance(value, float):
        return str(value)
    short = f"{float(value):g}"
    if float(short) == value:
        return short
    return repr(float(value))


def _plain(value: Any) -> Any:
    """Return one value, or several as a list, as types of Python."""
    if isinstance(value, str) or np.ndim(value) == 0:
        return _plain_scalar(value)
    return [_plain_scalar(one) for one in value]


def _plain_scalar(value: Any) -> Any:
    if isinstance(value, str):
        return value
    return value.item() if hasattr(value, "item") else value


def _as_list(value: Any) -> list[Any]:
    """Return the values of one question as a list."""
    plain = _plain(value)
    return plain if isinstance(plain, list) else [plain]
