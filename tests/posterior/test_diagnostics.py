"""Diagnostics of fits made by hand: for each code one case where it is said and one where not."""

import arviz_stats as azs
import numpy as np
import pandas as pd
import pytest
import xarray as xr

import scalebayes as sb
from scalebayes.posterior.diagnostics import convergence
from scalebayes.posterior.fit import SAMPLED
from scalebayes.specs.trainings import OFFSETS
from tests.fixtures import BESIROGLU_PARAMETERS, besiroglu_loss, fit_of, grid_of_sizes

SHAPE = (4, 500)
CLOSE = 1e-5
"""Standard deviation of the log of a parameter around its true value: none to speak of."""


def known_fit(runs, **changed):
    """A fit of chinchilla whose draws lie at Besiroglu's values, except those that are given."""
    rng = np.random.default_rng(0)
    values = BESIROGLU_PARAMETERS | {"sigma": 0.01, "nu": 8.0}
    drawn = {}
    for name, value in values.items():
        drawn[name] = value * np.exp(CLOSE * rng.standard_normal(SHAPE))
    return fit_of("chinchilla", runs, **drawn | changed)


def runs_of(N, D, residual=None, name="made", **columns):
    """Runs whose log losses differ from Besiroglu's law by given residuals."""
    if residual is None:
        residual = np.resize([0.01, -0.01], len(N))
    table = pd.DataFrame({"N": N, "D": D, "loss": besiroglu_loss(N, D) * np.exp(residual)})
    return sb.read_runs(table.assign(**columns), name=name, strict=False)


def said(fit, code):
    """Texts of the messages of a code."""
    return [message.text for message in sb.diagnose(fit).messages if message.code == code]


# the sampler


def tree_of(seed=0, energy=None, **draws):
    """A tree with ArviZ's names; statistics of the sampler are those of a calm run."""
    shape = next(iter(draws.values())).shape
    coords = {"chain": np.arange(shape[0]), "draw": np.arange(shape[1])}
    of_draws = ("chain", "draw")
    variables = {}
    for name, values in draws.items():
        variables[name] = ((*of_draws, f"entry_{name}")[: values.ndim], values)
    if energy is None:
        energy = np.random.default_rng(seed).standard_normal(shape[:2])
    flags = np.zeros(shape[:2], bool)
    statistics = {
        "diverging": (of_draws, flags),
        "reached_max_treedepth": (of_draws, flags),
        "energy": (of_draws, energy),
    }
    return xr.DataTree.from_dict(
        {
            "posterior": xr.Dataset(variables, coords),
            "sample_stats": xr.Dataset(statistics, coords),
        }
    )


def codes(tree):
    return [message.code for message in convergence(tree).messages]


def calm(seed=1):
    return np.random.default_rng(seed).standard_normal(SHAPE)


def test_the_table_holds_what_arviz_says_and_of_a_vector_the_worst_entry():
    rng = np.random.default_rng(2)
    vector = rng.standard_normal((*SHAPE, 3))
    vector[1, :, 2] += 0.2  # a chain that disagrees in one entry
    tree = tree_of(a=calm(), v=vector)
    table = convergence(tree).table
    posterior = tree["posterior"].to_dataset()
    for statistic, method in (("ess_bulk", "bulk"), ("ess_tail", "tail")):
        found = azs.ess(posterior, method=method)
        assert table.loc["a", statistic] == pytest.approx(float(found["a"]), rel=1e-12)
        worst = float(found["v"].min())
        assert table.loc["v", statistic] == pytest.approx(worst, rel=1e-12)
        assert worst < float(found["v"].max())
    r_hat = azs.rhat(posterior)
    worst = float(r_hat["v"].max())
    assert table.loc["a", "r_hat"] == pytest.approx(float(r_hat["a"]), rel=1e-12)
    assert table.loc["v", "r_hat"] == pytest.approx(worst, rel=1e-12)
    assert worst > float(r_hat["v"].min())


