"""Partial pooling: hierarchical density, answers for groups as for fits, refused questions."""

import json
from dataclasses import replace

import numpy as np
import pandas as pd
import pymc as pm
import pytest
import xarray as xr
from pydantic import ValidationError
from pytensor.compile.mode import Mode
from scipy import stats
from typer.testing import CliRunner

import scalebayes as sb
from scalebayes.cli import app
from scalebayes.fitting.graph import build_model, pymc_model, sampler_data, structure
from scalebayes.fitting.pilot import make_pilot
from scalebayes.fitting.preflight import least_noise_scale
from scalebayes.laws import LAWS
from scalebayes.posterior.likelihood import make_likelihood
from scalebayes.posterior.provenance import provenance
from scalebayes.specs.noise import NOISES
from scalebayes.specs.pooling import read_grouping, variable_names
from scalebayes.specs.population import pooled_prior_draws, turn, turn_back
from tests.fixtures import data_of, fit_of, normalised, pooled_fit, pooled_spec

PILE = sb.load_runs("pile2023")
EVERY = {
    "U": PILE.D / np.resize([1.0, 2.0, 4.0], 15),
    "E": np.resize([1.0, 8.0, 64.0, 512.0], 15),
    "S": PILE.D / 5e5,
}
WIDER = sb.Runs(PILE.table.assign(**EVERY), "pile2023 with every input")
FAST = {"mode": Mode("py", None)}
POOLED = pytest.mark.parametrize("name", ["chinchilla-pooled", "coupled-pooled"])
OF_A_LOSS = [
    name
    for name in sb.list_models().index
    if not (spec := sb.read_model(name)).has_discrepancy
    and spec.law_object.response == "loss"
    # Others are refused (below).
    and NOISES[spec.noise].pymc
    and not spec.law_object.hyperparameters
]
RUNNER = CliRunner()


# --- the density


def stated(spec, values, suffix=""):
    """Logs of what priors are stated on, by a formula of the test's own."""
    out = {}
    for p in spec.law_object.parameters:
        value = np.log(values[p.name + suffix])
        if p.exponent:
            value = values[p.exponent + suffix] * (value - np.log(spec.priors[p.name].at))
        out[p.name] = value
    return out


SCIPY = {
    "LogNormal": lambda median, sigma: stats.lognorm(sigma, scale=median),
    "HalfNormal": lambda sigma: stats.halfnorm(scale=sigma),
    "Beta": lambda alpha, beta: stats.beta(alpha, beta),
    "Gamma": lambda alpha, beta: stats.gamma(alpha, scale=1 / beta),
}


def log_density_of_values(spec, runs, values):
    """Log density of sizes' logs, spreads and scatters, in these logs, and of the losses."""
    mu, of_group = stated(spec, values, "_population"), stated(spec, values)
    mu["sigma"], of_group["sigma"] = np.log(values["sigma_population"]), np.log(values["sigma"])
    total = 0.0
    for name in mu:
        prior, tau = spec.priors[name], values[f"{name}_spread"]
        log_value = mu[name] - mu[prior.over] if prior.over else mu[name]
        total += SCIPY[prior.dist](**prior.arguments).logpdf(np.exp(log_value)) + log_value
        total += SCIPY[spec.spread[name].dist](**spec.spread[name].arguments).logpdf(tau) + np.log(
            tau
        )
        total += stats.norm(mu[name], tau).logpdf(of_group[name]).sum()
    nu = values["nu"]
    total += stats.gamma(2.0, scale=10.0).logpdf(nu - 2) + np.log(nu - 2)
    place = {group: i for i, group in enumerate(dict.fromkeys(runs.table["group"]))}
    for _, row in runs.table.iterrows():
        g = place[row.group]
        parameters = {p: values[p][g] for p in spec.law_object.parameter_names}
        off = np.log(row.loss) - np.log(
            spec.law_object(*row[[*spec.law_object.inputs]], **parameters)
        )
        total += stats.t(nu, scale=values["sigma"][g]).logpdf(off)
    return total


