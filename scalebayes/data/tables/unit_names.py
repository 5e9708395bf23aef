"""Units in the names of columns: millions, peta, GMAC, PF-days, GPU-hours, perplexity ..."""

from __future__ import annotations

import re
from typing import NamedTuple

from scalebayes.units import format_quantity

PREFIXES = {
    **dict.fromkeys(("k", "kilo", "thousand", "thousands"), 1e3),
    **dict.fromkeys(("m", "mega", "mio", "million", "millions"), 1e6),
    **dict.fromkeys(("g", "b", "bn", "giga", "billion", "billions"), 1e9),
    **dict.fromkeys(("t", "tn", "tera", "trillion", "trillions"), 1e12),
    **dict.fromkeys(("p", "peta"), 1e15),
    **dict.fromkeys(("e", "exa"), 1e18),
    **dict.fromkeys(("z", "zetta"), 1e21),
}
"""Factors by the words and letters for them, in lower case."""
PF_DAY = 8.64e19
"""FLOP of a petaFLOP/s-day."""
FLOP_OF_A_MAC = 2.0
"""Operations of a multiply-accumulate."""
GPU_HOUR_EXAMPLE = 1.44e18
"""FLOP of an hour at a sustained 4e14 FLOP/s, for the hint on GPU-hours."""

_LONG = "kilo|mega|giga|tera|peta|exa|zetta"
_PF_DAYS = re.compile(r"p(?:eta)?[\s_-]?f(?:lops?)?(?:[\s_/-]*s(?:ec(?:ond)?)?)?[\s_-]*days?")
_GPU_HOURS = re.compile(
    r"(?:gpu|tpu|accelerator|device|chip|[ahbv]\d{2,3})s?[\s_-]*(?:hours?|hrs?)"
)
_FLOP = re.compile(rf"(?<![a-z])({_LONG}|[kmgtpez])?[\s_-]?(flops?|macs?)(?![a-z])")
_POWER = re.compile(r"(?:10\^|1e\+?|\be)(\d{1,2})")
_SUFFIX = re.compile(rf"[\s_(\[,/-]+(?:in\s+)?({'|'.join(PREFIXES)})\s*[)\]]*$")

_PER_BYTE = (
    r"bpb|bpc|(bits?|nats?|perplexity|ppl) (per )?(byte|char|character)|"
    r"(byte|char|character) (perplexity|ppl)"
)
_NOT_NATS = {
    "per byte, not per token: see loss_unit='bits_per_byte' (--loss-unit) and tokens_per_byte": (
        _PER_BYTE
    ),
    "a perplexity per word has no conversion to nats per token: metric= (--metric) names it": (
        r"word (perplexity|ppl)|(perplexity|ppl) (per )?word"
    ),
    "take its logarithm: loss_unit='perplexity' (--loss-unit perplexity)": (
        r"ppls?|perplexity|perplexities"
    ),
    "bits are not nats: loss_unit='bits' (--loss-unit bits)": r"bits?",
    "a percentage: loss_unit='percent' (--loss-unit percent) makes it a share": (
        r"percent|percentage|pct|%"
    ),
    "an accuracy is not a loss: see read_scores (scalebayes fit-scores)": (
        r"acc|accuracy|accuracies"
    ),
}
"""Expressions for names of losses in another unit than nats per token, by the advice on them."""


class NamedUnit(NamedTuple):
    """The quantity that a name has without its unit, and the unit's factor (None if unknown)."""

    base: str
    factor: float | None
    unit: str


