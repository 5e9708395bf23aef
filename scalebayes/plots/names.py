"""Names of models as people say them, for titles, legends and reports."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

from scalebayes.data.runs import Runs
from scalebayes.datasets import TABLES
from scalebayes.datasets.names import runs_in_words as runs_in_words
from scalebayes.datasets.names import table_name as table_name
from scalebayes.datasets.names import table_name_in_words as table_name_in_words
from scalebayes.datasets.names import table_names as table_names
from scalebayes.errors import SpecError
from scalebayes.posterior.fit import Fit
from scalebayes.specs.defaults import default_model

DEFAULT_MODEL = "default model"
LAWS = {
    "bottleneck": "bottleneck law",
    "bounded": "bounded law",
    "broken": "power law with a break",
    "bounded-score": "sigmoid of compute",
    "broken-twice": "power law with two breaks",
    "chinchilla": "Chinchilla's law",
    "compute": "law of compute",
    "compute-floor": "law of compute",
    "chinchilla-tied": "Chinchilla's law with one exponent",
    "coupled": "coupled law",
    "data-constrained": "law of repeated data",
    "data-floor": "law of data",
    "data-limited": "law of overfitting",
    "data": "law of data",
    "downstream": "exponential law of accuracy",
    "downstream-logistic": "logistic law of accuracy",
    "kaplan": "Kaplan's law",
    "kaplan-compute": "Kaplan's law of compute",
    "kaplan-data": "Kaplan's law of data",
    "kaplan-floor": "Kaplan's law over a floor",
    "kaplan-size": "Kaplan's law of size",
    "kaplan-steps": "Kaplan's law of steps",
    "mixture-of-experts": "law of mixtures of experts",
    "overtraining": "over-training law",
    "product": "product law",
    "routed": "law of routed models",
    "shifted": "shifted power law",
    "size-floor": "law of size",
    "size": "law of size",
}
"""Laws of the package's models, by the name of the model without its ending."""
ENDINGS = {
    "-drift": " with drift",
    "-discrepancy": " with a discrepancy",
    "-pooled": " by family of runs",
}
"""What a model adds to its law, by the ending of its name."""


def model_name(fit: Fit) -> str:
    """Return the name of a fit's model: "default model", "Chinchilla's law" ..."""
    name = fit.spec.name
    if name == _default_of(fit.runs):
        return DEFAULT_MODEL
    return name_in_words(name)


def name_in_words(name: str) -> str:
    """Return the name of one of the package's models in words; any other name as it is."""
    for ending, addition in ENDINGS.items():
        law = name.removesuffix(ending)
        if law != name and law in LAWS:
            return f"{LAWS[law]}{addition}"
    return LAWS.get(name, name)


def _default_of(runs: Runs) -> str | None:
    """Return the name of the default model of a table, if there is one."""
    try:
        return default_model(runs)
    except SpecError:
        return None


def named_fits(fits: Fit | Mapping[str, Fit]) -> dict[str, Fit]:
    """Return fits by names for people.

    A label that was chosen stays. A label that is the name of the fit's model becomes the name of
    that model in words; where two fits then have one name, what differs is added.
    """
    if isinstance(fits, Fit):
        return {model_name(fits): fits}
    names = []
    for label, fit in fits.items():
        names.append(model_name(fit) if label == fit.spec.name else label)
    if len(set(names)) < len(names):
        names = [
            f"{name} ({label})" if names.count(name) > 1 else name
            for name, label in zip(names, fits, strict=True)
        ]
    return dict(zip(names, fits.values(), strict=True))


def for_people(text: str, fits: Iterable[Fit]) -> str:
    """Return a sentence with the internal names of models and published tables in words.

    Only names that are no words by themselves are replaced, such as coupled-drift and chinchilla.
    """
    names = {name: table_name_in_words(name) for name in TABLES}
    for fit in fits:
        if "-" in fit.spec.name or "'s" in model_name(fit):
            names[fit.spec.name] = in_sentence(model_name(fit))
    for name, words in names.items():
        text = re.sub(rf"(?<![\w/-]){re.escape(name)}(?![\w/-])", words, text)
    return text


def in_sentence(name: str) -> str:
    """Return the name of a model after a preposition: "the default model", "Chinchilla's law"."""
    has_article = name == DEFAULT_MODEL or (name.split(" with")[0] in LAWS.values())
    if has_article and "'s " not in name:
        return f"the {name}"
    return name
