"""Record the answer of every command, to show that a change of structure changes no number.

``python tests/recording.py FOLDER [FITS]`` fits two published tables and a user's CSV (or takes the
fits of an earlier recording), asks every command for JSON, and writes each answer to a file in
FOLDER. ``python tests/recording.py --compare EXPECTED FOUND [--texts]`` compares two recordings:
numbers to 1e-9, sentences only with ``--texts``. `tests/project/test_recording.py` (slow) compares
a fresh recording with the committed one.
"""

import csv
import json
import math
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

SMALL = ["--draws", "250", "--quick"]
FITS = {
    "default": ["fit", "hoffmann2022", *SMALL, "--seed", "1"],
    "chinchilla": ["fit", "hoffmann2022", "-m", "chinchilla", *SMALL],
    "kaplan": ["fit", "hoffmann2022", "-m", "kaplan", *SMALL],
    "marginal": ["fit", "hoffmann2022", "-m", "NORMAL", *SMALL],
    "pile": ["fit", "pile2023", *SMALL],
    "csv": ["fit", "user.csv", "-m", "coupled", "--map", "N=size", *SMALL],
    "repeated": ["fit", "repeated.csv", "-m", "data-constrained", *SMALL],
    "pooled": ["fit", "pile2023", "-m", "chinchilla-pooled", *SMALL],
}
"""Fits that the commands query.

NORMAL is coupled-discrepancy with Normal noise, where the discrepancy is integrated out.
"""
AT = ["--N", "70B", "--D", "1.4T"]
QUESTIONS = {
    "summary-default": ["summary", "default.nc"],
    "summary-marginal": ["summary", "marginal.nc"],
    "summary-pooled": ["summary", "pooled.nc"],
    "summary-csv": ["summary", "csv.nc"],
    "predict-default": ["predict", "default.nc", *AT, "--D", "15T"],
    "predict-marginal": ["predict", "marginal.nc", *AT],
    "predict-csv": ["predict", "csv.nc", *AT],
    "predict-pile": ["predict", "pile.nc", "--C", "1e24", "--N", "70B"],
    "predict-average": ["predict", "default.nc", "chinchilla.nc", "kaplan.nc", *AT],
    "predict-stacked": ["predict", "chinchilla.nc", "kaplan.nc", "--weights", "stacking", *AT],
    "predict-repeated": [
        "predict",
        "repeated.nc",
        "--N",
        "8.7B",
        "--D",
        "178B",
        "--input",
        "U=25B",
    ],
    "predict-group": ["predict", "pooled.nc", "--group", "pythia", *AT],
    "predict-new-group": ["predict", "pooled.nc", "--new-group", *AT],
    "frontier-default": ["frontier", "default.nc", "--C", "1e21", "--C", "1e24"],
    "frontier-marginal": ["frontier", "marginal.nc", "--C", "1e21", "--C", "1e24"],
    "frontier-serve": ["frontier", "chinchilla.nc", "--C", "1e24", "--serve", "10T"],
    "frontier-head": ["frontier", "csv.nc", "--C", "1e22", "--count", "head"],
    "frontier-repeated": ["frontier", "repeated.nc", "--C", "9.3e21", "--U", "inf", "--U", "25B"],
    "frontier-average": ["frontier", "default.nc", "chinchilla.nc", "--C", "1e24"],
    "frontier-new-group": ["frontier", "pooled.nc", "--new-group", "--C", "1e22"],
    "decide-default": ["decide", "default.nc", "--C", "1e24"],
    "decide-serve": ["decide", "default.nc", "--C", "1e24", "--serve", "10T"],
    "decide-average": ["decide", "chinchilla.nc", "kaplan.nc", "--C", "1e24"],
    "decide-csv": ["decide", "csv.nc", "--C", "1e22", "--C", "1e23"],
    "reach-default": ["reach", "default.nc", "--loss", "2.05", "--loss", "1.95"],
    "reach-tokens": ["reach", "chinchilla.nc", "--loss", "2.05", "--N", "70B"],
    "reach-price": [
        "reach",
        "csv.nc",
        "--loss",
        "2.2",
        "--price",
        "2",
        "--flop-per-second",
        "4e14",
    ],
    "chance-default": ["chance", "default.nc", "--loss", "1.95", "--C", "1e24", "--of", "curve"],
    "prefer-default": ["prefer", "default.nc", "--a", "N=70B,D=1.4T", "--b", "N=35B,C=5.9e23"],
    "regret-default": ["regret", "default.nc", "--N", "129B", "--C", "5.76e23"],
    "overtrain-default": ["overtrain", "default.nc", "--N", "8B", "--D", "160B", "--D", "1T"],
    "overtrain-chinchilla": ["overtrain", "chinchilla.nc", "--N", "8B", "--D", "1T", "--D", "15T"],
    "returns-default": ["returns", "default.nc", *AT],
    "isoloss-chinchilla": ["isoloss", "chinchilla.nc", "--loss", "2.1", "--N", "7B", "--N", "70B"],
    "converged-chinchilla": ["converged", "chinchilla.nc", "--C", "1e24"],
    "next-default": ["next", "default.nc", "--budget", "1e23", *AT],
    "next-optimum": ["next", "csv.nc", "--budget", "1e23", "--C", "1e24"],
    "needed-default": ["needed", "default.nc", *AT, "--width", "0.1", "--run-budget", "1e22"],
    "plan": [
        "plan",
        "--C",
        "1e18",
        "--C",
        "1e20",
        "--levels",
        "3",
        "--sizes",
        "5",
        "--budget",
        "1e21",
    ],
    "compare-fits": ["compare", "kaplan.nc", "chinchilla.nc", "--C", "5.76e23"],
    "compare-table": [
        "compare",
        "user.csv",
        "--map",
        "N=size",
        "--models",
        "kaplan,chinchilla",
        *AT,
    ],
    "coupling-default": ["coupling", "default.nc"],
    "study": ["study"],
    "contrast": ["contrast", "a=chinchilla.nc", "b=csv.nc", "--C", "1e22"],
    "contrast-at": ["contrast", "a=chinchilla.nc", "b=pile.nc", "--N", "7B", "--D", "300B"],
    "point": ["point", "hoffmann2022", "--C", "5.76e23"],
    "influence-csv": ["influence", "csv.nc", *AT, "--top", "3"],
    "influence-default": ["influence", "default.nc", *AT, "--top", "3"],
    "prior-default": ["prior-or-data", "default.nc", *AT],
    "prior-marginal": ["prior-or-data", "marginal.nc", *AT],
    "sensitivity-csv": ["sensitivity", "csv.nc", "--C", "1e22"],
    "backtest": ["backtest", "hoffmann2022", "--models", "chinchilla,log-huber"],
    "runs-csv": ["runs", "user.csv", "--map", "N=size"],
    "runs": ["runs"],
    "models": ["models"],
    "model-default": ["models", "coupled-drift"],
    "model-discrepancy": ["models", "coupled-discrepancy"],
}
REPORTS = {
    "report-default": ["report", "default.nc", "--C", "5.76e23"],
    "report-compared": ["report", "chinchilla.nc", "kaplan.nc", "--C", "5.76e23"],
    "report-csv": ["report", "csv.nc", "--C", "1e22", "--sensitivity"],
}