@pytest.mark.parametrize(
    "name", ["chinchilla-pooled", "coupled-pooled", "broken", "data-constrained", "routed"]
)
def test_density_is_the_hierarchical_one_times_the_jacobian(name):
    runs, spec = normalised(WIDER, pooled_spec(name))
    model = build_model(runs, spec)
    names = variable_names(spec)
    inputs = model.value_vars
    # Their sum would have more terms than plain Python can add at once.
    factors = model.logp(sum=False)
    outputs = [*factors, *model.replace_rvs_by_values([model[n] for n in names])]
    made = model.compile_fn(outputs, inputs=inputs, **FAST)
    start = model.initial_point()
    keys, shapes = [v.name for v in inputs], [start[v.name].shape for v in inputs]
    sizes = [int(np.prod(shape)) for shape in shapes]

    def at(vector):
        parts = np.split(vector, np.cumsum(sizes)[:-1])
        point = {k: part.reshape(shape) for k, part, shape in zip(keys, parts, shapes, strict=True)}
        values = made(point)
        log_density = sum(float(np.sum(v)) for v in values[: len(factors)])
        return log_density, dict(zip(names, values[len(factors) :], strict=True))

    def coordinates(vector):
        """What the test's density is of, as one vector."""
        values = at(vector)[1]
        mu, of_group = stated(spec, values, "_population"), stated(spec, values)
        scatter = [
            np.log(values["sigma_population"]),
            np.log(values["nu"] - 2),
            *np.log(values["sigma"]),
        ]
        spreads = [np.log(values[f"{n}_spread"]) for n in [*mu, "sigma"]]
        return np.concatenate([[*mu.values()], spreads, scatter, *of_group.values()])

    rng = np.random.default_rng(1)
    origin = np.concatenate([np.ravel(start[k]) for k in keys])
    constant = []
    for _ in range(3):
        vector = origin + 0.3 * rng.standard_normal(len(origin))
        columns = [
            (coordinates(vector + h) - coordinates(vector - h)) / 2e-5
            for h in 1e-5 * np.eye(len(vector))
        ]
        log_determinant = np.linalg.slogdet(np.column_stack(columns)).logabsdet
        log_density, values = at(vector)
        constant.append(log_density - log_density_of_values(spec, runs, values) - log_determinant)
    # The determinant of the pilot's map is omitted.
    assert constant == pytest.approx([constant[0]] * 3, abs=1e-4)


def test_another_tables_data_make_another_tables_graph():
    """Centres, pilots and rows are data: a sampler serves every table of two groups."""
    spec = sb.read_model("chinchilla-pooled")
    other = sb.Runs(PILE.table.iloc[[14, 2, 3, 9, 5, 6, 8, 11, 0]], "other")
    model, expected = pymc_model(PILE, spec), pymc_model(other, spec).compile_logp(**FAST)
    density = model.compile_logp(**FAST)
    rng = np.random.default_rng(0)
    point = {
        k: v + 0.3 * rng.standard_normal(np.shape(v)) for k, v in model.initial_point().items()
    }
    on_pile = float(density(point))
    with model:
        pm.set_data(data_of(other, spec))
    assert float(density(point)) == pytest.approx(float(expected(point)), rel=1e-10)
    assert float(density(point)) != pytest.approx(on_pile, rel=1e-3)


@pytest.mark.parametrize("law", LAWS.values(), ids=str)
def test_turned_coordinates_turn_back(law):
    rng = np.random.default_rng(0)
    log_shares = dict(zip(law.inputs, np.log([0.6, 0.3, 0.1]), strict=False))
    for _ in range(20):
        z = {
            n: rng.normal(-1.5 if n.startswith("log_G") else 0.3, 0.4)
            for n in law.coordinates.names
        }
        turned = turn(z, log_shares)
        assert turn_back(turned, log_shares)[0] == pytest.approx(z, abs=1e-9)
        if {
            "log_G_N",
            "log_G_D",
        } <= z.keys():  # the slope along runs whose D grows by 1/2 as N by 1
            along = np.exp(log_shares["N"] + z["log_G_N"]) + np.exp(log_shares["D"] + z["log_G_D"])
            assert turned["log_G_N"] == pytest.approx(np.log(along))


