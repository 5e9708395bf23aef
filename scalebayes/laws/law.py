"""The class `Law` and the decorator `law`, which declares a plain function as a scaling law."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np

from scalebayes.display import html
from scalebayes.laws.coordinates import Coordinates
from scalebayes.laws.rescaling import COUNTS, LOSS, SAME_UNIT, Units, rescale_by_declaration

type Numeric = Any
"""A float, a NumPy or xarray array, or a PyTensor variable; each law works on all of them."""

INPUTS = {
    "N": "parameters",
    "D": "training tokens",
    "C": "training FLOP",
    "S": "steps of the optimiser",
    "U": "unique training tokens",
    "E": "experts",
    "learning_rate": "peak learning rate",
    "batch": "tokens in a batch",
    "P": "perplexity, e to the loss in nats per token",
}
"""Inputs that laws may have, with their meanings.

`scalebayes.data.tables.columns.QUANTITIES` has their names in tables. P is computed from the loss.
"""
FLOOR = "L_inf"
"""Name of the irreducible loss in every law that has one."""
LIMIT = 1e300
"""Stands for an infinite input: it has a finite log, and every power term is negligible there."""
TRIAL = np.array([0.4, 0.7, 1.0])
"""Places at which `Law.has_free_units` evaluates a law."""


@dataclass(frozen=True)
class Parameter:
    """One positive parameter of a law.

    A scale such as ``N_c`` in (N_c/N)^alpha_N names its input and its exponent. Its prior is stated
    on the size of the term at a reference input, which is easier to judge than N_c itself (see
    `scalebayes.specs.parts.Prior`).

    Attributes
    ----------
    unit
        The quantity in whose unit a parameter that is no scale is measured: ``"loss"``, the name
        of an input, or None for a pure number such as an exponent.
    at_reference
        Whether the parameter is the value of something at the inputs in `Law.reference`.
    """

    name: str
    latex: str
    meaning: str
    scale_of: str | None = None
    exponent: str | None = None
    unit: str | None = None
    at_reference: bool = False

    @property
    def can_be_relative(self) -> bool:
        """Whether a prior of this parameter may be stated relative to the table."""
        return self.scale_of is not None or self.unit is not None or self.at_reference


@dataclass(frozen=True)
class Law:
    """A scaling law: a function of inputs (`INPUTS`) and parameters, and its metadata.

    Examples
    --------
    >>> law = sb.LAWS["additive"]
    >>> constants = {"L_inf": 1.82, "N_c": 52e6, "alpha_N": 0.35, "D_c": 1.2e9, "alpha_D": 0.37}
    >>> f"{law.function(70e9, 1.4e12, **constants):.2f}"
    '1.97'
    """

    name: str
    title: str
    function: Callable[..., Numeric]
    inputs: tuple[str, ...]
    parameters: tuple[Parameter, ...]
    latex: str
    references: tuple[str, ...]
    coordinates: Coordinates
    optimal_N: Callable[..., Numeric] | None = None
    inverses: Mapping[str, Callable[..., Numeric]] = field(default_factory=dict, repr=False)
    derived: tuple[Callable[..., dict[str, Numeric]], ...] = ()
    notations: tuple[Callable[..., dict[str, float]], ...] = field(default=(), repr=False)
    response: str = "loss"
    reference: Mapping[str, float] = field(default_factory=dict, repr=False)
    own_rescale: Callable[..., dict[str, Numeric]] | None = field(default=None, repr=False)
    may_rise: tuple[str, ...] = ()
    tuned: str | None = None
    best: Callable[..., dict[str, Numeric]] | None = field(default=None, repr=False)

    def __repr__(self) -> str:
        return f"<Law {self.name}: L({', '.join(self.inputs)}) = {self.formula}>"

    def _repr_html_(self) -> str:
        meanings = {parameter.name: parameter.meaning for parameter in self.parameters}
        formula = f"L({', '.join(self.inputs)}) = {self.formula}"
        return html.panel(f"{self.name}: {self.title}", formula, html.facts(meanings))

    @property
    def formula(self) -> str:
        """Return the formula for a terminal: LaTeX without its commands."""
        text = self.latex.replace(r"\infty", "inf").replace(r"\cdot", " *")
        text = re.sub(r"\\[,;]", " ", text)  # spaces
        text = re.sub(r"\\hat{(\w+)}", r"\1_hat", text)
        text = re.sub(r"_{(\w+)}", r"_\1", text)
        # Braces group an exponent; without parentheses x^{a/b} would read as (x^a)/b.
        text = re.sub(r"\^{(\\?\w+)}", r"^\1", text)
        text = re.sub(r"\^{([^{}]*)}", r"^(\1)", text)
        text = re.sub(r"[{}]|\\left|\\right|\\", "", text)
        return re.sub(r" +", " ", text)

    @property
    def parameter_names(self) -> tuple[str, ...]:
        """Return the names of the parameters, in the order of the signature."""
        return tuple(p.name for p in self.parameters)

    def __call__(self, *inputs: Numeric, **parameters: Numeric) -> Numeric:
        """Return the loss in nats (or the odds, see ``response``) at the inputs.

        Infinite inputs are allowed: ``law(N, inf)`` is the limit of unlimited data.
        """
        finite_inputs = [np.minimum(x, LIMIT) for x in inputs]
        return self.function(*finite_inputs, **parameters)

    def evaluate(
        self, inputs: Mapping[str, Numeric] | Any, parameters: Mapping[str, Numeric]
    ) -> Numeric:
        """Return the law's value at inputs and parameters given by name.

        Parameters
        ----------
        inputs
            `Runs`, or a mapping from names of inputs to finite values.
        parameters
            Values of the parameters by name; entries that are no parameter of this law are ignored.
        """
        if isinstance(inputs, Mapping):
            arguments = [inputs[name] for name in self.inputs]
        else:
            arguments = [getattr(inputs, name) for name in self.inputs]
        own = {name: parameters[name] for name in self.parameter_names}
        return self.function(*arguments, **own)

    @property
    def at_best(self) -> Law:
        """The law at the best values of its hyperparameters; itself where it has none."""
        return self if self.tuned is None else LAWS[self.tuned]

    @property
    def hyperparameters(self) -> tuple[str, ...]:
        """Inputs that a user tunes: the law takes their best values where they are not given."""
        return tuple(x for x in self.inputs if x not in self.at_best.inputs)

    @property
    def floor(self) -> str | None:
        """Name of the parameter that is the irreducible loss, or None where there is none."""
        return FLOOR if FLOOR in self.parameter_names else None

    def reducible(
        self, inputs: Mapping[str, Numeric] | Any, parameters: Mapping[str, Numeric]
    ) -> Numeric:
        """Return the loss above the floor, with the arguments of `evaluate`.

        It is computed without the floor, so that it stays exact where it is small.
        """
        if self.floor is None:
            return self.evaluate(inputs, parameters)
        return self.evaluate(inputs, {**parameters, self.floor: 0.0})

    def log_response(self, runs: Any) -> np.ndarray:
        """Return the log of the observed response of runs: their loss, or the odds of accuracy."""
        return np.log(getattr(runs, self.response))

    def log_residual(self, runs: Any, parameters: Mapping[str, Numeric]) -> np.ndarray:
        """Return the log of the observed response minus the log of this law, at runs.

        Each parameter must broadcast against shape (runs,).
        """
        return self.log_response(runs) - np.log(self.evaluate(runs, parameters))

    def derive(self, parameters: Mapping[str, Numeric]) -> dict[str, Numeric]:
        """Return the quantities that papers print (A, B, a_opt ...), from this law's parameters."""
        out: dict[str, Numeric] = {}
        for function in self.derived:
            out |= function(**_pick(function, parameters))
        return out

    def optimise(self, ND: Numeric, parameters: Mapping[str, Numeric]) -> Numeric:
        """Return the N that minimises the loss at a given product N D, by the closed form.

        Raises
        ------
        TypeError
            When the law declares no closed form ``optimal_N``.
        """
        if self.optimal_N is None:
            raise TypeError(f"law '{self.name}' declares no closed-form optimum")
        return self.optimal_N(ND, **_pick(self.optimal_N, parameters))

    def from_notation(self, values: Mapping[str, float]) -> dict[str, float]:
        """Return parameters of this law from values in its own names or in a paper's notation.

        Raises
        ------
        ValueError
            When the names match no notation; the message lists every notation that is allowed.
        """
        allowed = [list(self.parameter_names)]
        if set(values) == set(self.parameter_names):
            return {name: float(values[name]) for name in self.parameter_names}
        for function in self.notations:
            names = keyword_names(function)
            if set(values) == set(names):
                return function(**values)
            allowed.append(names)
        choices = " or ".join("{" + ", ".join(names) + "}" for names in allowed)
        raise ValueError(
            f"got values for {{{', '.join(values)}}}; law '{self.name}' reads {choices}"
        )

    def rescale(self, parameters: Mapping[str, Numeric], units: Units) -> dict[str, Numeric]:
        """Return the parameters for inputs and response that are multiplied by constants.

        With c and T the constants of ``units``, law(c x, rescaled) = T law(x, parameters).

        Parameters
        ----------
        parameters
            Values of the parameters by name; entries that are no parameter of this law are ignored.
        units
            The constants. `Units.inverse` changes back.
        """
        own = {name: parameters[name] for name in self.parameter_names}
        # A scale whose exponent is almost zero overflows, and infinite serves every purpose.
        with np.errstate(over="ignore", divide="ignore"):
            if self.own_rescale is not None:
                return self.own_rescale(units, **own)
            return rescale_by_declaration(self.parameters, own, units)

    @cached_property
    def has_free_units(self) -> bool:
        """Whether `rescale` undoes every change of units, found by evaluating the law.

        False for a law with a constant of its own in units of an input or of the loss, or with
        parameters whose units are not declared. Such a law is fitted in the units of its table.
        """
        inputs = {x: 2.0 + TRIAL * i for i, x in enumerate(self.inputs)}
        names = self.parameter_names
        parameters = {name: 0.3 + 0.6 * TRIAL * i / len(names) for i, name in enumerate(names)}
        log_inputs = {}
        for i, x in enumerate(self.inputs):
            log_inputs[x] = 0.0 if x in COUNTS else 0.7 - 0.4 * i
        for x, other in SAME_UNIT.items():
            if x in log_inputs:
                log_inputs[x] = log_inputs.get(other, log_inputs[x])
        units = Units(log_inputs, 0.5 if self.response == LOSS else 0.0)

        rescaled = self.rescale(parameters, units)
        multiplied = {x: value * np.exp(log_inputs[x]) for x, value in inputs.items()}
        # A law may not exist at these values, and then it has no free units.
        with np.errstate(all="ignore"):
            found = self.evaluate(multiplied, rescaled)
            expected = np.exp(units.log_response) * self.evaluate(inputs, parameters)
        return bool(np.allclose(found, expected, rtol=1e-9, atol=0.0))