def test_vectors_that_are_sampled_apart_are_checked_too():
    tree = tree_of(a=calm())
    for group, name in ((SAMPLED, "delta"), (OFFSETS, "offset")):
        values = np.random.default_rng(3).standard_normal((*SHAPE, 2))
        values[2, :, 1] += 1.0
        dims = ("chain", "draw", f"entry_{name}")
        tree[group] = xr.DataTree(xr.Dataset({name: (dims, values)}, tree["posterior"].coords))
    found = convergence(tree)
    assert list(found.table.index) == ["a", "delta", "offset"]
    assert found.table["r_hat"].idxmax() in ("delta", "offset")
    assert "R_HAT" in [message.code for message in found.messages]


def test_groups_are_checked_each_and_named():
    values = np.random.default_rng(4).standard_normal((*SHAPE, 2))
    values[0, :, 1] += 1.0
    tree = tree_of(a=calm())
    posterior = (
        tree["posterior"]
        .to_dataset()
        .assign(L_inf=(("chain", "draw", "group"), values), group=["web", "code"])
    )
    tree["posterior"] = xr.DataTree(posterior)
    found = convergence(tree)
    assert list(found.table.index) == ["a", "L_inf[web]", "L_inf[code]"]
    (text,) = [message.text for message in found.messages if message.code == "R_HAT"]
    assert "in L_inf[code]; at most 1.01 passes" in text


def test_calm_draws_pass():
    assert codes(tree_of(a=calm(), b=calm(2))) == []


@pytest.mark.parametrize(("shift", "is_said"), [(0.1, False), (0.4, True)])
def test_chains_that_differ_in_location_disagree(shift, is_said):
    values = calm()
    values[0] += shift
    tree = tree_of(a=calm(2), b=values)
    r_hat = float(azs.rhat(tree["posterior"].to_dataset())["b"])
    assert (r_hat > 1.01) == is_said
    found = [message.text for message in convergence(tree).messages if message.code == "R_HAT"]
    if not is_said:
        assert found == []
        return
    (text,) = found
    assert text == f"chains disagree: R-hat is {r_hat:.3f} in b; at most 1.01 passes"


def persistent(phi):
    """Draws of variance 1 whose correlation with the draw before is phi."""
    shocks = calm(5)
    values = shocks.copy()
    for draw in range(1, SHAPE[1]):
        values[:, draw] = phi * values[:, draw - 1] + np.sqrt(1 - phi**2) * shocks[:, draw]
    return values


@pytest.mark.parametrize(("phi", "is_said"), [(0.5, False), (0.8, True)])
def test_draws_that_move_slowly_are_few(phi, is_said):
    tree = tree_of(a=calm(), b=persistent(phi))
    ess = float(azs.ess(tree["posterior"].to_dataset(), method="bulk")["b"])
    assert (ess < 400) == is_said
    found = [message.text for message in convergence(tree).messages if message.code == "ESS_BULK"]
    expected = f"b has {ess:.0f} effective draws in the bulk; at least 400 pass"
    assert found == ([expected] if is_said else [])


def test_tails_that_come_in_spells_are_few():
    """The sign is independent from draw to draw, so the bulk mixes; the size is persistent."""
    spells = calm() * np.exp(persistent(0.95))
    found = convergence(tree_of(a=calm(2), b=spells))
    texts = {message.code: message.text for message in found.messages}
    assert "ESS_BULK" not in texts
    assert texts["ESS_TAIL"].startswith("b has ")
    assert texts["ESS_TAIL"].endswith("effective draws in the tail; at least 400 pass")


@pytest.mark.parametrize(("phi", "is_said"), [(0.0, False), (0.9, True)])
def test_energy_that_changes_slowly_fails(phi, is_said):
    """The fraction is the mean squared step over the variance: 2 (1 - phi)."""
    tree = tree_of(a=calm(), energy=persistent(phi))
    assert codes(tree) == (["E_BFMI"] if is_said else [])


def test_energy_of_one_chain_is_enough_to_fail():
    energy = persistent(0.0)
    energy[2] = persistent(0.99)[2]
    assert codes(tree_of(a=calm(), energy=energy)) == ["E_BFMI"]


