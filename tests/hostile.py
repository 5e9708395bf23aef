"""Hostile inputs, as Hypothesis strategies: tables, model files and what may happen to a file.

`benchmarks/reliability.py` counts the outcomes of some thousand of them. The tests of hostile
inputs assert the promise for fewer: an input is read right, or one message names the file, and
nothing is written.
"""

import json
import tempfile
from pathlib import Path

import xarray as xr
from hypothesis import strategies as st

from scalebayes.data.tables.columns import LABELS, QUANTITIES
from scalebayes.data.tables.names import DATA_NOUNS

MODELS = Path(__file__).parents[1] / "models"

USUAL_NAMES = [name for quantity in QUANTITIES.values() for name in quantity.names.split(", ")] + [
    name for names in LABELS.values() for name in names.split(", ")
]
UNIT_NAMES = ["FLOPs (P)", "params_m", "tokens (B)", "ppl", "val_bpb", "gpu_hours", "gmacs"]
OTHER_NAMES = [
    "seed",
    "lr",
    "config.params",
    "eval/loss",
    "train/loss",
    "State",
    "Step",
    "a - loss",
]
QUIET_NAMES = ["seed", "lr", "config.params", "State", "Step", "notes", "hours", "λ", ""]
NASTY_NAMES = ["", " ", "N ", "n", '"', "=1+1", "\u202eN", "N\x00", "λ", "x" * 300, "loss;D", "1"]
NAMES = st.one_of(
    st.sampled_from(["N", "D", "C", "loss", "params", "tokens", "val_loss"]),
    st.sampled_from([*USUAL_NAMES, *UNIT_NAMES, *OTHER_NAMES, *sorted(DATA_NOUNS)]),
    st.sampled_from(NASTY_NAMES),
    st.text(max_size=8),
)
"""Names of columns: mostly usual ones, some in other units, some that are hardly names."""

NUMBERS = st.one_of(
    st.floats(1e6, 1e12).map(repr),
    st.floats(0.5, 9.0).map(repr),
    st.floats().map(repr),
    st.integers(-(10**30), 10**30).map(str),
)
WRITTEN = [
    *("70B", "1.4T", "1e9", "3,412", "3,14", "1.234.567", "1,234,567", "40.7%", "5e", "1__0", "0"),
    *("-0.0", "-3.1", "inf", "-inf", "Infinity", "nan", "NaN", "NA", "null", "None", "", " ", "-"),
    *(
        "1e400",
        "1e-400",
        "9" * 400,
        "1" + "0" * 5000,
        "0x10",
        "TRUE",
        "3.1 nats",
        "≈3",
        "٣",
        "1e+09",
    ),
    *(
        "=1+1",
        "@x",
        "'=x",
        "<script>",
        "{}",
        "[1]",
        "\x00",
        "\ud7ff",
        "a\nb",
        '"',
        "a,b",
        "2024-01-01",
    ),
]
CELLS = st.one_of(NUMBERS, st.sampled_from(WRITTEN), st.text(max_size=6))
"""Cells: numbers in and out of range, other ways of writing them, and other text."""


@st.composite
def columns(draw, reader):
    """Columns by name, up to nine of up to twelve rows; often those of a sound table.

    reader: what reads the table, "runs", "checkpoints" or "scores".
    """
    rows = draw(st.integers(0, 12))
    table = {}
    if draw(st.booleans()):
        sizes = st.floats(1e7, 1e11).map(repr)
        table["N"] = draw(st.lists(sizes, min_size=rows, max_size=rows))
        table["D"] = draw(st.lists(sizes, min_size=rows, max_size=rows))
        losses = st.floats(1.5, 7.0).map(repr)
        table["loss"] = draw(st.lists(losses, min_size=rows, max_size=rows))
        if reader == "checkpoints":
            table["run"] = draw(st.lists(st.sampled_from("ab"), min_size=rows, max_size=rows))
            table["step"] = draw(st.lists(st.integers(0, 9).map(str), min_size=rows, max_size=rows))
        if reader == "scores":
            shares = st.floats(0.01, 0.99).map(repr)
            table["accuracy"] = draw(st.lists(shares, min_size=rows, max_size=rows))
        others = st.sampled_from(QUIET_NAMES)
        chance_of_fault = 10
    else:
        others = NAMES
        chance_of_fault = 4
    for name in draw(st.lists(others, max_size=5)):
        table[name] = draw(st.lists(CELLS, min_size=rows, max_size=rows))
    for name in list(table):
        if rows and draw(st.integers(1, chance_of_fault)) == 1:
            table[name][draw(st.integers(0, rows - 1))] = draw(CELLS)
    return table


