"""Which columns of a table may have a role, by their names."""

import pytest

from scalebayes.data.tables.names import likely_columns


@pytest.mark.parametrize(
    ("names", "role", "likely"),
    [
        (["loss", "eval/val_loss", "lr"], "loss", ["loss"]),
        (["step", "model/n_params", "params of it"], "N", ["model/n_params"]),
        (["step", "number of tokens seen"], "D", ["number of tokens seen"]),
        (["step", "lr"], "D", []),
    ],
)
def test_usual_names_come_before_ends_and_ends_before_words(names, role, likely):
    assert likely_columns(names, role) == likely