@pytest.mark.parametrize("name", OF_A_LOSS)
def test_a_pilot_of_any_law_is_almost_as_near_to_each_groups_runs_as_that_law_can_be(name):
    runs, spec = normalised(WIDER, pooled_spec(name))
    grouping = read_grouping(runs, spec)
    pilot = make_pilot(runs, spec, grouping)
    assert all(np.isfinite(value).all() for value in vars(pilot).values())
    for g, sigma in enumerate(np.exp(pilot.log_sigma)):
        own = sb.Runs(runs.table.iloc[grouping.rows(g)], "own")
        assert sigma < 0.01 + 1.5 * least_noise_scale(own, spec)


def test_a_sampler_depends_on_the_number_of_groups_and_on_no_number_of_a_prior():
    spec = sb.read_model("chinchilla-pooled")
    wider = spec.model_copy(
        update={
            "spread": {n: p.model_copy(update={"reason": "wider"}) for n, p in spec.spread.items()}
        }
    )
    three = sb.Runs(PILE.table.assign(group=[f"{i % 3}" for i in range(len(PILE))]), "three")
    assert structure(spec, PILE) == structure(wider, PILE) != structure(spec, three)
    assert structure(spec, PILE)[:4] == structure(sb.read_model("chinchilla"), PILE)[:4]


def test_every_group_is_in_the_data_whatever_the_order_of_rows():
    shuffled = sb.Runs(PILE.table.sample(frac=1, random_state=0), "mixed")
    mixed, spec = normalised(shuffled, "chinchilla-pooled")
    grouping = read_grouping(mixed, spec)
    assert set(grouping.names) == {"cerebras-gpt", "pythia"}
    assert [grouping.names[i] for i in grouping.of_run] == list(mixed.table["group"])
    data = sampler_data(mixed, spec)
    for i, name in enumerate(grouping.names):
        rows = mixed.table[mixed.table["group"] == name]
        assert data["group_centre_N"][i] == pytest.approx(np.log(rows["N"]).mean())


# --- the prior


@POOLED
def test_prior_draws_scatter_around_the_population_as_far_as_the_spread_says(name):
    _, spec = normalised(PILE, name)
    made = pooled_prior_draws(spec, groups=2, draws=20_000, seed=3)
    mu, of_group = (
        stated(spec, made, "_population"),
        stated(spec, {k: v.T for k, v in made.items()}),
    )
    for parameter, value in mu.items():
        z = (of_group[parameter] - value) / made[f"{parameter}_spread"]
        assert z.std() == pytest.approx(1.0, rel=0.05)
        assert z.mean() == pytest.approx(0.0, abs=0.03)
        over = spec.priors[parameter].over
        median = np.median(np.exp(value - mu[over] if over else value))
        assert median == pytest.approx(
            np.median(spec.priors[parameter].draw(np.random.default_rng(0), 20_000)), rel=0.06
        )


# --- specs and tables that cannot be


def with_changes(**changes):
    return sb.Spec.model_validate(sb.read_model("chinchilla-pooled").model_dump() | changes)


def test_spreads_and_pool_belong_together():
    spread = sb.read_model("chinchilla-pooled").model_dump()["spread"]
    with pytest.raises(ValidationError, match="needs pool"):
        with_changes(pool=None)
    with pytest.raises(ValidationError, match=r"missing: how far groups differ in L_inf"):
        with_changes(spread={k: v for k, v in spread.items() if k != "L_inf"})
    with pytest.raises(ValidationError, match=r"no such parameter.*groups differ in L_inf, N_c"):
        with_changes(spread=spread | {"nu": spread["L_inf"]})
    with pytest.raises(ValidationError, match="stated at no input"):
        with_changes(spread=spread | {"N_c": spread["N_c"] | {"at": 1e9}})