@st.composite
def delimited_files(draw, reader="runs"):
    """Return the ending and the bytes of a delimited file: its quoting, lines and encoding vary."""
    table = draw(columns(reader))
    sep = draw(st.sampled_from([",", ",", ";", "\t", "|"]))
    quoted = draw(st.booleans())
    lines = [list(table), *zip(*table.values(), strict=True)]
    texts = [sep.join(_written(cell, sep, quoted) for cell in line) for line in lines]
    end = draw(st.sampled_from(["\n", "\r\n", "\r", "\n\n"]))
    encoding = draw(st.sampled_from(["utf-8", "utf-8", "utf-8-sig", "utf-16", "latin-1"]))
    content = end.join(texts).encode(encoding, "replace")
    ending = draw(st.sampled_from([".csv", ".csv", ".tsv", ".CSV"]))
    return ending, draw(damaged(content)) if draw(st.integers(0, 3)) == 0 else content


@st.composite
def sound_files(draw):
    """Return the numbers of a sound table by column, and the bytes of a file that holds them."""
    rows = draw(st.integers(2, 12))
    sizes = st.floats(1e7, 1e11)
    table = {
        "N": draw(st.lists(sizes, min_size=rows, max_size=rows)),
        "D": draw(st.lists(sizes, min_size=rows, max_size=rows)),
        "loss": draw(st.lists(st.floats(1.5, 7.0), min_size=rows, max_size=rows, unique=True)),
    }
    order = draw(st.permutations(list(table)))
    sep = draw(st.sampled_from([",", ";", "\t", "|"]))
    quoted = draw(st.booleans())
    decimal = draw(st.sampled_from([".", ","])) if sep != "," else "."
    cells = {name: [repr(value).replace(".", decimal) for value in table[name]] for name in order}
    lines = [order, *zip(*cells.values(), strict=True)]
    texts = [sep.join(_written(cell, sep, quoted) for cell in line) for line in lines]
    end = draw(st.sampled_from(["\n", "\r\n", "\r"]))
    encoding = draw(st.sampled_from(["utf-8", "utf-8-sig", "utf-16"]))
    return table, end.join(texts).encode(encoding)


def _written(cell, sep, quoted):
    """Return a cell as text of a delimited file, with quotation marks where they are due."""
    text = str(cell)
    if quoted or sep in text or '"' in text or "\n" in text:
        return '"' + text.replace('"', '""') + '"'
    return text


@st.composite
def damaged(draw, content):
    """Return bytes with a part cut, doubled, zeroed, or overwritten at random."""
    if not content:
        return content
    start = draw(st.integers(0, len(content) - 1))
    length = draw(st.integers(1, min(64, len(content) - start)))
    part = content[start : start + length]
    change = draw(st.sampled_from(["cut", "double", "zero", "overwrite", "end"]))
    replacement = {
        "cut": b"",
        "double": part * 2,
        "zero": bytes(length),
        "overwrite": draw(st.binary(min_size=length, max_size=length)),
        "end": None,
    }[change]
    if replacement is None:
        return content[:start]
    return content[:start] + replacement + content[start + length :]


VALUES = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), CELLS),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3)
    ),
    max_leaves=6,
)


@st.composite
def json_files(draw):
    """Return the ending and the bytes of a file of JSON: records, columns, or anything."""
    kind = draw(st.sampled_from(["records", "columns", "anything"]))
    table = draw(columns("runs"))
    records = [dict(zip(table, row, strict=True)) for row in zip(*table.values(), strict=True)]
    if records and draw(st.booleans()):
        records[0][draw(st.text(max_size=4))] = draw(VALUES)
    content = {"records": records, "columns": table, "anything": None}[kind]
    if kind == "anything":
        content = draw(VALUES)
    if draw(st.booleans()) and isinstance(content, list):
        text = "\n".join(json.dumps(record) for record in content)
        ending = ".jsonl"
    else:
        text = json.dumps(content)
        ending = ".json"
    data = text.encode()
    return ending, draw(damaged(data)) if draw(st.integers(0, 3)) == 0 else data


