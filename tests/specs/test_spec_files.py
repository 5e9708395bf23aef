"""Specs: every file in models/ loads, and published values give numbers printed in the papers."""

import json
import re
import tomllib
from pathlib import Path

import numpy as np
import pytest
from pydantic import ValidationError

from scalebayes.errors import SpecError
from scalebayes.laws import LAWS
from scalebayes.specs.noise import NOISES
from scalebayes.specs.parts import Check, Prior, Published
from scalebayes.specs.priors import DISTRIBUTIONS
from scalebayes.specs.spec import Spec, list_models, prior_draws, read_model
from tests.fixtures import normalised, runs_of_every_input

MODELS = Path(__file__).parents[2] / "models"
NAMES = sorted(path.stem for path in MODELS.glob("*.toml"))
EVERY = pytest.mark.parametrize("name", NAMES)
REFERENCES = (MODELS / "references.bib").read_text("utf-8")
KEYS = re.findall(r"^@\w+\{(\w+),$", REFERENCES, re.MULTILINE)


def checks_of(name):
    return [(entry, check) for entry in read_model(name).published for check in entry.checks]


CHECKS = [
    pytest.param(name, entry, check, id=f"{name}-{entry.source}-{check.what}-{check.where}")
    for name in NAMES
    for entry, check in checks_of(name)
]
MANY = runs_of_every_input(200, seed=0)
"""A table over two decades of N and D."""


@EVERY
def test_the_file_is_a_spec(name):
    spec = read_model(name)
    assert spec.name == name
    assert spec.title
    assert spec.about
    assert list(spec.priors) == [*spec.law_object.parameter_names, *spec.scatter_names]
    assert read_model(MODELS / f"{name}.toml") == spec
    assert read_model(str(MODELS / f"{name}.toml")) == spec
    assert str(spec) == f"{name}: {spec.title}"
    assert Spec.model_validate_json(spec.model_dump_json()) == spec


def test_the_list_is_the_folder():
    table = list_models()
    assert sorted(table.index) == NAMES
    assert list(table) == ["title", "law", "inputs", "noise"]
    assert table.loc["chinchilla", "inputs"] == "N, D"


def test_every_law_has_a_spec():
    assert {read_model(name).law for name in NAMES} == set(LAWS)


@EVERY
def test_every_source_is_in_the_references(name):
    spec = read_model(name)
    cited = {*spec.law_object.references, *(entry.source for entry in spec.published)}
    assert cited <= set(KEYS)


def test_references_are_whole():
    assert len(KEYS) == len(set(KEYS))
    entries = re.split(r"^@", REFERENCES, flags=re.MULTILINE)[1:]
    assert len(entries) == len(KEYS)
    for entry in entries:
        fields = set(re.findall(r"^  (\w+) *= ", entry, re.MULTILINE))
        assert {"title", "author", "year"} < fields
        assert fields & {"eprint", "doi"}
        assert entry.count("{") == entry.count("}")


@EVERY
def test_labels_head_columns_of_their_own(name):
    labels = [entry.label for entry in read_model(name).published]
    assert len(labels) == len(set(labels))


@EVERY
def test_published_values_are_positive_parameters(name):
    spec = read_model(name)
    for entry in spec.published:
        values = spec.law_object.from_notation(entry.values)
        assert set(values) == set(spec.law_object.parameter_names)
        assert all(value > 0 for value in values.values())
        assert set(entry.standard_error) <= set(entry.values)


@pytest.mark.parametrize(("name", "entry", "check"), CHECKS)
def test_published_values_reproduce_a_printed_number(name, entry, check):
    law = read_model(name).law_object
    values = law.from_notation(entry.values)

    def loss(point):
        assert set(point) == set(law.inputs)
        return law(*(point[x] for x in law.inputs), **values)

    if check.what == "loss":
        ours = loss(check.at)
    elif check.what == "loss_ratio":
        ours = loss(check.at) / loss(check.over)
    else:
        ours = (values | law.derive(values))[check.what]
    decimals = len(check.printed.partition(".")[2])
    assert ours == pytest.approx(
        float(check.printed), abs=check.within or 0.5 * 10.0**-decimals, rel=1e-9
    )


