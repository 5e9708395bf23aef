"""Counting parameters and FLOP: shapes, rules, costs of families, prices, documented example."""

import doctest
import json
import re
from pathlib import Path

import numpy as np
import pytest
from scipy import optimize
from typer.testing import CliRunner

import scalebayes as sb
from scalebayes.cli import app
from scalebayes.costs.counting import EMBEDDING
from scalebayes.costs.transformers import (
    ASPECT,
    RULES,
    Shape,
    forward_flop,
    shape_of,
    sparse_cost,
    transformer_cost,
)
from scalebayes.posterior.fit import law_parameters
from tests.fixtures import draws_around, fit_of

ROOT = Path(__file__).parents[2]
GRID = np.geomspace(1e6, 1e13, 15)


@pytest.fixture(scope="module")
def fit():
    draws = draws_around("chinchilla", (2, 50))
    return fit_of("chinchilla", sb.load_runs("hoffmann2022"), **draws)


@pytest.mark.parametrize(
    ("N", "layers", "width", "feedforward", "heads", "printed"),
    [
        (73e6, 10, 640, 2560, 10, 1.03),
        (305e6, 20, 1024, 4096, 16, 1.10),
        (552e6, 24, 1280, 5120, 10, 1.08),
        (1.1e9, 26, 1792, 7168, 14, 1.04),
        (1.6e9, 28, 2048, 8192, 16, 1.03),
        (6.8e9, 40, 3584, 14336, 28, 0.99),
    ],
)
def test_hoffmanns_ratios_to_6nd_are_reproduced(N, layers, width, feedforward, heads, printed):
    """Table A4 of Hoffmann et al. (2022), whose ratios omit the embeddings that appendix F counts.

    N follows from the shapes, with the matrices of relative positions: width^2 a layer.
    """
    exact = 13 * layers * width**2 + 32000 * width
    assert exact == pytest.approx(N, rel=0.04)
    shape = Shape(layers, width, feedforward=feedforward, head_size=width / heads)
    flop = 3 * (forward_flop(shape, "hoffmann") - 4 * 32000 * width)
    assert flop / (6 * exact) == pytest.approx(printed, abs=0.0051)


def test_every_rule_against_its_matrices():
    """Count the multiplications of each matrix of one token, two FLOP each."""
    L, w, V, s = 12, 768, 50257, 1024
    shape = Shape(L, w, V, s, head_size=64)
    blocks = sum(
        rows * columns
        for _ in range(L)
        for rows, columns in [(w, w)] * 4 + [(w, 4 * w), (4 * w, w)]
    )
    product = L * sum(64 for _ in range(12)) * s  # of a token's query with every key, head by head
    assert shape.non_embedding == blocks == 12 * L * w**2
    assert (shape.embedding, shape.total) == (V * w, blocks + V * w)
    assert forward_flop(shape, "total") == 2 * (blocks + V * w)
    assert forward_flop(shape, "kaplan") == 2 * blocks
    assert forward_flop(shape, "kaplan-context") == 2 * (blocks + product)
    assert forward_flop(shape, "head") == 2 * (blocks + V * w)
    assert 3 * forward_flop(shape, "palm") == 6 * (blocks + V * w) + 12 * L * w * s  # 12 L H Q T
    assert (
        forward_flop(shape, "hoffmann") == 2 * (blocks + 2 * V * w + 2 * product) + 3 * 12 * L * s
    )


def test_untied_embeddings_are_two_matrices_and_one_of_them_is_the_last_layer():
    tied, untied = Shape(12, 768), Shape(12, 768, tied=False)
    assert untied.total - tied.total == 32000 * 768
    assert forward_flop(untied, "head") == forward_flop(tied, "head")
    assert forward_flop(untied, "total") - forward_flop(tied, "total") == 2 * 32000 * 768


def test_gpt3_is_as_large_as_its_shape():
    gpt3 = Shape(layers=96, width=12288, vocabulary=50257)
    assert gpt3.total == pytest.approx(175e9, rel=0.003)