SPEC_LINES = [
    *(
        'law = "additive"',
        "law = 3",
        'noise = "student_t"',
        'noise = "none"',
        "[priors.alpha]",
        "[x]",
    ),
    *('dist = "Normal"', "mu = nan", "sigma = -1", "sigma = inf", "mu = 1e400", "beta = 0", "= 3"),
    *(
        "[[published]]",
        'notation = "A"',
        "[published.values]",
        "alpha = [1]",
        'name = "../x"',
        "a.b=1",
    ),
]


@st.composite
def model_files(draw):
    """Return the bytes of a model file: one of the package with lines changed, or damaged."""
    path = draw(st.sampled_from(sorted(MODELS.glob("*.toml"))))
    lines = path.read_text("utf-8").splitlines()
    for _ in range(draw(st.integers(0, 3))):
        place = draw(st.integers(0, len(lines) - 1))
        change = draw(st.sampled_from(["drop", "double", "swap", "new", "number"]))
        if change == "drop":
            lines[place] = ""
        elif change == "double":
            lines.insert(place, lines[place])
        elif change == "swap":
            other = draw(st.integers(0, len(lines) - 1))
            lines[place], lines[other] = lines[other], lines[place]
        elif change == "new":
            lines.insert(place, draw(st.sampled_from(SPEC_LINES)))
        else:
            name = lines[place].partition("=")[0]
            lines[place] = (
                f"{name}= {draw(st.sampled_from(['nan', '-1', '0', '1e999', '[]', '{}']))}"
            )
    content = "\n".join(lines).encode()
    return draw(damaged(content)) if draw(st.integers(0, 3)) == 0 else content


def with_damage(path):
    """Return a strategy of the ending and the damaged bytes of a file."""
    content = path.read_bytes()
    return damaged(content).map(lambda changed: (path.suffix, changed))


EDITS = (
    "drop variable",
    "drop group",
    "rename",
    "scale",
    "not finite",
    "swap",
    "attribute",
    "type",
)


@st.composite
def edited_fits(draw, path):
    """Return the ending and the bytes of a saved fit whose structure or values were edited."""
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / path.name
        tree = xr.open_datatree(path, engine="netcdf4").load()
        tree.close()
        group = draw(st.sampled_from(sorted(tree.children)))
        dataset = tree[group].to_dataset()
        name = draw(st.sampled_from(sorted(map(str, dataset.data_vars)) or [""]))
        edit = draw(st.sampled_from(EDITS))
        _edit(tree, group, name, edit, draw)
        tree.to_netcdf(copy, engine="netcdf4")
        return path.suffix, copy.read_bytes()


def _edit(tree, group, name, edit, draw):
    """Make one edit of a tree in place."""
    dataset = tree[group].to_dataset()
    if edit == "drop group":
        del tree[group]
    elif edit == "attribute" or not name:
        key = draw(st.sampled_from(sorted(tree.attrs)))
        tree.attrs[key] = draw(st.sampled_from(["", "{}", "null", str(tree.attrs[key])[:-1]]))
    elif edit == "drop variable":
        tree[group] = xr.DataTree(dataset.drop_vars(name))
    elif edit == "rename":
        tree[group] = xr.DataTree(dataset.rename({name: f"{name}_"}))
    elif edit == "type":
        tree[group] = xr.DataTree(dataset.assign({name: dataset[name].astype(str)}))
    elif edit == "swap":
        other = draw(st.sampled_from(sorted(tree.children)))
        tree[group] = xr.DataTree(tree[other].to_dataset())
    else:
        values = dataset[name].values.copy()
        if values.dtype.kind == "f" and values.size:
            place = draw(st.integers(0, values.size - 1))
            values.ravel()[place] *= float("nan") if edit == "not finite" else 1.001
        tree[group] = xr.DataTree(dataset.assign({name: (dataset[name].dims, values)}))
