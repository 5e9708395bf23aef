import math
from decimal import Decimal

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from scalebayes.units import format_quantity, parse_quantity

MAGNITUDES = st.floats(min_value=1e-6, max_value=1e30)


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("70B", 70e9),
        ("70b", 70e9),
        ("1.4T", 1.4e12),
        ("2.5G", 2.5e9),
        ("124m", 124e6),
        ("32K", 32e3),
        ("1e24", 1e24),
        ("5.76E+23", 5.76e23),
        ("1_000_000", 1e6),
        ("1,315,723,264", 1315723264.0),
        ("1,500.5", 1500.5),
        (" 7 B ", 7e9),
        (".5B", 5e8),
        ("-3", -3.0),
        ("12.", 12.0),
        (7e10, 7e10),
        (70, 70.0),
        (np.int64(70), 70.0),
        (np.float32(0.5), 0.5),
        (Decimal("1.5"), 1.5),
    ],
)
def test_reads_quantities_as_people_write_them(written, meant):
    assert parse_quantity(written) == meant


@pytest.mark.parametrize(
    "wrong",
    [
        *(
            "",
            "B",
            "70X",
            "70BB",
            "seventy",
            "1,5",
            "1,50,000",
            "1__0",
            "1 000",
            "45%",
            "nan",
            "inf",
            "1e400",
            "1e99999",
        ),
        *("\u0663", math.nan, math.inf, True, np.True_, None, [1], 1j),
    ],
)
def test_refuses_everything_else_and_says_what_to_write(wrong):
    with pytest.raises(
        ValueError, match=r"is not a quantity: write a finite number as 7e10, or .* 70B or 1\.4T"
    ):
        parse_quantity(wrong)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (7e10, "70B"),
        (1.4e12, "1.4T"),
        (5.76e23, "5.76e23"),
        (1e24, "1e24"),
        (1e15, "1e15"),
        (9.99e14, "999T"),
        (999.9e9, "1T"),
        (999.9e12, "1e15"),
        (70426624, "70.4M"),
        (1000, "1K"),
        (512, "512"),
        (17.94, "17.9"),
        (0.5, "0.5"),
        (0, "0"),
        (-3e9, "-3B"),
        (math.inf, "inf"),
        (math.nan, "nan"),
    ],
)
def test_writes_quantities_as_people_read_them(value, text):
    assert format_quantity(value) == text


def test_keeps_the_digits_asked_for():
    assert [format_quantity(123456789, digits) for digits in (1, 2, 5, 9)] == [
        "100M",
        "120M",
        "123.46M",
        "123.456789M",
    ]


@given(MAGNITUDES, st.integers(min_value=1, max_value=15))
def test_what_is_written_reads_back_to_within_its_digits(value, digits):
    assert parse_quantity(format_quantity(value, digits)) == pytest.approx(
        value, rel=0.5001 * 10.0 ** (1 - digits)
    )


@given(MAGNITUDES)
def test_a_suffix_means_the_very_power_of_ten(value):
    text = f"{value:.6g}"
    for suffix, power in {"K": 3, "M": 6, "B": 9, "T": 12}.items():
        assert parse_quantity(text + suffix) == float(Decimal(text).scaleb(power))


@given(st.text(max_size=12))
def test_any_text_is_a_finite_number_or_a_value_error(text):
    try:
        assert math.isfinite(parse_quantity(text))
    except ValueError as error:
        assert repr(text) in str(error)  # noqa: PT017 - either outcome is right