@EVERY
def test_every_published_entry_is_checked_or_says_why_not(name):
    assert all(bool(entry.checks) != bool(entry.unchecked) for entry in read_model(name).published)


@EVERY
def test_losses_of_the_prior_are_losses(name):
    """Nine in ten losses are within a factor of 5 of the typical loss, anywhere among the runs.

    Accuracies are within .1 to .99.
    """
    runs, spec = normalised(MANY, name)
    law, draws = spec.law_object, 4000
    columns = {name: values[:, None] for name, values in prior_draws(spec, draws).items()}
    loss = law.evaluate(runs, columns)
    if law.response == "odds":
        # The exponential exceeds 1 where its other parameters make the loss too small.
        below_one = loss[loss > 0]
        assert len(below_one) > 0.8 * loss.size
        low, high = np.quantile(below_one / (1 + below_one), [0.05, 0.95])
        assert 0.1 < low < 0.3 < 0.7 < high < 0.99
        return
    low, high = np.quantile(loss, [0.05, 0.95])
    assert 0.2 <= low < 0.65 < 1.4 < high <= 5


@EVERY
def test_reasons_state_the_priors_own_quantiles(name):
    for prior in read_model(name).priors.values():
        for low, high in re.findall(r"90% in ([\d.]+\d) to ([\d.]+\d)", prior.reason):
            quantiles = np.quantile(prior.draw(np.random.default_rng(0), 100_000), [0.05, 0.95])
            for printed, quantile in zip((low, high), quantiles, strict=True):
                last_digit = 10.0 ** -len(printed.partition(".")[2])
                assert quantile == pytest.approx(float(printed), abs=last_digit)


@EVERY
def test_scales_are_drawn_through_their_terms(name):
    _, spec = normalised(MANY, name)
    draws = prior_draws(spec, 20_000, seed=3)
    stated = {}
    for parameter in spec.law_object.parameters:
        prior = spec.priors[parameter.name]
        drawn = draws[parameter.name]
        if parameter.scale_of:
            drawn = np.exp(draws[parameter.exponent] * (np.log(drawn) - np.log(prior.at)))
        stated[parameter.name] = drawn
        if prior.over:
            drawn = drawn / stated[prior.over]
        assert np.isfinite(drawn).all()
        direct = prior.draw(np.random.default_rng(4), 20_000)
        expected = np.quantile(np.log(direct), [0.1, 0.5, 0.9])
        wide = max(1.0, np.log(direct).std())
        assert np.quantile(np.log(drawn), [0.1, 0.5, 0.9]) == pytest.approx(
            expected, abs=0.06 * wide
        )


def text_of(name):
    return (MODELS / f"{name}.toml").read_text("utf-8")


def read_text(tmp_path, text, name="draft"):
    path = tmp_path / f"{name}.toml"
    path.write_text(text, "utf-8")
    return read_model(path)


def refusal(tmp_path, text):
    with pytest.raises(SpecError) as caught:
        read_text(tmp_path, text)
    return str(caught.value).replace(str(tmp_path), "folder")