def test_draws_that_were_made_until_an_interruption_fail():
    assert [m.code for m in convergence(tree_of(a=calm()), partial=True).messages] == ["PARTIAL"]


def test_a_chain_that_never_moves_and_numbers_that_are_none_are_named():
    stuck, infinite = calm(2), calm(3)
    stuck[1] = 0.5
    infinite[0, 0] = np.inf
    found = convergence(tree_of(a=calm(), b=stuck, c=infinite))
    texts = {message.code: message.text for message in found.messages}
    assert texts["STUCK"] == "a chain never moves in b"
    assert texts["NAN"] == "draws of c are not finite"
    assert all(message.level == "failed" for message in found.messages)
    assert not found.ok
    (html,) = [found._repr_html_()]
    assert "draws of c are not finite" in html
    assert "ess_bulk" in html


def test_the_verdict_states_the_worst_of_both_sizes():
    tree = tree_of(a=calm(), b=persistent(0.5))
    found = convergence(tree)
    least = found.table[["ess_bulk", "ess_tail"]].to_numpy().min()
    largest = found.table["r_hat"].max()
    assert str(found) == (
        f"Convergence checks passed: R-hat at most {largest:.3f}, ESS at least {least:.0f}."
    )


# the design


@pytest.mark.parametrize(("rows", "is_said"), [(14, True), (15, False)])
def test_fewer_than_fifteen_runs_are_few(rows, is_said):
    N, D = (x[:rows] for x in grid_of_sizes())
    texts = said(known_fit(runs_of(N, D)), "FEW_RUNS")
    expected = f"{rows} runs: fewer than 15 say little about 5 parameters"
    assert texts == ([expected] if is_said else [])


@pytest.mark.parametrize(("decades", "is_said"), [(0.95, True), (1.05, False)])
def test_less_than_a_decade_of_compute_is_narrow(decades, is_said):
    N = np.geomspace(1e9, 10 ** (9 + decades / 2), 20)
    D = np.geomspace(1e10, 10 ** (10 + decades / 2), 20)
    texts = said(known_fit(runs_of(N, D)), "NARROW_COMPUTE")
    expected = f"the runs span {decades:.1f} orders of magnitude of compute, less than one"
    assert texts == ([expected] if is_said else [])


@pytest.mark.parametrize(("spread", "is_said"), [(0.05, True), (0.5, False)])
def test_data_that_follow_the_size_are_said(spread, is_said):
    N = np.geomspace(1e8, 1e10, 20)
    D = 20 * N * np.exp(np.resize([spread, -spread], 20))
    correlation = np.corrcoef(np.log(N), np.log(D))[0, 1]
    assert (correlation > 0.99) == is_said
    assert bool(said(known_fit(runs_of(N, D)), "D_FOLLOWS_N")) == is_said


@pytest.mark.parametrize("x", ["N", "D"])
@pytest.mark.parametrize(("spread", "is_said"), [(0.009, True), (0.02, False)])
def test_an_input_that_does_not_vary_by_a_percent_is_one_value(x, spread, is_said):
    columns = {"N": np.geomspace(1e8, 1e10, 20), "D": np.geomspace(1e9, 1e11, 20)}
    columns[x] = 1e9 * np.exp(np.linspace(0, spread, 20))
    fit = known_fit(runs_of(**columns))
    texts = said(fit, f"ONE_{x}")
    expected = f"all runs have {x} = 1B: the exponent alpha_{x} comes from the prior alone"
    assert texts == ([expected] if is_said else [])
    # An input that hardly varies follows nothing.
    assert not is_said or said(fit, "D_FOLLOWS_N") == []


@pytest.mark.parametrize(("groups", "is_said"), [(["a", "b"], True), (["a", "a"], False)])
def test_groups_that_are_fitted_as_one_are_counted(groups, is_said):
    N, D = grid_of_sizes()
    texts = said(known_fit(runs_of(N, D, group=np.resize(groups, 24))), "GROUPS_POOLED")
    expected = "2 groups are fitted as one: nothing in this law tells them apart"
    assert texts == ([expected] if is_said else [])


