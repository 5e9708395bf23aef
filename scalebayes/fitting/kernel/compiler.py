"""C source to a shared library, by whatever C compiler the system has."""

from __future__ import annotations

import hashlib
import os
import platform
import shutil
import subprocess
from pathlib import Path

from scalebayes.fitting.kernel.c_operations import UnsupportedError

FLAGS = (
    "-O3",
    "-march=native",
    "-fPIC",
    "-shared",
    "-std=gnu11",
    "-w",
    "-fno-math-errno",
    "-fno-trapping-math",
)
LOOPS = ("-fopenmp-simd", "-ffp-contract=fast", "-freciprocal-math")
ATTEMPTS = (
    (*FLAGS, *LOOPS, "-DVECTOR_MATHS"),
    (*FLAGS, *LOOPS),
    tuple(flag for flag in FLAGS if flag != "-march=native"),
)
"""Flags, the quickest library first: with glibc's vector maths, without, and what any compiler takes.

None of them lets the compiler forget infinities, NaN or the order of what is written, but for sums over the rows; a
quotient may become a product with the reciprocal.
"""
TIMEOUT = 120
"""Seconds after which a compiler counts as stuck."""


def compiler() -> str:
    """Path of the C compiler: of the environment's CC, or the first of cc, gcc and clang.

    Raises
    ------
    UnsupportedError
        When there is none.
    """
    for name in (os.environ.get("CC", "").split(" ")[0], "cc", "gcc", "clang"):
        if name and (path := shutil.which(name)):
            return path
    raise UnsupportedError("no C compiler (cc, gcc or clang) was found")


def build(source: str, library: Path) -> None:
    """Compile C source to a shared library at a path.

    Raises
    ------
    UnsupportedError
        When no compiler is there, or it does not compile this.
    """
    path, said = compiler(), ""
    text = library.with_suffix(".c")
    text.write_text(source, "utf-8")
    try:
        for flags in ATTEMPTS:
            libraries = ["-lmvec", "-lm"] if "-DVECTOR_MATHS" in flags else ["-lm"]
            command = [path, *flags, "-o", str(library), str(text), *libraries]
            done = subprocess.run(
                command, capture_output=True, text=True, timeout=TIMEOUT, check=False
            )
            if done.returncode == 0:
                return
            said = (
                done.stderr.strip().splitlines()[-1]
                if done.stderr.strip()
                else f"exit code {done.returncode}"
            )
    except (OSError, subprocess.TimeoutExpired) as error:
        said = str(error)
    finally:
        text.unlink(missing_ok=True)
    raise UnsupportedError(f"{path} does not compile the kernel: {said}")


def machine() -> str:
    """What code compiled for this machine depends on: its processor, by name and features, and its system."""
    try:
        lines = Path("/proc/cpuinfo").read_text("utf-8").split("\n\n")[0].splitlines()
        kept = [
            line
            for line in lines
            if line.startswith(("model name", "flags", "Features", "CPU part"))
        ]
    except OSError:
        kept = [platform.processor()]
    return hashlib.sha256(
        "\n".join([platform.system(), platform.machine(), *platform.libc_ver(), *kept]).encode()
    ).hexdigest()