def test_specs_with_a_discrepancy_or_of_accuracy_are_refused():
    with pytest.raises(ValidationError, match="with a discrepancy cannot be pooled yet"):
        sb.Spec.model_validate(
            sb.read_model("coupled-discrepancy").model_dump() | {"pool": "family"}
        )
    with pytest.raises(
        ValidationError, match="is a law of accuracy, and tables of scores have no groups"
    ):
        pooled_spec("downstream")


def test_a_table_without_groups_or_with_one_is_refused():
    alone = sb.Runs(PILE.table.drop(columns="group"), "alone")
    with pytest.raises(
        sb.RunsError, match=r"pools runs by family, but alone has no group.*--map group=COLUMN"
    ):
        sb.fit(alone, "chinchilla-pooled")
    one = sb.Runs(PILE.table[PILE.table["group"] == "pythia"], "one")
    with pytest.raises(sb.RunsError, match=r"all 8 runs of one belong to one group, pythia"):
        sb.fit(one, "chinchilla-pooled")


# --- views


@pytest.fixture(scope="module")
def pooled():
    """A pooled fit made by hand: draws around Chinchilla's values, the two groups 5% apart."""
    return pooled_fit(PILE, seed=0)


def test_the_measured_coverage_of_a_group_leaves_out_the_table_of_all_groups(pooled):
    whole = provenance(sb.predict(sb.new_group(pooled), N=1e12, D=1e13)).tables
    assert provenance(sb.predict(sb.group(pooled, "pythia"), N=1e12, D=1e13)).tables[0] == whole[0]
    assert whole[0] == PILE.name == "pile2023"


def test_a_group_answers_with_its_own_parameters_and_runs(pooled):
    view = sb.group(pooled, "pythia")
    draws = pooled.stored["posterior"].to_dataset().sel(group="pythia")
    loss = sb.predict(view, N="7B", D="300B")["loss"].isel(target=0)
    law = (
        draws["L_inf"]
        + (draws["N_c"] / 7e9) ** draws["alpha_N"]
        + (draws["D_c"] / 3e11) ** draws["alpha_D"]
    )
    np.testing.assert_allclose(loss, law, rtol=1e-12)
    assert len(view.runs) == 8
    assert view.runs.max_compute == PILE.table.loc["12B", "C"]
    far = sb.predict(view, C=10 * view.runs.max_compute, N="12B")
    assert float(far["decades_beyond"][0]) == pytest.approx(1.0)
    assert sb.frontier(view, C="1e22")["N"].shape == (4, 300, 1)
    # Not the coverage of an unpooled law.
    assert "was not measured" in "".join(m.text for m in sb.caveats(far))
    assert repr(view).startswith("<Fit of chinchilla-pooled to pile2023, pythia: 8 runs")


def test_a_group_that_is_called_new_group_is_a_group_like_any_other(pooled):
    renamed = with_group_renamed(pooled, "pythia", "new group")
    view, same = sb.group(renamed, "new group"), sb.group(pooled, "pythia")
    assert not view.view.is_new
    assert sb.new_group(renamed).view.is_new
    given, expected = (make_likelihood(fit).pointwise for fit in (view, same))
    np.testing.assert_array_equal(given, expected)
    assert [m.code for m in sb.diagnose(view).messages] == [
        m.code for m in sb.diagnose(same).messages
    ]
    far = {"C": 1000 * view.runs.max_compute, "N": "12B"}
    assert sb.caveats(sb.predict(view, **far)) == sb.caveats(sb.predict(same, **far))
    with pytest.raises(sb.QueryError, match="no runs that could be weighed"):
        make_likelihood(sb.new_group(renamed))


def with_group_renamed(fit, old, new):
    """The pooled fit, one of its groups under another name."""
    table = fit.runs.table.assign(group=fit.runs.table["group"].astype(str).replace(old, new))
    parts = {}
    for name, part in fit.stored.children.items():
        dataset = part.to_dataset()
        if "group" in dataset.coords:
            names = [new if one == old else one for one in map(str, dataset["group"].values)]
            dataset = dataset.assign_coords(group=names)
        parts[name] = dataset
    tree = xr.DataTree.from_dict(parts)
    tree.attrs = dict(fit.stored.attrs)
    return sb.Fit(fit.spec, replace(fit.runs, table=table), tree)