@EVERY
def test_the_hash_is_of_what_determines_the_posterior(tmp_path, name):
    spec, given = read_model(name), tomllib.loads(text_of(name))
    assert re.fullmatch(r"[0-9a-f]{64}", spec.hash)
    for words in (
        {"title": "Another"},
        {"about": "Other words"},
        {"published": []},
        {"noise": spec.noise},
    ):
        assert Spec(**{"name": name, **given, **words}).hash == spec.hash
    assert Spec(**{**given, "name": "another-name"}).hash == spec.hash
    first = next(iter(given["priors"]))
    reworded = {**given["priors"], first: {**given["priors"][first], "reason": "another"}}
    assert Spec(**{"name": name, **given, "priors": reworded}).hash == spec.hash
    reordered = dict(reversed(given["priors"].items()))
    assert Spec(**{"name": name, **given, "priors": reordered}).hash == spec.hash
    if spec.discrepancy is None:
        other = "normal" if spec.noise == "student_t" else "student_t"
        assert Spec(**{"name": name, **given, "noise": other}).hash != spec.hash
    else:
        reworded = {**given["discrepancy"], "reason": "another"}
        assert Spec(**{"name": name, **given, "discrepancy": reworded}).hash == spec.hash
        assert (
            Spec(**{"name": name, **given, "discrepancy": reworded | {"length": 2.0}}).hash
            != spec.hash
        )
    for parameter, prior in given["priors"].items():
        for key, value in prior.items():
            if isinstance(value, float):
                other = {**given["priors"], parameter: {**prior, key: value * 1.01}}
                assert Spec(**{"name": name, **given, "priors": other}).hash != spec.hash


def test_hashes_differ():
    assert len({read_model(name).hash for name in NAMES}) == len(NAMES)


def test_whole_numbers_hash_as_the_same_decimals(tmp_path):
    decimals = text_of("kaplan-size").replace('at = "centre"', "at = 1e9")
    whole = decimals.replace("median = 1.0", "median = 1").replace("1e9", "1000000000")
    assert whole != decimals
    assert read_text(tmp_path, whole).hash == read_text(tmp_path, decimals).hash


def test_restating_a_default_prior_changes_nothing(tmp_path):
    sigma = 'sigma = { dist = "LogNormal", median = 0.01, sigma = 1, reason = "as the default" }'
    same = text_of("chinchilla").replace("[priors]", f"[priors]\n{sigma}")
    assert read_text(tmp_path, same).hash == read_model("chinchilla").hash
    assert (
        read_text(tmp_path, same.replace("median = 0.01", "median = 0.02")).hash
        != read_model("chinchilla").hash
    )


def test_normal_noise_has_no_nu(tmp_path):
    text = text_of("chinchilla").replace('law = "additive"', 'law = "additive"\nnoise = "normal"')
    spec = read_text(tmp_path, text)
    assert list(spec.priors)[-1] == "sigma"
    assert "nu" not in prior_draws(normalised(MANY, spec)[1], 2)


def test_a_spec_passes_through():
    spec = read_model("chinchilla")
    assert read_model(spec) is spec


def test_a_spec_is_written_in_python():
    median = float(np.exp(np.mean([0.5, 0.9])))
    spec = Spec(
        name="mine",
        title="Size alone",
        law="size",
        noise="normal",
        priors={
            "N_c": Prior(dist="LogNormal", median=median, sigma=0.4, at=1e9, reason="computed"),
            "alpha_N": {"dist": "Exponential", "mean": 0.1, "reason": "a table will do"},
        },
    )
    assert spec.priors["N_c"].arguments == {"median": median, "sigma": 0.4}
    assert spec.law_object is LAWS["size"]
    assert spec.noise_object is NOISES["normal"]
    with pytest.raises(ValidationError, match="frozen"):
        spec.law = "data"


FAULTY = """
title = "Several faults"
law = "additiv"
noise = "student"
prior = 3

[priors]
L_inf = { dist = "Halfnormal", sigma = 2.0, reason = "r" }
alpha_D = { dist = "LogNormal", median = 0.3, reason = "r" }
"""

FAULTS = """folder/draft.toml: 5 faults
  law: no law 'additiv' (did you mean 'additive'?); allowed: {laws}
  noise: no noise 'student' (did you mean 'student_t'?); allowed: normal, student_t, \
diverging, one_sided
  priors.L_inf.dist: no distribution 'Halfnormal' (did you mean 'HalfNormal'?); allowed: \
{distributions}
  priors.alpha_D: LogNormal takes median, sigma; got median
  prior: no such key; got 3"""


def test_all_faults_are_told_at_once(tmp_path):
    expected = FAULTS.format(laws=", ".join(LAWS), distributions=", ".join(DISTRIBUTIONS))
    assert refusal(tmp_path, FAULTY) == expected