def test_checkpoints_of_one_training_are_noted():
    N, D = np.repeat([1e8, 1e9, 1e10], 8), np.tile(np.arange(1, 9) * 1e10, 3)
    (text,) = said(known_fit(runs_of(N, D)), "SHARED_TRAINING")
    assert text.startswith("24 of 24 rows look like checkpoints of 3 trainings")
    assert said(known_fit(runs_of(*grid_of_sizes())), "SHARED_TRAINING") == []


def test_replicates_state_the_noise_beside_that_of_the_fit():
    N, D = (np.repeat(x[:8], 3) for x in grid_of_sizes())
    residual = np.tile([0.02, 0.0, -0.02], 8)
    (text,) = said(known_fit(runs_of(N, D, residual)), "REPLICATES")
    assert text.startswith("runs of equal inputs differ by a standard deviation of 2.00% in loss")
    assert text.endswith("(16 degrees of freedom); the noise scale sigma of the fit is 1.00%")
    assert said(known_fit(runs_of(*grid_of_sizes())), "REPLICATES") == []


# rows


@pytest.mark.parametrize(("times", "is_said"), [(9.8, False), (10.2, True), (-10.2, True)])
def test_a_row_is_far_off_by_its_distance_in_typical_residuals(times, is_said):
    """Median residuals are one percent, which of Normal noise is a scale of 1.48 percent.

    Two further rows are off by half as much, so the mean of all residuals is larger.
    """
    typical = 0.01 / 0.6745
    residual = np.resize([0.01, -0.01], 24)
    residual[[4, 5]] = 5.0 * typical
    residual[7] = times * typical
    texts = said(known_fit(runs_of(*grid_of_sizes(), residual)), "FAR_OFF")
    expected = "more than 10 times the typical residual of 1.5% from the curve: run 8"
    assert texts == ([expected] if is_said else [])


def test_long_lists_of_rows_are_cut_with_their_number():
    residual = np.resize([0.001, -0.001], 24)
    residual[3:10] = 0.3
    (text,) = said(known_fit(runs_of(*grid_of_sizes(), residual)), "FAR_OFF")
    assert text.endswith("from the curve: run 4, run 5, run 6, run 7, run 8 and 2 more")
    residual[8:10] = 0.001
    (text,) = said(known_fit(runs_of(*grid_of_sizes(), residual)), "FAR_OFF")
    assert text.endswith("from the curve: run 4, run 5, run 6, run 7, run 8")


def test_rows_that_repeat_others_are_named_after_the_first():
    N, D = (np.append(x, x[[2, 5]]) for x in grid_of_sizes())
    residual = np.append(np.resize([0.01, -0.01], 24), [0.01, -0.01])
    (text,) = said(known_fit(runs_of(N, D, residual)), "REPEATED_RUNS")
    assert text.endswith("so they count twice: run 25, run 26")
    assert said(known_fit(runs_of(*grid_of_sizes())), "REPEATED_RUNS") == []


# the prior


@pytest.mark.parametrize(("share", "is_said"), [(0.7, False), (0.9, True)])
def test_a_posterior_is_said_to_be_as_wide_as_its_prior(share, is_said):
    """The prior of the ratio of exponents is LogNormal of scale 0.35."""
    ratio = 0.35 * share * np.random.default_rng(5).standard_normal(SHAPE)
    fit = known_fit(runs_of(*grid_of_sizes()))
    alpha_N = fit.stored["posterior"]["alpha_N"].values
    alpha_D = alpha_N * np.exp(ratio)
    # The size of the term at the centre of the runs stays known, whatever its exponent.
    centre = np.exp(np.log(fit.runs.D).mean())
    wide = known_fit(fit.runs, alpha_D=alpha_D, D_c=centre * 0.2 ** (1 / alpha_D))
    texts = said(wide, "PRIOR_DECIDES")
    assert [text.partition(" ")[0] for text in texts] == (["alpha_D"] if is_said else [])