def unit_in_name(name: str) -> NamedUnit | None:
    """Return the unit that the name of a column states, or None.

    Examples
    --------
    >>> unit_in_name("FLOPs (P)")
    NamedUnit(base='flops', factor=1000000000000000.0, unit='peta')
    >>> unit_in_name("gmacs")
    NamedUnit(base='flops', factor=2000000000.0, unit='giga-MAC')
    """
    text = name.strip().lower()
    if _PF_DAYS.search(text):
        return NamedUnit("flops", PF_DAY, "PF-days")
    if _GPU_HOURS.search(text):
        return NamedUnit("flops", None, "GPU-hours")
    power = _POWER.search(text)
    if power is not None:
        base = (text[: power.start()] + text[power.end() :]).strip(" _()[]-/x*")
        return NamedUnit(base, 10.0 ** int(power[1]), power[0])
    suffix = _SUFFIX.search(text)
    if suffix is not None:
        base = text[: suffix.start()]
        factor = PREFIXES[suffix[1]]
        are_counted = "flop" not in base
        unit = _counted(factor) if are_counted else _prefix_name(factor)
        return NamedUnit(base, factor, unit)
    return _unit_of_compute(text)


def _unit_of_compute(text: str) -> NamedUnit | None:
    """Return the unit in a name such as gflops or macs, or None."""
    flop = _FLOP.search(text)
    if flop is None:
        return None
    prefix, noun = flop[1], flop[2]
    base = text[: flop.start()] + "flops" + text[flop.end() :]
    factor = PREFIXES[prefix] if prefix else 1.0
    if noun.startswith("mac"):
        unit = f"{_prefix_name(factor)}-MAC" if prefix else "MAC"
        return NamedUnit(base, FLOP_OF_A_MAC * factor, unit)
    return NamedUnit(base, factor, _prefix_name(factor)) if prefix else None


def _prefix_name(factor: float) -> str:
    """Return the prefix of a factor: peta for 1e15."""
    return next(word for word in _LONG.split("|") if PREFIXES[word] == factor)


def _counted(factor: float) -> str:
    """Return the plural of a factor, as of parameters and tokens: millions for 1e6."""
    plurals = [word for word, value in PREFIXES.items() if value == factor and word.endswith("s")]
    return plurals[0] if plurals else _prefix_name(factor)


def scale_hint(column: str, factor: float) -> str:
    """Return how a column is scaled, in Python and on the command line."""
    text = re.sub(r"e\+0?", "e", f"{factor:.3g}")
    return f"scale={{{column!r}: {text}}} (--scale '{column}={text}')"


def hint_of_name(column: str) -> str:
    """Return what to do about the unit in the name of a column; empty without such a unit."""
    unit = unit_in_name(column)
    if unit is None:
        return ""
    if unit.factor is None:
        example = scale_hint(column, GPU_HOUR_EXAMPLE)
        return f"{unit.unit} are 3600 times the FLOP/s that one GPU sustains: at 4e14, {example}"
    return f"in {unit.unit}: {scale_hint(column, unit.factor)}"


def not_nats(column: str) -> str:
    """Return advice if the name of a column shows that it holds no nats per token, else nothing."""
    words = _spaced_words(column)
    for advice, expression in _NOT_NATS.items():
        if re.search(f" ({expression}) ", words):
            return advice
    return ""


def is_per_byte(column: str) -> bool:
    """Whether the name of a column says that it holds a loss per byte or character."""
    return re.search(f" ({_PER_BYTE}) ", _spaced_words(column)) is not None


def words_of(name: str) -> list[str]:
    """Return the words of a name in lower case, and % signs.

    A capital inside a name begins a word: valBpb has the words val and bpb.
    """
    text = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", name)
    return re.findall("[a-z]+|%", text.lower())


def _spaced_words(column: str) -> str:
    """Return the words of a name, each between blanks."""
    return f" {' '.join(words_of(column))} "


def compute_hint(column: str, ratio: float) -> str:
    """Return what a compute of `ratio` times 6ND may be; ratio: median over the rows."""
    named = hint_of_name(column)
    if named:
        return named
    units = {
        "giga": 1e9,
        "tera": 1e12,
        "peta": 1e15,
        "exa": 1e18,
        "zetta": 1e21,
        "PF-days": PF_DAY,
    }
    for unit, factor in units.items():
        if 1 / 3 < ratio * factor < 3:
            return f"in {unit}? {scale_hint(column, factor)}"
    choose = "--map C=COLUMN chooses another column, C=none leaves it out"
    if 1 / 2 < ratio < 2:
        return choose
    return f"6ND is {format_quantity(1 / ratio)} times as much: another unit? {choose}"
