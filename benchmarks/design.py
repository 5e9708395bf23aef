"""Pilots chosen by several rules from public grids, and the forecasts of the largest runs by them.

A replay pretends that no run of a grid exists yet. A rule chooses pilots whose compute together is
at most 1, 5 or 10% of the compute of the grid. Only their losses are read, a model is fitted to
them, and it predicts the grid's largest runs. The comparison follows Li et al. (2026), "Spend less,
fit better", arXiv:2604.22753.

- The targets are the tenth of the runs with the largest compute. Pilots cost at most half of the
  cheapest target, so every forecast is an extrapolation.
- Each repetition hides a random third of the possible pilots, from all rules alike.
- Every rule may choose 20 pilots. A pilot costs 6 N D.

Rules
-----
random
    Affordable runs at random. None may cost more than a quarter of the budget; otherwise one run
    would often use all of it.
space-filling
    From a random first run, always the affordable run farthest from those chosen, in log N and
    log D (Kennard and Stone 1969). None may cost more than a quarter of the budget.
isoFLOP
    Four budgets over two decades of compute, with five sizes each, evenly spaced over all sizes
    that the grid has there.
plan
    The runs of the grid nearest to the sweeps of `scalebayes.plan`, with its default guess of 20
    tokens per parameter: four budgets and five sizes over a span of 16.
one ray
    Runs of nearly 20 tokens per parameter, evenly spaced in log compute: the design of which
    `scalebayes.check_runs` warns.
next
    A fifth of the budget for eight space-filling runs, then three rounds: a fit, and four runs that
    `scalebayes.next_runs` chooses for the loss at the geometric mean of the targets' N and D.

Scores are those of posterior predictive draws (`scalebayes.validation.scoring_rules`): R2 of their
median and the mean CRPS in nats. Grids are tables whose N and D vary separately over two decades
of compute or more; the code says why others are left out (`GRIDS`). Run with
``python benchmarks/design.py --results design.csv``. Finished replays are kept in that file and not
repeated. ``--docs`` writes the tables and the figure of docs/design.md.
"""

from __future__ import annotations

import argparse
import datetime
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import dev_tables
import numpy as np
import pandas as pd
from matplotlib.figure import Figure

import scalebayes as sb
from scalebayes.validation.scoring_rules import score

PAGE = Path(__file__).parents[1] / "docs" / "design.md"
PICTURE = PAGE.with_name("design.svg")
BEGIN, END = "<!-- design: begin -->", "<!-- design: end -->"
GRIDS = ("hoffmann2022", "gemstones2025", "misfitting2025", "corpora2025")
"""Tables that are grids. corpora2025 counts as two, one for each corpus.

Left out: steplaw2025 has 13 pairs of N and D (each with many learning rates), pile2023 15 and
olmo_ladder2024 25, too few to choose 20 from; muennighoff2023 has 41 without repeated data, half of
them on a few lines.
"""
SHARES = (0.01, 0.05, 0.1)
"""Budgets, as shares of the compute of the grid."""
MOST_RUNS = 20
FEWEST_RUNS = 6
"""Runs that a fit needs at least; a rule that can pay for fewer is given the cheapest others."""
TARGET_SHARE = 0.1
"""Share of the runs that are targets, those of largest compute."""
BELOW_TARGETS = 0.5
"""Largest compute of a pilot over the least compute of a target."""
HIDDEN_SHARE = 1 / 3
"""Share of the possible pilots that a repetition hides from all rules."""
LARGEST_PILOT = 0.25
"""Largest cost of one random or space-filling pilot, as a share of the budget."""
LEVELS, SIZES = 4, 5
"""Budgets and sizes of isoFLOP sweeps: together `MOST_RUNS`."""
DECADES = 2.0
"""Range of the budgets of isoFLOP sweeps, in decades."""
RAY = 20.0
"""Tokens per parameter of the runs on one ray."""
START_RUNS, START_SHARE, ROUNDS = 8, 0.2, 3
"""`next` begins with so many runs for this share of the budget, and goes on in so many rounds."""
SAMPLER = {"chains": 2, "draws": 500, "progress": False}
SHOWN = ("hoffmann2022", 0.05, 0)
"""The grid, budget and repetition whose pilots the figure shows."""