FAULTY_PRIORS = """
title = "Faults of priors and of the set of them"
law = "additive"

[priors]
L_inf = { dist = "HalfNormal", sigma = -2.0, reason = "r", at = 3e9 }
N_c = { dist = "LogNormal", median = 1.0, sigma = 1.0, reason = "r" }
alphaN = { dist = "LogNormal", median = 1.0, sigma = 1.0 }
D_c = { at = 2e10, dist = "Gamma", alpha = 2.0, beta = nan, reason = "" }
alpha_D = { dist = "Exponential", mean = 0.3, shift = 1.0, reason = "r" }
sigma = 0.1

[[published]]
source = "hoffmann2022"
label = "Hoffmann"
values = { E = 1.69, A = 406.4 }

[[published]]
source = "hoffmann2022"
label = "Hoffmann"
where = "eq. 10"
values = { E = 1.69, A = 406.4, B = 410.7, alpha = 0.34, bta = 0.28 }
checks = [{ what = "a_opt", printed = 0.46, where = "Table 2" }]
"""

PRIOR_FAULTS = """folder/draft.toml: 14 faults
  priors.sigma: must be a table such as { dist = ..., reason = ... }; got 0.1
  priors.L_inf.sigma: Input should be greater than 0; got -2.0
  priors.alphaN.reason: missing
  priors.D_c.reason: String should have at least 1 character; got ''
  priors.D_c.beta: Input should be a finite number; got nan
  priors.alphaN: no such parameter (did you mean 'alpha_N'?); 'additive' has {parameters}
  priors.L_inf.at: L_inf is not the scale of an input: its prior is stated at none, or at "centre"
  priors.N_c.at: missing: "centre" or a reference N; the prior is on (N_c/at)^alpha_N there
  priors.alpha_N: missing: the prior of the exponent of the parameter term
  priors.alpha_D.shift: only parameters of the noise may be shifted: sigma, nu
  published.0.where: missing
  published.1.checks.0.printed: Input should be a valid string; got 0.46
  published.0.values: got values for {{E, A}}; law 'additive' reads {notations}
  published.1.values: got values for {{E, A, B, alpha, bta}}; law 'additive' reads {notations}"""


def test_all_faults_of_priors_and_published_values_are_told_at_once(tmp_path):
    expected = PRIOR_FAULTS.replace(
        "{ dist = ..., reason = ... }", "{{ dist = ..., reason = ... }}"
    ).format(
        parameters="L_inf, N_c, alpha_N, D_c, alpha_D, sigma, nu",
        notations="{L_inf, N_c, alpha_N, D_c, alpha_D} or {E, A, B, alpha, beta}",
    )
    assert refusal(tmp_path, FAULTY_PRIORS) == expected


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("law = ", "folder/draft.toml is not valid TOML: "),
        ("law = " + "[" * 5000 + "]" * 5000, "not valid TOML: its values are nested too deeply"),
        ("law = 1" + "0" * 5000, "is not valid TOML: Exceeds the limit (4300 digits)"),
        ("#" * (2**20 + 1), "is no model file: it has more than 1024 KiB"),
        ("", "title: missing\n  law: missing"),
        (
            'title = "t"\nlaw = "size"',
            "priors.N_c: missing: the prior of the scale of the parameter term",
        ),
        (
            'title = "t"\nlaw = "size"\npriors = 3',
            "priors: Input should be a valid dictionary; got 3",
        ),
        (
            'title = "t"\nlaw = "size"\npublished = 3',
            "published: Input should be a valid tuple; got 3",
        ),
        ('title = "t"\nlaw = "size"\npublished = [3]', "published.0: must be a table"),
        ('title = "t"\nlaw = 3', "law: Input should be a valid string; got 3"),
        (
            'name = "a b"\ntitle = "t"\nlaw = "size"',
            "name: must be letters, digits, - and _; got 'a b'",
        ),
        (
            text_of("chinchilla").replace("beta = 0.2849083", 'beta = "?"'),
            "published.0.values.beta: ",
        ),
        (text_of("chinchilla").replace("beta = 0.2849083", "beta = 0"), "published.0.values: "),
        *(
            (text_of("chinchilla").replace("E = 1.69337368", f"E = {value}"), told)
            for value, told in (
                ("nan", "published.0.values.E: Input should be a finite number; got nan"),
                ("-inf", "published.0.values.E: Input should be a finite number; got -inf"),
                ("'nan'", "published.0.values.E: Input should be a finite number; got 'nan'"),
                ("0.0", "published.0.values: they imply L_inf = 0, and parameters are positive"),
            )
        ),
        (
            text_of("chinchilla").replace("A = 406.401018", "A = 1e308"),
            "published.0.values: they imply no parameters of 'additive': Numerical result",
        ),
        (
            text_of("chinchilla").replace("E = 0.0257", "E = nan"),
            "published.1.standard_error.E: Input should be a finite number; got nan",
        ),
        (
            text_of("chinchilla").replace("E = 0.0257", "Q = 0.0257"),
            "published.1.standard_error: there is no value of Q; there are values of E, A, B",
        ),
        *(
            (
                text_of("chinchilla").replace('printed = "0.46"', f'printed = "{printed}"'),
                f"published.0.checks.0.printed: printed takes the digits of a finite number; got "
                f"'{printed}'",
            )
            for printed in ("nan", "inf", "half")
        ),
        (
            text_of("chinchilla").replace("alpha = 2.0", "alpha = nan"),
            "priors.L_inf.alpha: Input should be a finite number; got nan",
        ),
    ],
)
def test_other_faults_are_told_too(tmp_path, text, told):
    assert told in refusal(tmp_path, text)


