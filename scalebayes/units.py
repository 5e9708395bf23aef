"""Quantities with suffixes: 70B parameters, 1.4T tokens, 5.76e23 FLOP."""

import math
import numbers
import re
from decimal import Decimal

_POWERS = {"": 0, "K": 3, "M": 6, "B": 9, "G": 9, "T": 12}

_QUANTITY = re.compile(
    r"""
    (   [+-]?                                # mantissa: a sign, then one of
        (?: [1-9]\d{0,2}(?:,\d{3})+ (?:\.\d*)?  #   digits in groups of thousands
        |   \d+(?:_\d+)* (?:\.\d*)?          #   digits, perhaps with underscores
        |   \.\d+                            #   a fraction alone
        )
    )
    (?: e ([+-]?\d{1,4}) )?                  # exponent
    \s* ([kmbgt]?)                           # suffix
    """,
    re.ASCII | re.IGNORECASE | re.VERBOSE,
)
"""A quantity as text. Commas must separate thousands: "1,5" may mean 1.5 and must not become 15."""

MOST_CHARACTERS = 100
"""Characters of a value that an error quotes."""
LEAST_WITHOUT_SUFFIX = 1e15
"""Size from which `format_quantity` writes an exponent: 1000T, the largest suffix being T."""


def parse_quantity(value: object) -> float:
    """Return the number meant by ``"70B"``, ``"1.4T"``, ``"1e24"``, ``"1_000_000"`` or a number.

    Parameters
    ----------
    value : str or real number
        Text may end in K (1e3), M (1e6), B or G (1e9) or T (1e12), in upper or lower case.
        Underscores and commas may separate thousands.

    Returns
    -------
    float
        A finite number.

    Raises
    ------
    ValueError
        When `value` is not a finite number written in one of these ways.

    Examples
    --------
    >>> parse_quantity("70B")
    70000000000.0
    """
    number = math.nan
    if isinstance(value, str):
        number = _parse_text(value)
    elif isinstance(value, bool):  # a bool is a Real, but hardly a quantity
        number = math.nan
    elif isinstance(value, numbers.Real | Decimal):
        number = _as_float(value)
    if not math.isfinite(number):
        raise ValueError(
            f"{_short(value)} is not a quantity: write a finite number as 7e10, "
            "or with K, M, B or T as 70B or 1.4T"
        )
    return number


def _as_float(value: numbers.Real | Decimal) -> float:
    """Return a number as a float, infinite where it is too large for one."""
    try:
        return float(value)
    except OverflowError:
        return math.inf


def _short(value: object) -> str:
    """Return a value as Python writes it, in at most a hundred characters."""
    try:
        text = repr(value)
    except ValueError:  # Python writes no integer of more than 4300 digits
        return "an integer of thousands of digits"
    return text if len(text) <= MOST_CHARACTERS else f"{text[:MOST_CHARACTERS]}..."


def number_or_nan(value: object) -> float:
    """Return the number that `parse_quantity` reads, NaN where it reads none."""
    try:
        return parse_quantity(value)
    except ValueError:
        return math.nan


def _parse_text(text: str) -> float:
    """Return the number meant by text, or NaN."""
    match = _QUANTITY.fullmatch(text.strip())
    if match is None:
        return math.nan
    mantissa, exponent, suffix = match.groups("")
    digits = mantissa.replace(",", "").replace("_", "")
    # One power of ten, so that "1.4T" is the float 1.4e12 and not a product rounded twice.
    power = int(exponent or 0) + _POWERS[suffix.upper()]
    return float(f"{digits}e{power}")


def format_quantity(value: float, digits: int = 3) -> str:
    """Return a quantity as text: with a suffix, such as ``70B``; from 1e15 on as ``5.76e23``.

    Parameters
    ----------
    value : float
        The number.
    digits : int
        Significant digits kept, 1 to 15.

    Returns
    -------
    str
        Text that `parse_quantity` reads back to within the digits kept.

    Examples
    --------
    >>> format_quantity(1.4e12), format_quantity(5.76e23)
    ('1.4T', '5.76e23')
    """
    if not math.isfinite(value):
        return str(float(value))
    # Rounding comes before the choice of the suffix, so that 999.9e9 becomes 1T and not 1000B.
    rounded = float(f"{value:.{digits - 1}e}")
    size = abs(rounded)
    if size >= LEAST_WITHOUT_SUFFIX:
        mantissa, exponent = f"{rounded:.{digits - 1}e}".split("e")
        if "." in mantissa:
            mantissa = mantissa.rstrip("0").rstrip(".")
        return f"{mantissa}e{int(exponent)}"
    for suffix in ("T", "B", "M", "K"):
        unit = 10.0 ** _POWERS[suffix]
        if size >= unit:
            return f"{rounded / unit:.15g}{suffix}"
    return f"{rounded:.15g}"


def share_in_words(share: float) -> str:
    """Return a share as a percentage, such as 0.025%, 40% or 99.9%.

    Only shares of exactly 0 and 1 become 0% and 100%.
    """
    percent = 100 * share
    if 1 <= percent <= 99 or percent in (0, 100):
        return f"{percent:.0f}%"
    return f"{percent:.3g}%"
