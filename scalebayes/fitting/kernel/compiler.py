"""Compile C source to a shared library, with the C compiler of the system."""

from __future__ import annotations

import hashlib
import os
import platform
import shlex
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

from scalebayes.errors import warn_of_fallback
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
NO_COMPILER = "no C compiler (cc, gcc or clang) was found"
TIMEOUT = 120
"""Seconds after which a compiler counts as stuck; a kernel takes a few."""
CPUINFO_FIELDS = ("model name", "flags", "Features", "CPU part")
"""Lines of /proc/cpuinfo that name a processor and its features, on x86 and on ARM."""


def system_compiler() -> list[str]:
    """Return the command of the first of cc, gcc and clang that is installed; empty for none."""
    for name in ("cc", "gcc", "clang"):
        path = shutil.which(name)
        if path is not None:
            return [path]
    return []


def preferred_compiler() -> list[str]:
    """Return the command in CC of the environment, with its arguments; empty where CC is not set.

    The command need not exist.
    """
    text = os.environ.get("CC", "")
    try:
        return shlex.split(text)
    except ValueError:  # a quotation mark that is not closed
        return [text]


def check_compiler() -> None:
    """Check that there is a compiler to try.

    Raises
    ------
    UnsupportedError
        When CC is not set and the system has none.
    """
    if not preferred_compiler() and not system_compiler():
        raise UnsupportedError(NO_COMPILER)


def build(source: str, library: Path) -> None:
    """Compile C source to a shared library at a path.

    The compiler is CC of the environment. Where that is not set or fails, it is the system's.

    Raises
    ------
    UnsupportedError
        When there is no compiler, or each fails with each of `ATTEMPTS`.
    OSError
        When the source cannot be written beside the library.

    Warns
    -----
    FallbackWarning
        When the compiler in CC fails and the system's is tried.
    """
    preferred, system = preferred_compiler(), system_compiler()
    source_file = library.with_suffix(".c")
    source_file.write_text(source, "utf-8")
    try:
        error = ""
        if preferred:
            error = _compile(preferred, source_file, library)
            if not error:
                return
            error = f"{shlex.join(preferred)} (from CC) does not compile the kernel: {error}"
            if system:
                warn_of_fallback(f"{error}; {system[0]} is used instead")
        if not system:
            separator = "; " if error else ""
            raise UnsupportedError(f"{error}{separator}{NO_COMPILER}")
        error = _compile(system, source_file, library)
    finally:
        source_file.unlink(missing_ok=True)
    if error:
        raise UnsupportedError(f"{system[0]} does not compile the kernel: {error}")


def _compile(compiler: Sequence[str], source_file: Path, library: Path) -> str:
    """Compile with the first of `ATTEMPTS` that succeeds; return the last error, empty on success.

    compiler: a command and its first arguments.
    """
    error = ""
    try:
        for flags in ATTEMPTS:
            error = _compile_with(compiler, flags, source_file, library)
            if not error:
                return ""
    except (OSError, subprocess.TimeoutExpired) as exception:
        error = getattr(exception, "strerror", None) or str(exception)
    return error


def _compile_with(
    compiler: Sequence[str], flags: Sequence[str], source_file: Path, library: Path
) -> str:
    """Compile with one set of flags, and return the last line of the errors, empty on success."""
    libraries = ["-lmvec", "-lm"] if "-DVECTOR_MATHS" in flags else ["-lm"]
    command = [*compiler, *flags, "-o", str(library), str(source_file), *libraries]
    run = subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT, check=False)
    if run.returncode == 0 and library.is_file():
        return ""
    errors = run.stderr.strip().splitlines()
    if errors:
        return errors[-1]
    if run.returncode == 0:
        return "exit code 0, but no library"
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