def test_a_file_need_not_be_called_like_ours(tmp_path):
    assert read_text(tmp_path, text_of("chinchilla"), "My_law.v2").name == "My_law.v2"
    assert read_text(tmp_path, 'name = "given"\n' + text_of("chinchilla")).name == "given"


def test_unknown_models_and_files_are_told(tmp_path):
    with pytest.raises(
        SpecError, match=r"no model 'chinchila' \(did you mean 'chinchilla'\?\); known models: "
    ) as caught:
        read_model("chinchila")
    assert all(name in str(caught.value) for name in NAMES)
    with pytest.raises(SpecError, match=r"no model file at .*nothing\.toml"):
        read_model(tmp_path / "nothing.toml")
    (tmp_path / "latin.toml").write_bytes(b'title = "\xe9"')
    with pytest.raises(SpecError, match=r"cannot read .*latin\.toml"):
        read_model(tmp_path / "latin.toml")


def test_the_readme_has_every_key_and_name():
    readme = (MODELS / "README.md").read_text("utf-8")
    keys = {*Spec.model_fields, *Prior.model_fields, *Check.model_fields, *Published.model_fields}
    names = {
        *DISTRIBUTIONS,
        *NOISES,
        *(a for d in DISTRIBUTIONS.values() for a in d.argument_names()),
    }
    assert [word for word in sorted(keys | names) if word not in readme] == []


def test_a_discrepancy_integrates_out_under_normal_noise_and_is_sampled_under_other(tmp_path):
    other = read_model("coupled-discrepancy")
    normal = read_text(tmp_path, text_of("coupled-discrepancy").replace('"student_t"', '"normal"'))
    assert not normal.observation.traits.runs_are_independent
    assert not normal.observation.traits.samples_discrepancy
    assert other.observation.traits.runs_are_independent
    assert other.observation.traits.samples_discrepancy
    assert other.scatter_names == ("sigma", "nu", "eta")
    law = read_model("coupled")
    assert law.observation.traits.runs_are_independent
    assert not law.observation.traits.samples_discrepancy


def test_published_data_stay_data():
    """Everything in a spec survives JSON: numbers, text and tables, nothing computed."""
    for name in NAMES:
        assert json.loads(json.dumps(tomllib.loads(text_of(name))))