def test_the_family_is_that_of_pearce_and_song():
    """Their 47491 N^(1/3) is what 32000 words at a width of 39.2 layers come to."""
    family = shape_of(GRID)
    assert pytest.approx(EMBEDDING, rel=5e-4) == 32000 * (ASPECT / 12) ** (1 / 3)
    np.testing.assert_allclose(family.total, GRID, rtol=1e-12)
    np.testing.assert_allclose(family.non_embedding, sb.non_embedding_parameters(GRID), rtol=5e-3)
    np.testing.assert_allclose(family.width / family.layers, ASPECT)


@pytest.mark.parametrize("tied", [True, False])
def test_the_width_of_a_size_is_the_root_of_its_cubic(tied):
    V = 128_256

    def excess(log_w, N):
        w = np.exp(log_w)
        return np.log(12 * w**3 / 100 + V * w * (1 if tied else 2)) - np.log(N)

    for N in (1e6, 1e9, 4e11):
        width = np.exp(optimize.brentq(excess, -5, 20, args=(N,), xtol=1e-13))
        assert shape_of(N, vocabulary=V, aspect=100, tied=tied).width == pytest.approx(
            width, rel=1e-9
        )
    assert shape_of(1e9, non_embedding=True).non_embedding == pytest.approx(1e9, rel=1e-12)


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize(
    "options", [{}, {"non_embedding": True, "context": "32K", "vocabulary": 1e5}]
)
def test_costs_are_three_forward_passes_a_token_and_invert(rule, options):
    cost = transformer_cost(rule, **options)
    flop = cost.flop(GRID, 1e12)
    np.testing.assert_allclose(
        flop, 3e12 * forward_flop(shape_of(GRID, **options), rule), rtol=1e-12
    )
    np.testing.assert_allclose(cost.affordable_tokens(GRID, flop), 1e12, rtol=1e-12)
    served = sb.with_inference("2T", cost)
    np.testing.assert_allclose(
        served.flop(GRID, 1e12) - flop, 2e12 * forward_flop(shape_of(GRID, **options), rule)
    )
    np.testing.assert_allclose(
        served.affordable_tokens(GRID, served.flop(GRID, 1e12)), 1e12, rtol=1e-9
    )


def test_counting_all_parameters_is_6nd_and_counting_kaplans_is_non_embedding(fit):
    np.testing.assert_allclose(transformer_cost("total").flop(GRID, 1e9), 6e9 * GRID)
    ours = sb.frontier(fit, C=[1e18, 1e23], cost=transformer_cost("kaplan"))
    theirs = sb.frontier(fit, C=[1e18, 1e23], cost=sb.NON_EMBEDDING)
    np.testing.assert_allclose(ours["N"], theirs["N"], rtol=5e-3)


def test_the_frontier_under_a_rule_is_the_best_of_a_grid(fit):
    cost, C = transformer_cost("palm", context="32K"), 1e22
    out = sb.frontier(fit, C=C, cost=cost)
    p = {name: values[0, :5, None] for name, values in law_parameters(fit).items()}
    N = np.geomspace(1e8, 1e12, 20001)
    D = C / (3 * forward_flop(shape_of(N, context=32e3), "palm"))
    loss = p["L_inf"] + (p["N_c"] / N) ** p["alpha_N"] + (p["D_c"] / D) ** p["alpha_D"]
    np.testing.assert_allclose(out["loss"][0, :5, 0], loss.min(axis=1), rtol=1e-9)
    np.testing.assert_allclose(out["N"][0, :5, 0], N[loss.argmin(axis=1)], rtol=1e-3)
    assert (
        out["N"] * out["D"] < sb.frontier(fit, C=C)["N"] * sb.frontier(fit, C=C)["D"]
    ).all()  # attention costs


def test_every_query_with_a_cost_takes_them(fit):
    cost = sb.with_inference("1T", sparse_cost(0.5, transformer_cost("palm")))
    assert (sb.regret(fit, N="70B", D="1.4T", cost=cost)["excess_loss"] >= 0).all()
    assert sb.decide(fit, C=1e22, cost=cost).attrs["cost"] == cost.name
    assert (sb.near_optimum(fit, C=1e22, cost=cost)["N_lower"] > 0).all()
    reached = sb.reach(fit, loss=2.1, cost=cost)
    np.testing.assert_allclose(
        reached["total"], cost.flop(reached["N"].values, reached["D"].values), rtol=1e-9
    )