def test_log_likelihoods_are_of_each_runs_own_group(pooled):
    kept = pooled.log_likelihood["log_loss"]
    for name in pooled.groups:
        view = sb.group(pooled, name)
        draw = view.stored["posterior"].to_dataset().isel(chain=1, draw=7)
        run = view.runs.table.iloc[2]
        curve = view.spec.law_object(
            run.N, run.D, **{p: float(draw[p]) for p in view.spec.law_object.parameter_names}
        )
        expected = stats.t(float(draw["nu"]), scale=float(draw["sigma"])).logpdf(
            np.log(run.loss / curve)
        )
        assert float(kept.sel(run=run.name).isel(chain=1, draw=7)) == pytest.approx(expected)
        assert list(view.log_likelihood["run"].values) == list(view.runs.table.index)


def test_a_new_group_scatters_around_the_population_and_repeats_with_its_seed(pooled):
    view, again, other = (sb.new_group(pooled, seed=seed) for seed in (1, 1, 2))
    draws, whole = view.stored["posterior"].to_dataset(), pooled.stored["posterior"].to_dataset()
    assert draws.equals(again.stored["posterior"].to_dataset())
    assert not draws.equals(other.stored["posterior"].to_dataset())
    z = np.log(draws["L_inf"] / whole["L_inf_population"]) / whole["L_inf_spread"]
    assert stats.kstest(z.values.ravel(), "norm").pvalue > 1e-3
    size = draws["alpha_N"] * np.log(draws["N_c"] / 1e9)
    middle = whole["alpha_N_population"] * np.log(whole["N_c_population"] / 1e9)
    assert (
        stats.kstest(((size - middle) / whole["N_c_spread"]).values.ravel(), "norm").pvalue > 1e-3
    )
    assert len(view.runs) == len(PILE)
    loss = sb.predict(view, N="7B", D="300B")["loss"]
    assert (
        float(loss.std())
        > float(sb.predict(sb.group(pooled, "pythia"), N="7B", D="300B")["loss"].std()) * 0.9
    )


def test_the_pooled_fit_itself_names_its_groups_when_it_is_asked(pooled):
    words = (
        r"has parameters by family: "
        r"ask one of cerebras-gpt, pythia with sb.group\(fit, 'cerebras-gpt'\)"
    )
    for ask in (
        lambda f: sb.predict(f, N="7B", D="300B"),
        lambda f: sb.frontier(f, C="1e22"),
        lambda f: sb.reach(f, loss=2.0),
        lambda f: sb.probability(f, loss=2.0, N="7B", D="1T"),
        sb.prior_from,
    ):
        with pytest.raises(sb.QueryError, match=words):
            ask(pooled)


def test_what_a_view_cannot_answer_is_said(pooled, tmp_path):
    view, unseen = sb.group(pooled, "pythia"), sb.new_group(pooled)
    with pytest.raises(
        sb.QueryError,
        match=r"no family is called 'gpt' in pile2023; there are cerebras-gpt, pythia",
    ):
        sb.group(pooled, "gpt")
    with pytest.raises(sb.QueryError, match="a view of pythia already"):
        sb.group(view, "pythia")
    with pytest.raises(sb.QueryError, match="of a pooled fit, sensitivity is not supported"):
        sb.sensitivity(view)
    with pytest.raises(
        sb.QueryError,
        match="power-scaling of one group is not supported: its prior depends on the other groups",
    ):
        sb.power_scaling(view)
    with pytest.raises(sb.QueryError, match="a new group has no runs"):
        sb.influence(unseen, N="7B", D="300B")
    with pytest.raises(sb.FitError, match="save the pooled fit"):
        sb.save(view, tmp_path / "view.nc")
    with pytest.raises(sb.QueryError, match="ask each fit of the average"):
        sb.group(sb.average({"a": pooled}), "pythia")