def record(folder: Path, commands: list[str], fits: Path | None = None) -> None:
    """Write the answer of every command and the fits into a folder; or use recorded fits."""
    folder.mkdir(parents=True, exist_ok=True)
    write_inputs(folder)
    for name, arguments in FITS.items():
        if fits is not None:
            shutil.copy(fits / f"{name}.nc", folder)
            continue
        ask(commands, folder, name, [*arguments, "-o", f"{name}.nc", "--force", "--json"])
    with ThreadPoolExecutor(2) as pool:
        waiting = [
            pool.submit(ask, commands, folder, name, [*a, "--json"])
            for name, a in QUESTIONS.items()
        ]
        waiting += [
            pool.submit(ask, commands, folder, name, [*a, "-o", f"{name}.json", "--force"])
            for name, a in REPORTS.items()
        ]
        for each in waiting:
            each.result()


def write_inputs(folder: Path) -> None:
    """Write the tables and the model that the commands read: rows of published tables, renamed."""
    import scalebayes as sb

    runs = sb.load_runs("hoffmann2022")
    rows = [[N, D, round(loss, 4)] for N, D, loss in zip(runs.N, runs.D, runs.loss, strict=True)][
        ::4
    ]
    _write_csv(folder / "user.csv", ["size", "tokens", "loss"], rows)
    rng_free = [
        (N, D, U)
        for N in (1e8, 4e8, 1.6e9)
        for D in (2e9, 8e9, 3.2e10)
        for U in (1e9, 4e9, 1.6e10)
        if U <= D
    ]
    made = []
    for i, (N, D, U) in enumerate(rng_free):
        repeats = D / U - 1
        useful = U + U * 15.4 * (1 - 2.718281828 ** (-repeats / 15.4))
        loss = 1.87 + 521 * N**-0.35 + 1488 * useful**-0.35
        made.append([N, D, U, round(loss * (1 + 0.002 * (-1) ** i), 4)])
    _write_csv(folder / "repeated.csv", ["N", "D", "U", "loss"], made)
    model = (Path(__file__).parents[1] / "models" / "coupled-discrepancy.toml").read_text("utf-8")
    lines = [line for line in model.splitlines() if not line.startswith("nu ")]
    text = "\n".join(lines).replace('noise = "student_t"', 'noise = "normal"')
    (folder / "normal.toml").write_text(text, "utf-8")


