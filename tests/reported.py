"""Fits made by hand for the tests of reports: one of a law alone, one with a discrepancy, one with hostile names."""

import numpy as np
import pandas as pd

import scalebayes as sb

from .handmade import fit_of, scattered

HOSTILE = "<img src=x onerror=\"window.hacked='img'\"> $\\frac{a}$ | `x` </script><script>window.hacked='script'</script>"


def table(name="grid", ids=None, **about):
    """Runs at six sizes with four amounts of data, losses those of Besiroglu's law with a scatter of half a percent."""
    N, D = (x.ravel() for x in np.meshgrid(np.geomspace(1e8, 1e10, 6), np.geomspace(1e9, 1e11, 4)))
    scatter = np.exp(0.005 * np.random.default_rng(0).standard_normal(len(N)))
    loss = (1.8172 + 482.01 / N**0.3478 + 2085.43 / D**0.3658) * scatter
    runs = sb.read_runs(pd.DataFrame({"N": N, "D": D, "loss": loss}), name=name, strict=False)
    frame = runs.table if ids is None else runs.table.set_axis(ids)
    return sb.Runs(frame, name, about.get("source"), tuple(about.get("notes", ())))


def made(model="chinchilla", runs=None, chains=4, draws=250, gate_failures=()):
    """A fit whose draws lie independently around Besiroglu's values: nothing is sampled."""
    runs = table() if runs is None else runs
    values = {"L_inf": 1.8172, "alpha_N": 0.3478, "alpha_D": 0.3658, "alpha_C": 0.06, "kappa": 0.95}
    values |= {
        "N_c": 482.01 / 1e9**0.3478,
        "D_c": 2085.43 / 2e10**0.3658,
        "sigma": 0.005,
        "nu": 8,
        "eta": 0.02,
    }
    drawn = scattered(model, values, (chains, draws), np.random.default_rng(1), width=0.03)
    return fit_of(model, runs, gate_failures, **drawn)


def hostile(**about):
    """A fit of runs whose name, ids, source and notes would run or break whatever does not escape them."""
    ids = [f"{i} {HOSTILE}" for i in range(24)]
    return made(runs=table(HOSTILE, ids, source=HOSTILE, notes=(HOSTILE,)), **about)