def test_a_pooled_fit_is_saved_and_loaded_whole(pooled, tmp_path):
    again = sb.load(sb.save(pooled, tmp_path / "pooled.nc"))
    assert again.groups == pooled.groups == ("cerebras-gpt", "pythia")
    assert again.spec == pooled.spec
    xr.testing.assert_equal(
        again.stored["posterior"].to_dataset(), pooled.stored["posterior"].to_dataset()
    )
    one, two = (sb.predict(sb.group(f, "pythia"), N="7B", D="300B") for f in (pooled, again))
    xr.testing.assert_equal(one, two)


def test_groups_of_one_fit_are_contrasted_draw_by_draw(pooled):
    arms = {name: sb.group(pooled, name) for name in pooled.groups}
    answer = sb.contrast(arms, N="7B", D="300B")
    a, b = (sb.predict(arm, N="7B", D="300B")["loss"].values.ravel() for arm in arms.values())
    found = answer["difference"].sel(arm="pythia").values.ravel()
    assert np.sort(found) == pytest.approx(np.sort(b - a), abs=1e-12)
    assert answer.attrs["joint"] == 1
    saved = sb.multiplier(arms, C=1e21)
    assert saved["multiplier"].shape[1] == 1200
    separate = sb.contrast(
        {"a": arms["pythia"], "b": sb.group(pooled_fit(PILE, 1), "cerebras-gpt")}, N="7B", D="300B"
    )
    assert separate.attrs["joint"] == 0


def test_the_summary_has_groups_population_and_spreads(pooled):
    table = sb.summary(pooled)
    draws = pooled.stored["posterior"].to_dataset()
    assert table.loc["L_inf[pythia]", "median"] == pytest.approx(
        float(draws["L_inf"].sel(group="pythia").median())
    )
    share = draws["alpha_D"] / (draws["alpha_N"] + draws["alpha_D"])
    assert table.loc["a_opt[pythia]", "median"] == pytest.approx(
        float(share.sel(group="pythia").median())
    )
    assert {"L_inf_population", "L_inf_spread", "sigma[cerebras-gpt]", "nu"} <= set(table.index)
    gate = sb.diagnose(pooled)
    assert {"L_inf[pythia]", "alpha_N_spread"} <= set(gate.table.index)
    assert "GROUPS_POOLED" not in {m.code for m in gate.messages}


def test_thin_groups_are_named():
    few = sb.Runs(PILE.table.iloc[[*range(7), 7, 9, 12]], "few")
    (message,) = [m for m in sb.diagnose(pooled_fit(few, 0)).messages if m.code == "THIN_GROUPS"]
    assert message.text == (
        "groups with fewer than 6 runs, whose parameters depend much on the other groups and the "
        "prior: pythia (3)"
    )


@pytest.mark.parametrize(("rows", "thin"), [(5, ["pythia (5)"]), (6, [])])
def test_a_group_is_thin_below_one_run_more_than_parameters(rows, thin):
    few = sb.Runs(PILE.table.iloc[[*range(7), *range(7, 7 + rows)]], "few")
    texts = [m.text for m in sb.diagnose(pooled_fit(few, 0)).messages if m.code == "THIN_GROUPS"]
    assert [text.partition("the prior: ")[2] for text in texts] == thin


def test_spreads_as_wide_as_their_prior_are_named():
    wide = pooled_fit(PILE, 0, {"L_inf": 0.9, "alpha_D": 0.95, "alpha_N": 0.65})
    (message,) = [m for m in sb.diagnose(wide).messages if m.code == "SPREAD_FROM_PRIOR"]
    assert message.level == "warning"
    assert message.text == (
        "2 groups say little about how far groups differ in L_inf, alpha_D: those spreads depend "
        "on their priors"
    )


def test_spreads_that_the_groups_determine_are_not_reported(pooled):
    assert "SPREAD_FROM_PRIOR" not in {m.code for m in sb.diagnose(pooled).messages}


# --- the command line


@pytest.fixture
def saved(pooled, tmp_path):
    return str(sb.save(pooled, tmp_path / "pooled.nc"))