@dataclass(frozen=True)
class Replay:
    """What a rule may use: a pool of possible pilots, a budget, and the question.

    Attributes
    ----------
    pool
        N, D, C and loss of the possible pilots, indexed by run. Rules read the loss of a run only
        after they have chosen it.
    budget
        FLOP for all pilots.
    target
        N and D of the loss in question, the geometric means of the targets.
    model
        Name of the model that is fitted.
    seed
        Seed of the repetition.
    """

    pool: pd.DataFrame
    budget: float
    target: dict[str, float]
    model: str
    seed: int

    def fit(self, chosen: Sequence[str]) -> sb.Fit:
        """Fit the model to the chosen pilots."""
        columns = self.pool.loc[list(chosen), ["N", "D", "C", "loss"]]
        runs = sb.Runs(columns, "pilots")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", sb.GateWarning)  # failures are counted
            return sb.fit(runs, self.model, seed=self.seed, **SAMPLER)


# Rules. Each returns the runs that it chooses, in order.


def choose_random(replay: Replay) -> list[str]:
    """Return affordable runs in a random order."""
    small = replay.pool[replay.pool["C"] <= LARGEST_PILOT * replay.budget]
    order = np.random.default_rng(replay.seed).permutation(small.index.to_numpy())
    chosen: list[str] = []
    left = replay.budget
    for run in order:
        if small["C"][run] <= left and len(chosen) < MOST_RUNS:
            chosen.append(run)
            left -= small["C"][run]
    return chosen


def choose_space_filling(replay: Replay, most: int = MOST_RUNS, share: float = 1.0) -> list[str]:
    """Return runs chosen in turn: each is the farthest, in log N and log D, from all before it."""
    budget = share * replay.budget
    small = replay.pool[replay.pool["C"] <= LARGEST_PILOT * budget]
    at = np.log(small[["N", "D"]].to_numpy())
    cost = small["C"].to_numpy()
    first = int(np.random.default_rng(replay.seed).integers(len(small)))
    chosen = [first]
    distance = np.linalg.norm(at - at[first], axis=1)
    while len(chosen) < most:
        payable = cost <= budget - cost[chosen].sum()
        payable[chosen] = False
        if not payable.any():
            break
        farthest = int(np.where(payable, distance, -1.0).argmax())
        chosen.append(farthest)
        distance = np.minimum(distance, np.linalg.norm(at - at[farthest], axis=1))
    return list(small.index[chosen])


def sweep_budgets(replay: Replay, levels: int = LEVELS) -> np.ndarray:
    """Return the budgets of isoFLOP sweeps that together cost the budget, largest first."""
    cheapest, dearest = replay.pool["C"].min(), replay.pool["C"].max()
    relative = np.geomspace(1.0, 10**-DECADES, levels)
    highest = min(replay.budget / (SIZES * relative.sum()), dearest)
    return np.maximum(highest * relative, cheapest)


def nearest_runs(replay: Replay, wanted: np.ndarray) -> list[str]:
    """Return the nearest affordable run to each wanted log N and log D, shape (runs, 2)."""
    at = np.log(replay.pool[["N", "D"]].to_numpy())
    cost = replay.pool["C"].to_numpy()
    chosen: list[int] = []
    for point in wanted:
        payable = cost <= replay.budget - cost[chosen].sum()
        payable[chosen] = False
        if not payable.any():
            break
        distance = np.linalg.norm(at - point, axis=1)
        chosen.append(int(np.where(payable, distance, np.inf).argmin()))
    return list(replay.pool.index[chosen])


def choose_isoflop(replay: Replay) -> list[str]:
    """Return runs nearest to sweeps over all sizes that the grid has at each budget."""
    log_N, log_C = np.log(replay.pool["N"].to_numpy()), np.log(replay.pool["C"].to_numpy())
    wanted = []
    for budget in sweep_budgets(replay):
        # The sizes that the grid has at this budget are those of the runs of nearest compute.
        near = np.argsort(np.abs(log_C - np.log(budget)))[: 2 * SIZES]
        sizes = np.linspace(log_N[near].min(), log_N[near].max(), SIZES)
        wanted.append(np.column_stack([sizes, np.log(budget / 6) - sizes]))
    return nearest_runs(replay, np.concatenate(wanted))


def choose_plan(replay: Replay, levels: int = LEVELS) -> list[str]:
    """Return the runs of the grid that are nearest to the sweeps of `scalebayes.plan`."""
    sweeps = sb.plan(sweep_budgets(replay, levels), sizes=SIZES, strict=False).table
    largest_first = sweeps.sort_values("C", ascending=False, kind="stable")
    return nearest_runs(replay, np.log(largest_first[["N", "D"]].to_numpy()))


