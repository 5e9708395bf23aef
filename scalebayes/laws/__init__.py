"""Scaling laws: plain functions of inputs and parameters. `LAWS` holds them by name."""

from scalebayes.laws import accuracy, bent, joint, repetition, routed, single, steps, tuned
from scalebayes.laws.law import INPUTS, LAWS, Law, Parameter, keyword_names, law

__all__ = [
    "INPUTS",
    "LAWS",
    "Law",
    "Parameter",
    "accuracy",
    "bent",
    "joint",
    "keyword_names",
    "law",
    "repetition",
    "routed",
    "single",
    "steps",
    "tuned",
]