def test_commands_ask_a_group_or_a_new_one(pooled, saved):
    asked = ["predict", saved, "--N", "7B", "--D", "300B", "--json"]
    for options, view in (
        (["--group", "pythia"], sb.group(pooled, "pythia")),
        (["--new-group"], sb.new_group(pooled)),
    ):
        result = RUNNER.invoke(app, [*asked, *options])
        assert result.exit_code == 0, result.stderr
        median = next(
            row for row in json.loads(result.stdout)["rows"] if row["quantity"] == "loss"
        )["median"]
        assert median == pytest.approx(float(sb.predict(view, N="7B", D="300B")["loss"].median()))
    result = RUNNER.invoke(app, asked)
    assert result.exit_code == 1
    assert "ask one of cerebras-gpt, pythia" in result.stderr
    assert RUNNER.invoke(app, [*asked, "--group", "pythia", "--new-group"]).exit_code == 2


@pytest.mark.parametrize(
    "words",
    [
        ["frontier", "--C", "1e22"],
        ["reach", "--loss", "2.0"],
        ["probability", "--loss", "2.0", "--N", "7B", "--D", "300B"],
        ["decide", "--C", "1e22"],
        ["returns", "--N", "7B", "--D", "300B"],
        ["runs-needed", "--width", "0.01", "--run-budget", "1e22", "--N", "7B", "--D", "300B"],
        ["influence", "--N", "7B", "--D", "300B", "--no-refit"],
    ],
    ids=lambda words: words[0],
)
def test_every_command_that_asks_a_fit_takes_a_group(saved, words):
    result = RUNNER.invoke(app, [words[0], saved, *words[1:], "--group", "pythia"])
    assert result.exit_code == 0, result.output + result.stderr


def test_accuracy_of_a_group_follows_from_its_losses(pooled, saved, tmp_path):
    shape = (4, 300)
    stage = {"a_inf": 0.14, "P_c": 3.0, "alpha_P": 0.7, "sigma": 0.03, "nu": 8.0}
    table = pd.DataFrame({"loss": np.linspace(2.0, 3.5, 12), "accuracy": np.linspace(0.7, 0.4, 12)})
    scores = sb.read_scores(table, name="scores")
    made = fit_of(
        "downstream", scores, **{name: np.full(shape, value) for name, value in stage.items()}
    )
    path = str(sb.save(made, tmp_path / "stage.nc"))
    asked = ["downstream", path, saved, "--N", "7B", "--D", "300B", "--json"]
    rows = {}
    for name in pooled.groups:
        result = RUNNER.invoke(app, [*asked, "--group", name])
        assert result.exit_code == 0, result.output + result.stderr
        rows[name] = json.loads(result.stdout)["rows"]
    assert rows["pythia"] != rows["cerebras-gpt"]
    assert RUNNER.invoke(app, asked).exit_code == 1


def test_the_summary_command_prints_groups_side_by_side(saved):
    result = RUNNER.invoke(app, ["summary", saved])
    assert result.exit_code == 0, result.output + repr(result.exception)
    heading = next(line for line in result.stdout.splitlines() if line.startswith("  parameter"))
    assert all(
        word in heading for word in ("cerebras-gpt", "pythia", "population", "spread of logs")
    )


def test_contrast_takes_groups_of_one_pooled_fit(saved):
    words = [
        "contrast",
        saved,
        "--group",
        "pythia",
        "--group",
        "cerebras-gpt",
        "--N",
        "7B",
        "--D",
        "300B",
    ]
    result = RUNNER.invoke(app, words)
    assert result.exit_code == 0, result.output
    assert "compared draw by draw" in result.stderr
    assert RUNNER.invoke(app, ["contrast", saved, saved, "--group", "pythia"]).exit_code == 2


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("chinchilla-one-sided", "only Normal and Student-t noise can be pooled"),
        ("tuned", "'tuned' has errors of its sweeps and cannot be pooled"),
    ],
)
def test_models_that_cannot_be_pooled_say_why(name, told):
    with pytest.raises(ValidationError, match=told):
        pooled_spec(name)