def choose_one_ray(replay: Replay) -> list[str]:
    """Return runs nearest to one ray, evenly spaced in log compute over two decades."""
    relative = np.geomspace(1.0, 10**-DECADES, MOST_RUNS)
    highest = min(replay.budget / relative.sum(), replay.pool["C"].max())
    compute = np.maximum(highest * relative, replay.pool["C"].min())
    sizes = np.sqrt(compute / 6 / RAY)
    return nearest_runs(replay, np.log(np.column_stack([sizes, RAY * sizes])))


def choose_next(replay: Replay) -> list[str]:
    """Return a space-filling start and the runs that `scalebayes.next_runs` adds in rounds."""
    return add_next(replay, choose_space_filling(replay, START_RUNS, START_SHARE))


def fill_up(replay: Replay, start: list[str], least: int = START_RUNS) -> list[str]:
    """Return a start with the cheapest other runs, up to the number that makes a fit possible."""
    cheapest = replay.pool.drop(index=start).sort_values("C").index
    missing = max(least - len(start), 0)
    return [*start, *cheapest[:missing]]


def add_next(replay: Replay, start: list[str]) -> list[str]:
    """Return the runs of a start and those that `scalebayes.next_runs` adds in rounds."""
    chosen = fill_up(replay, start, FEWEST_RUNS)
    for done in range(ROUNDS):
        rounds_left = ROUNDS - done
        batch = (MOST_RUNS - len(chosen)) // rounds_left
        budget = (replay.budget - replay.pool["C"][chosen].sum()) / rounds_left
        others = replay.pool.drop(index=chosen)
        others = others[others["C"] <= budget]
        if others.empty:
            break
        more = sb.next_runs(
            replay.fit(chosen),
            budget=budget,
            target=replay.target,
            candidates=others[["N", "D"]],
            batch=batch,
            distinct=True,
            seed=replay.seed,
        ).table
        by_place = pd.Series(others.index, index=pd.MultiIndex.from_frame(others[["N", "D"]]))
        chosen += [by_place[N, D] for N, D in zip(more["N"], more["D"], strict=True)]
    return chosen


RULES: dict[str, Callable[[Replay], list[str]]] = {
    "random": choose_random,
    "space-filling": choose_space_filling,
    "isoFLOP": choose_isoflop,
    "plan": choose_plan,
    "one ray": choose_one_ray,
    "next": choose_next,
}


# Replays


def grids() -> dict[str, pd.DataFrame]:
    """Return N, D, C = 6 N D and loss of each grid whose file is present, one row for each N, D."""
    found = {}
    for name in GRIDS:
        for runs in dev_tables.whole_sweeps(name):
            table = runs.table[["N", "D", "loss"]].assign(C=6.0 * runs.N * runs.D)
            label = name
            if name == "corpora2025":
                label = f"{name}, corpus {1 + sum(key.startswith(name) for key in found)}"
            found[label] = table.drop_duplicates(["N", "D"])
    return found