def test_experts_cost_what_is_active(fit):
    cost = sparse_cost("0.25")
    np.testing.assert_allclose(cost.flop(GRID, 1e12), 1.5e12 * GRID)
    np.testing.assert_allclose(cost.affordable_tokens(GRID, 1.5e12 * GRID), 1e12)
    # With 6 N D at a quarter of the price, a budget C buys what 4 C buys for a dense model.
    sparse, dense = sb.frontier(fit, C=1e22, cost=cost), sb.frontier(fit, C=4e22)
    np.testing.assert_allclose(sparse["N"], dense["N"], rtol=1e-3)


def test_money_and_hours_follow_from_peak_and_utilisation(fit):
    price = sb.Price(per_hour=2.0, flop_per_second="989e12", utilisation=0.4)
    assert price.hours(3600 * 989e12 * 0.4) == pytest.approx(1.0)
    assert price.of(1e24) == pytest.approx(2 * 1e24 / (989e12 * 0.4 * 3600))
    out = sb.reach(fit, loss=2.1, price=price)
    np.testing.assert_allclose(out["money"], 2 * out["hours"])
    np.testing.assert_allclose(out["hours"], price.hours(out["C"]))


@pytest.mark.parametrize(
    ("ask", "message"),
    [
        (
            lambda: transformer_cost("plam"),
            "one of total, kaplan, kaplan-context, head, palm, hoffmann; got 'plam'",
        ),
        (lambda: transformer_cost(context=0), "context must be positive; got 0"),
        (lambda: transformer_cost(vocabulary="many"), "vocabulary: 'many' is not a quantity"),
        (lambda: shape_of(1e9, aspect=-1), "aspect must be positive"),
        (lambda: sparse_cost(8), "share of the parameters that a token uses, at most 1; got 8"),
        (
            lambda: sb.Price(2, 4e14, utilisation=40),
            "utilisation is a share of the FLOP/s, at most 1; got 40",
        ),
    ],
)
def test_what_is_no_cost_is_refused_in_words(ask, message):
    with pytest.raises(sb.QueryError, match=message):
        ask()


@pytest.mark.parametrize(("page", "examples"), [("counting", 16), ("constants", 14)])
def test_documented_examples_say_what_they_print(page, examples):
    failed, tried = doctest.testfile(str(ROOT / "docs" / f"{page}.md"), module_relative=False)
    assert tried == examples
    assert failed == 0


def test_the_command_line_counts_as_told(fit, tmp_path):
    path = sb.save(fit, tmp_path / "fit.nc")

    def run(*arguments, code=0):
        result = CliRunner().invoke(app, [*map(str, arguments)])
        assert result.exit_code == code, result.output
        return result

    told = run(
        "frontier",
        path,
        "--C",
        "1e22",
        "--count",
        "palm",
        "--context",
        "32K",
        "--serve",
        "1T",
        "--json",
    ).stdout
    cost = sb.with_inference("1T", transformer_cost("palm", context="32K"))
    expected = sb.intervals(sb.frontier(fit, C=1e22, cost=cost))["median"].tolist()
    assert [row["median"] for row in json.loads(told)["rows"]] == pytest.approx(expected, rel=1e-9)
    assert "transformer FLOP (palm; vocabulary 32000, context 2048)" in " ".join(
        run("frontier", path, "--C", "1e22", "--count", "palm").stdout.split()
    )
    reached = [
        "reach",
        path,
        "--loss",
        "2.1",
        "--price",
        "2",
        "--flop-per-second",
        "989e12",
        "--utilisation",
        "0.4",
    ]
    assert "accelerator hours" in run(*reached).stdout
    wrong = run("frontier", path, "--C", "1e22", "--context", "4K", code=2).stderr
    assert "choose a rule with --count" in re.sub(r"[│\s]+", " ", wrong)
    assert (
        "one of total, kaplan"
        in run("regret", path, "--N", "7B", "--D", "2T", "--count", "x", code=1).stderr
    )


def test_parameters_may_be_text_a_list_or_an_array():
    for function in (sb.total_parameters, sb.non_embedding_parameters):
        assert function("70M") == function(70e6)
        np.testing.assert_array_equal(function(["70M", 1e9]), function(np.array([70e6, 1e9])))
        with pytest.raises(sb.QueryError, match="must be positive; got -1"):
            function(["-1"])
    assert sb.shape_of("70B").width == sb.shape_of(70e9).width
