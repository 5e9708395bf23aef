"""Words in the names of columns: which say a role, and which say that it is another quantity."""

import re
from collections.abc import Sequence

from scalebayes.data.tables.columns import usual_columns
from scalebayes.data.tables.unit_names import unit_in_name, words_of

ROLE_WORDS = {
    "N": {"params", "parameters"},
    "D": {"tokens"},
    "C": {"flop", "flops", "compute"},
    "loss": {"loss", "nll", "ce", "xent", "crossentropy", "deviance", "ppl", "perplexity", "bpb"},
}
"""Words in the name of a column that say its role, where no column has a usual name for it."""
OTHER_QUANTITY = {
    *("per", "batch", "step", "vocab", "vocabulary", "context", "seq", "sequence", "length"),
    *("unique", "ratio", "std", "stderr", "se", "var", "min", "max", "log", "weight", "scale"),
    *("aux", "balance", "regularization", "time", "hours", "optimal", "embedding", "embeddings"),
}
"""Words in the name of a column that say that it is another quantity, whatever its role."""
EVALUATION = {"val", "valid", "validation", "eval", "evaluation", "test", "heldout"}
TRAINING = {"train", "training"}
OTHER_SIZE = EVALUATION | {"warmup", "inference", "serving", "generated", "prompt", "output"}
OTHER_SIZE |= {"teacher", "draft", "target", "layer"}
"""Words that say that tokens, parameters or compute are not those of the training."""
OTHER_LOSS = {"pred", "predicted", "prediction", "fit", "fitted", "residual", "gap", "delta"}
OTHER_LOSS |= {"diff", "difference", "spikes", "baseline", "improvement", "relative", "error"}
"""Words that say that a loss is not that of a run."""
DATA_NOUNS = {
    *("hours", "images", "examples", "samples", "policies", "points", "rows", "sequences"),
    *("sentences", "pairs", "documents", "frames", "episodes", "trajectories", "demonstrations"),
}
"""What data are counted in where not in tokens. The range of such a column is not checked."""
_DATA_NAME = re.compile(
    rf"((n|num|number of|total|train|training|n train|n training|audio|data) )?"
    rf"({'|'.join(sorted(DATA_NOUNS))})( (seen|trained|of audio))?"
    r"|(n|num) train(ing)?|train(ing)? (set )?size"
)
"""Usual names of columns of data that are not counted in tokens, as words in lower case."""


def has_own_unit(column: str) -> bool:
    """Whether the name of a column of data says that it is not counted in tokens."""
    words = words_of(column)
    return not DATA_NOUNS.isdisjoint(words) or _DATA_NAME.fullmatch(" ".join(words)) is not None


def names_unit(name: str, role: str) -> bool:
    """Whether a name is a usual one of a role with another unit: ``params (M)`` or ``hours``."""
    if role == "D" and _DATA_NAME.fullmatch(" ".join(words_of(name))):
        return True
    unit = unit_in_name(name)
    return unit is not None and bool(usual_columns([unit.base], role))


def has_words(name: str, role: str) -> bool:
    """Whether a name has a word that says a role, and none that says another quantity."""
    words = set(words_of(name))
    if not words.isdisjoint({"non", "no", "without"}):
        words -= {"embedding", "embeddings"}  # parameters without embeddings are a size, too
    others = OTHER_QUANTITY | (OTHER_LOSS if role == "loss" else OTHER_SIZE)
    return bool(words & ROLE_WORDS[role]) and words.isdisjoint(others)


def ends_in_usual_name(column: str, role: str) -> bool:
    """Whether what follows a dot or slash is a usual name; single letters are too ambiguous."""
    ends = [column[match.end() :] for match in re.finditer(r"[./]", column)]
    return any(usual_columns([end], role) for end in ends if len(end) > 1)


def likely_columns(names: Sequence[str], role: str) -> list[str]:
    """Return the columns that may have a role by their names, as `match_columns` chooses them."""
    found = usual_columns(names, role)
    found = found or [name for name in names if ends_in_usual_name(name, role)]
    return found or [name for name in names if has_words(name, role)]


def other_losses(chosen: str, names: Sequence[str]) -> list[str]:
    """Return the columns of losses that may rather be meant than the one with a usual name.

    These are losses of an evaluation, unless the chosen one is; and if the chosen one is that of
    the training, any other loss.
    """
    words = set(words_of(chosen))
    if words & EVALUATION:
        return []
    others = [name for name in names if name != chosen and has_words(name, "loss")]
    if words & TRAINING:
        return others
    return [name for name in others if set(words_of(name)) & EVALUATION]
