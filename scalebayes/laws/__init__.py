"""Functional forms of scaling laws: plain functions of inputs and parameters. `LAWS` holds them by name."""

from scalebayes.laws import joint, single
from scalebayes.laws._law import INPUTS, LAWS, Law, Parameter, keyword_names, law

__all__ = ["INPUTS", "LAWS", "Law", "Parameter", "joint", "keyword_names", "law", "single"]