def split(grid: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return the possible pilots and the targets of a grid."""
    targets = grid.nlargest(round(TARGET_SHARE * len(grid)), "C")
    return grid[grid["C"] <= BELOW_TARGETS * targets["C"].min()], targets


def make_replay(grid: pd.DataFrame, share: float, model: str, seed: int) -> Replay:
    """Return what the rules may use in one repetition."""
    pilots, targets = split(grid)
    pool = pilots.sample(frac=1 - HIDDEN_SHARE, random_state=seed)
    centre = np.exp(np.log(targets[["N", "D"]]).mean())
    target = {"N": float(centre["N"]), "D": float(centre["D"])}
    return Replay(pool, share * float(grid["C"].sum()), target, model, seed)


def scores_of(replay: Replay, chosen: list[str], targets: pd.DataFrame) -> dict[str, float]:
    """Return the scores of a fit of the chosen pilots on the targets."""
    fit = replay.fit(chosen)
    answer = sb.predict(fit, N=targets["N"], D=targets["D"], seed=replay.seed)
    draws = answer["new_run"].values.reshape(-1, len(targets))
    observed = targets["loss"].to_numpy()
    of_each = score(draws, observed)
    unexplained = np.sum((of_each["median"] - observed) ** 2)
    return {
        "runs": len(chosen),
        "used": replay.pool["C"][chosen].sum() / replay.budget,
        "R2": 1 - unexplained / np.sum((observed - observed.mean()) ** 2),
        "crps": float(of_each["crps"].mean()),
        "covered": float(of_each["inside90"].mean()),
        "passed": not fit.gate_failures,
    }


KEYS = ["model", "grid", "share", "seed", "rule"]
"""Columns that name a replay in the file of results."""


def run_replays(path: Path, model: str, seeds: int) -> pd.DataFrame:
    """Run the replays that the file of results lacks, and return all replays of the model."""
    done = set()
    if path.exists():
        done = set(pd.read_csv(path)[KEYS].itertuples(index=False, name=None))
    for seed in range(seeds):
        for name, grid in grids().items():
            targets = split(grid)[1]
            for share in SHARES:
                replay = make_replay(grid, share, model, seed)
                for rule, choose in RULES.items():
                    key = (model, name, share, seed, rule)
                    if key in done:
                        continue
                    chosen = fill_up(replay, choose(replay), FEWEST_RUNS)
                    row = dict(zip(KEYS, key, strict=True)) | scores_of(replay, chosen, targets)
                    row["pilots"] = " ".join(map(str, chosen))
                    pd.DataFrame([row]).to_csv(
                        path, mode="a", header=not path.exists(), index=False
                    )
        print(f"repetition {seed + 1} of {seeds} is done", flush=True)
    results = pd.read_csv(path)
    return results[(results["model"] == model) & (results["seed"] < seeds)]


# Tables and figure


def log_ratios(results: pd.DataFrame, to: str = "random") -> pd.Series:
    """Return log CRPS over that of a rule in the same replay, by share, grid, seed and rule."""
    crps = results.set_index(["share", "grid", "seed", "rule"])["crps"].unstack("rule")
    logs = np.log(crps.div(crps[to], axis=0))
    return logs.stack().rename("log_ratio")


def over_grids(logs: pd.Series) -> pd.DataFrame:
    """Return the geometric mean of CRPS ratios, by share and rule, and its relative error.

    Repetitions on one grid share their targets, so the error is that of the means of the grids.
    """
    means = logs.groupby(["share", "rule", "grid"]).mean()
    grouped = means.groupby(["share", "rule"])
    error = grouped.std(ddof=1) / np.sqrt(grouped.size())
    return pd.DataFrame({"ratio": np.exp(grouped.mean()), "error": error})


def summary_lines(results: pd.DataFrame) -> list[str]:
    """Return the table of budgets and rules, in Markdown."""
    ratios = over_grids(log_ratios(results))
    lines = [
        "| budget | rule | pilots | budget used | R2, median | CRPS, nats | "
        "CRPS over random's (s.e.) | 90% intervals cover | checks failed |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for share in SHARES:
        for rule in RULES:
            rows = results[(results["share"] == share) & (results["rule"] == rule)]
            ratio, error = ratios.loc[(share, rule)]
            relative = "1" if rule == "random" else f"{ratio:.2f} ({ratio * error:.2f})"
            crps = np.exp(np.log(rows["crps"]).mean())
            lines.append(
                f"| {share:.0%} | {rule} | {rows['runs'].mean():.0f} | {rows['used'].mean():.0%} | "
                f"{rows['R2'].median():.2f} | {crps:.4f} | {relative} | "
                f"{rows['covered'].mean():.0%} | {(~rows['passed']).sum()} of {len(rows)} |"
            )
    return lines


def grid_lines(results: pd.DataFrame) -> list[str]:
    """Return the table of CRPS over random's for each grid, all budgets together, in Markdown."""
    grouped = log_ratios(results).groupby(["grid", "rule"])
    ratio = np.exp(grouped.mean()).unstack("rule")
    error = (grouped.std(ddof=1) / np.sqrt(grouped.size())).unstack("rule") * ratio
    rules = [rule for rule in RULES if rule != "random"]
    lines = [f"| grid | {' | '.join(rules)} |", "|---" * (len(rules) + 1) + "|"]
    for grid in ratio.index:
        cells = [f"{ratio[rule][grid]:.2f} ({error[rule][grid]:.2f})" for rule in rules]
        lines.append(f"| {grid} | {' | '.join(cells)} |")
    return lines


def pair_line(results: pd.DataFrame, rule: str, other: str) -> str:
    """Return the CRPS of one rule over another's, over all grids and budgets, in a sentence."""
    of_grids = log_ratios(results, other).xs(rule, level="rule").groupby("grid").mean()
    ratio = np.exp(of_grids.mean())
    error = ratio * of_grids.std(ddof=1) / np.sqrt(len(of_grids))
    return f'CRPS of "{rule}" over that of "{other}": {ratio:.2f} (s.e. {error:.2f} over grids).'


def figure(results: pd.DataFrame) -> Figure:
    """Draw the pilots of each rule in one replay, and CRPS over random's against the budget."""
    name, share, seed = SHOWN
    is_shown = (results["grid"] == name) & (results["share"] == share) & (results["seed"] == seed)
    shown = results[is_shown].set_index("rule")
    pilots, targets = split(grids()[name])
    drawn = Figure(figsize=(11, 6.6), layout="constrained")
    rows = [[0, 1, 2, "by budget"], [3, 4, 5, "by budget"], [6, 7, 8, "by budget"]]
    axes = drawn.subplot_mosaic(rows, width_ratios=[1, 1, 1, 2.4])
    colours = {rule: f"C{place}" for place, rule in enumerate(RULES)}
    for place, rule in enumerate(RULES):
        panel = axes[place]
        chosen = pilots.loc[shown["pilots"][rule].split()]
        panel.loglog(pilots["N"], pilots["D"], ".", color="0.82", markersize=3, rasterized=True)
        panel.loglog(targets["N"], targets["D"], "+", color="0.45", markersize=5, rasterized=True)
        panel.loglog(chosen["N"], chosen["D"], "o", color=colours[rule], markersize=4.5)
        panel.set_title(rule, fontsize=10)
        panel.set_box_aspect(1)
        panel.label_outer()
        panel.minorticks_off()
        if place % 3 == 0:
            panel.set_ylabel("tokens D")
        if place >= 6:
            panel.set_xlabel("parameters N")
    panel = axes["by budget"]
    ratios = over_grids(log_ratios(results))
    for place, rule in enumerate(RULES):
        of_rule = ratios.xs(rule, level="rule")
        # Rules are drawn side by side so that their errors can be told apart.
        at = np.arange(len(SHARES)) + 0.08 * (place - 4)
        error = (of_rule["ratio"] * of_rule["error"]).fillna(0.0)
        panel.errorbar(
            at, of_rule["ratio"], error, fmt="o", capsize=2, color=colours[rule], label=rule
        )
    panel.axhline(1.0, color="0.85", zorder=0)
    panel.set_yscale("log")
    panel.set_xticks(range(len(SHARES)), [f"{share:.0%}" for share in SHARES])
    panel.minorticks_off()
    lower, upper = panel.get_ylim()
    ticks = [tick for tick in (0.3, 0.4, 0.5, 0.7, 1.0, 1.4, 2.0, 3.0) if lower < tick < upper]
    panel.set_yticks(ticks, [f"{tick:g}" for tick in ticks])
    panel.set_xlabel("compute of the pilots over that of the grid")
    panel.set_ylabel("CRPS over that of random pilots")
    panel.legend(
        frameon=False, fontsize=9, loc="upper center", bbox_to_anchor=(0.5, -0.12), ncols=3
    )
    grid_count = results["grid"].nunique()
    panel.set_title(f"geometric mean over {grid_count} grids, with standard error", fontsize=10)
    return drawn


def main() -> None:
    """Run the replays, print the tables, and with ``--docs`` write them into the page."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--results", type=Path, default=Path("design.csv"), metavar="CSV")
    parser.add_argument("--model", default="chinchilla")
    parser.add_argument("--seeds", type=int, default=5, help="repetitions on each grid")
    parser.add_argument("--docs", action="store_true")
    asked = parser.parse_args()
    results = run_replays(asked.results, asked.model, asked.seeds)
    lines = [
        f"{datetime.date.today()}: `{asked.model}`, {results['grid'].nunique()} grids, "
        f"{asked.seeds} repetitions each.",
        "",
        *summary_lines(results),
        "",
        "CRPS over that of random pilots by grid, all budgets together (s.e. over repetitions and "
        "budgets):",
        "",
        *grid_lines(results),
        "",
        pair_line(results, "next", "plan"),
    ]
    print("\n".join(lines))
    if asked.docs:
        page = PAGE.read_text("utf-8")
        before, after = page.split(BEGIN)[0], page.split(END)[1]
        PAGE.write_text(f"{before}{BEGIN}\n" + "\n".join(lines) + f"\n{END}{after}", "utf-8")
        save_picture(figure(results))


def save_picture(drawn: Figure) -> None:
    """Save the figure as SVG with text as text, and the same bytes for the same results."""
    import matplotlib

    with matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": "design"}):
        drawn.savefig(PICTURE, metadata={"Date": None})


if __name__ == "__main__":
    main()