def _write_csv(path: Path, header: list[str], rows: list[list[float]]) -> None:
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(header)
        writer.writerows(rows)


def ask(command: list[str], folder: Path, name: str, arguments: list[str]) -> None:
    """Run a command in a folder and keep what it said, errors too."""
    arguments = ["normal.toml" if a == "NORMAL" else a for a in arguments]
    done = subprocess.run(
        [*command, *arguments], cwd=folder, capture_output=True, text=True, env=os.environ
    )
    try:
        said = json.loads(done.stdout)
    except ValueError:
        said = done.stdout.splitlines()
    answer = {"exit": done.returncode, "stdout": said, "stderr": done.stderr.splitlines()}
    (folder / f"{name}.answer.json").write_text(json.dumps(answer, indent=1), "utf-8")
    print(name, done.returncode, flush=True)


IGNORED = {"seconds", "versions", "made", "created", "created_at", "cached", "file", "making"}
"""Keys of answers whose values change from run to run."""


def differences(expected: object, found: object, texts: bool, at: str = "") -> Iterator[str]:
    """Return the differences of two answers: numbers beyond 1e-9, keys, sentences if asked."""
    if isinstance(expected, dict) and isinstance(found, dict):
        for key in sorted(expected.keys() | found.keys()):
            if key in IGNORED:
                continue
            if key in expected and key in found:
                yield from differences(expected[key], found[key], texts, f"{at}.{key}")
            else:
                yield f"{at}.{key} is in one of the two only"
    elif isinstance(expected, list) and isinstance(found, list):
        if len(expected) != len(found):
            yield f"{at} has {len(found)} entries, not {len(expected)}"
        for place, (one, other) in enumerate(zip(expected, found, strict=False)):
            yield from differences(one, other, texts, f"{at}[{place}]")
    elif isinstance(expected, str) and isinstance(found, str):
        if texts and expected != found:
            yield f"{at}: {found!r}, not {expected!r}"
    elif isinstance(expected, float) and isinstance(found, (int, float)):
        if not (expected == found or math.isclose(expected, found, rel_tol=1e-9)):
            yield f"{at}: {found}, not {expected}"
    elif expected != found:
        yield f"{at}: {str(found)[:100]}, not {str(expected)[:100]}"


def compare(expected: Path, found: Path, texts: bool = False) -> list[str]:
    """Differences between two folders of recorded answers, one line each."""
    lines = []
    for file in sorted(expected.glob("*.json")):
        other = found / file.name
        if not other.exists():
            lines.append(f"{file.name} was not recorded")
            continue
        one, two = (json.loads(path.read_text("utf-8")) for path in (file, other))
        lines += [f"{file.name}{line}" for line in differences(one, two, texts)]
    return lines


def main(arguments: list[str]) -> int:
    """Record, or compare two recordings."""
    if arguments[0] == "--compare":
        lines = compare(Path(arguments[1]), Path(arguments[2]), texts="--texts" in arguments)
        print(*lines[:60], sep="\n")
        print(f"{len(lines)} differences")
        return int(bool(lines))
    record(
        Path(arguments[0]).resolve(),
        [sys.executable, "-m", "scalebayes"],
        *map(Path, arguments[1:]),
    )
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
