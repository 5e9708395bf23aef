"""Compile C source to a shared library, with the C compiler of the system."""

from __future__ import annotations

import hashlib
import os
import platform
import shutil
import subprocess
from collections.abc import Sequence
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
"""Sets of flags to try, the fastest library first.

The first uses glibc's vector maths, the second does without, and any compiler accepts the third.
All respect infinities, NaN and the order of operations. Exceptions are sums over the rows, which
may be reordered, and quotients, which may become products with the reciprocal.
"""
TIMEOUT = 120
"""Seconds after which a compiler counts as stuck; a kernel takes a few."""
CPUINFO_FIELDS = ("model name", "flags", "Features", "CPU part")
"""Lines of /proc/cpuinfo that name a processor and its features, on x86 and on ARM."""


def compiler() -> str:
    """Return the path of the C compiler: CC of the environment, or the first of cc, gcc and clang.

    Raises
    ------
    UnsupportedError
        When there is none.
    """
    preferred = os.environ.get("CC", "").split(" ")[0]
    for name in (preferred, "cc", "gcc", "clang"):
        path = shutil.which(name) if name else None
        if path:
            return path
    raise UnsupportedError("no C compiler (cc, gcc or clang) was found")


def build(source: str, library: Path) -> None:
    """Compile C source to a shared library at a path.

    Raises
    ------
    UnsupportedError
        When there is no compiler, or it fails with each of `ATTEMPTS`.
    """
    path = compiler()
    source_file = library.with_suffix(".c")
    source_file.write_text(source, "utf-8")
    error = ""
    try:
        for flags in ATTEMPTS:
            error = _compile(path, flags, source_file, library)
            if not error:
                return
    except (OSError, subprocess.TimeoutExpired) as exception:
        error = str(exception)
    finally:
        source_file.unlink(missing_ok=True)
    raise UnsupportedError(f"{path} does not compile the kernel: {error}")


def _compile(path: str, flags: Sequence[str], source_file: Path, library: Path) -> str:
    """Compile with one set of flags, and return the last line of the errors, empty on success."""
    libraries = ["-lmvec", "-lm"] if "-DVECTOR_MATHS" in flags else ["-lm"]
    command = [path, *flags, "-o", str(library), str(source_file), *libraries]
    run = subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT, check=False)
    if run.returncode == 0:
        return ""
    errors = run.stderr.strip().splitlines()
    if errors:
        return errors[-1]
    return f"exit code {run.returncode}"


def machine() -> str:
    """Return a hash of what compiled code depends on: the processor with its features, the system.

    Only Linux lists the features; elsewhere the processor's name must do.
    """
    try:
        processors = Path("/proc/cpuinfo").read_text("utf-8").split("\n\n")
        lines = processors[0].splitlines()
        processor = [line for line in lines if line.startswith(CPUINFO_FIELDS)]
    except OSError:
        processor = [platform.processor()]
    parts = [platform.system(), platform.machine(), *platform.libc_ver(), *processor]
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()