LAWS: dict[str, Law] = {}
"""Every declared law by name; the decorator `law` fills it."""


def law(
    *,
    title: str,
    parameters: tuple[Parameter, ...],
    latex: str,
    references: tuple[str, ...],
    coordinates: Coordinates,
    optimal_N: Callable[..., Numeric] | None = None,
    inverses: Mapping[str, Callable[..., Numeric]] | None = None,
    derived: tuple[Callable[..., dict[str, Numeric]], ...] = (),
    notations: tuple[Callable[..., dict[str, float]], ...] = (),
    response: str = "loss",
    reference: Mapping[str, float] | None = None,
    own_rescale: Callable[..., dict[str, Numeric]] | None = None,
    may_rise: tuple[str, ...] = (),
    tuned: str | None = None,
    best: Callable[..., dict[str, Numeric]] | None = None,
) -> Callable[[Callable[..., Numeric]], Law]:
    """Return a decorator that declares a function as a law and adds it to `LAWS`.

    The positional arguments of the function are inputs, the keyword-only ones are parameters.

    Parameters
    ----------
    title
        One line that names the law for users.
    parameters
        The declarations of the keyword-only arguments, in the same order.
    latex
        The right-hand side of L = ... .
    references
        Keys of ``models/references.bib``.
    coordinates
        Coordinates in which the sampler moves (`scalebayes.laws.coordinates`).
    optimal_N
        Closed form of the N that minimises the loss at a given product N D, if there is one.
    inverses
        Closed forms by input: f(L, other, **parameters) returns the input at which the loss is L,
        given the other input, and infinity where no input reaches L.
    derived
        Functions from (some of) the parameters to quantities that papers print.
    notations
        Functions from a paper's own constants to the parameters.
    response
        Attribute of `Runs` that the function predicts: "loss", or "odds" (of an accuracy).
    reference
        Values of inputs that the formula contains as constants, by input.
    own_rescale
        Function from `Units` and the parameters to the parameters in those units, for a law with
        a ``reference``; by default the units of the parameters determine it.
    may_rise
        Inputs with which the loss may rise at some parameters; it falls with all others.
    tuned
        Name of the law that this law is at the best values of its hyperparameters. The inputs that
        the law has beyond that one's are hyperparameters, and queries take the best of them.
    best
        Function from the inputs of the law ``tuned`` and the parameters to the best value of each
        hyperparameter.

    Raises
    ------
    TypeError
        At import, when declaration and signature differ, an input is not in `INPUTS`, or the name
        is taken.
    """

    def declare(function: Callable[..., Numeric]) -> Law:
        signature = inspect.signature(function).parameters.values()
        inputs = tuple(p.name for p in signature if p.kind is p.POSITIONAL_OR_KEYWORD)
        names = tuple(keyword_names(function))
        declared = tuple(p.name for p in parameters)
        if names != declared:
            raise TypeError(
                f"law {function.__name__}: the signature has {names}, the declaration {declared}"
            )
        if not inputs or not set(inputs) <= set(INPUTS):
            raise TypeError(
                f"law {function.__name__}: inputs are {inputs}, allowed are {tuple(INPUTS)}"
            )
        declared_law = Law(
            name=function.__name__.replace("_", "-"),
            title=title,
            function=function,
            inputs=inputs,
            parameters=parameters,
            latex=latex,
            references=references,
            coordinates=coordinates,
            optimal_N=optimal_N,
            inverses=dict(inverses or {}),
            derived=derived,
            notations=notations,
            response=response,
            reference=dict(reference or {}),
            own_rescale=own_rescale,
            may_rise=may_rise,
            tuned=tuned,
            best=best,
        )
        object.__setattr__(declared_law, "__doc__", function.__doc__)
        if declared_law.name in LAWS:
            raise TypeError(f"there is a law '{declared_law.name}' already")
        LAWS[declared_law.name] = declared_law
        return declared_law

    return declare


def keyword_names(function: Callable[..., Any]) -> list[str]:
    """Return the names of the keyword-only arguments of a function."""
    arguments = inspect.signature(function).parameters.values()
    return [p.name for p in arguments if p.kind is p.KEYWORD_ONLY]


def _pick(function: Callable[..., Any], parameters: Mapping[str, Numeric]) -> dict[str, Numeric]:
    """Return the parameters that the function takes as keyword-only arguments."""
    return {name: parameters[name] for name in keyword_names(function) if name in parameters}
