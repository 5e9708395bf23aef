"""Quantities as people write them: 70B parameters, 1.4T tokens, 5.76e23 FLOP."""

import math
import numbers
import re
from decimal import Decimal

_POWERS = {"": 0, "K": 3, "M": 6, "B": 9, "G": 9, "T": 12}

# Commas must separate whole thousands: "1,5" is how some write 1.5, and must not silently become 15.
_QUANTITY = re.compile(
    r"([+-]?(?:\d{1,3}(?:,\d{3})+(?:\.\d*)?|\d+(?:_\d+)*(?:\.\d*)?|\.\d+))(?:e([+-]?\d{1,4}))?\s*([kmbgt]?)",
    re.ASCII | re.IGNORECASE,
)


def parse_quantity(value: object) -> float:
    """Read a quantity: ``"70B"``, ``"1.4T"``, ``"1e24"``, ``"1_000_000"`` or a plain number.

    Parameters
    ----------
    value : str or real number
        Text may end in K (1e3), M (1e6), B or G (1e9) or T (1e12), in either case; underscores and commas may separate
        thousands.

    Returns
    -------
    float
        The finite number meant.

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
        if match := _QUANTITY.fullmatch(value.strip()):
            mantissa, exponent, suffix = match.groups("")
            # One power of ten, so that "1.4T" is the very float 1.4e12 and not a product rounded twice.
            power = int(exponent or 0) + _POWERS[suffix.upper()]
            number = float(f"{mantissa.replace(',', '').replace('_', '')}e{power}")
    elif type(value) is not bool and isinstance(value, numbers.Real | Decimal):
        number = float(value)
    if not math.isfinite(number):
        raise ValueError(
            f"{value!r} is not a quantity: write a finite number as 7e10, or with K, M, B or T as 70B or 1.4T"
        )
    return number


def format_quantity(value: float, digits: int = 3) -> str:
    """Write a quantity with a suffix, as ``70B`` or ``1.4T``; from 1e15 on as ``5.76e23``.

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
    rounded = float(f"{value:.{digits - 1}e}")  # first, so that 999.9e9 becomes 1T and not 1000B
    size = abs(rounded)
    if size >= 1e15:
        mantissa, exponent = f"{rounded:.{digits - 1}e}".split("e")
        mantissa = mantissa.rstrip("0").rstrip(".") if "." in mantissa else mantissa
        return f"{mantissa}e{int(exponent)}"
    suffix = next((letter for letter in "TBMK" if size >= 10.0 ** _POWERS[letter]), "")
    return f"{rounded / 10.0 ** _POWERS[suffix]:.15g}{suffix}"


def share_in_words(share: float) -> str:
    """Write a share as a percentage that is 0% or 100% only where it is exactly that: 0.025%, 40%, 99.9%."""
    percent = 100 * share
    return f"{percent:.0f}%" if 1 <= percent <= 99 or percent in (0, 100) else f"{percent:.3g}%"
