"""The `scalebayes` application: its commands, the list in `--help`, exit codes and errors."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

import typer
from typer.core import TyperArgument, TyperGroup

from scalebayes.cli.bundles import expand
from scalebayes.cli.inputs import check_fits
from scalebayes.errors import FallbackWarning, GateWarning, ScaleBayesError
from scalebayes.utils.waiting import reported_waits, step

# Exit codes besides 0 (done), 1 (error) and 2 (wrong usage).
GATE_FAILED = 3
INTERRUPTED = 130

SETTINGS: dict[str, Any] = {
    "rich_markup_mode": None,  # importing Rich to draw boxes takes longer than all other imports
    "pretty_exceptions_enable": False,
    "context_settings": {"help_option_names": ["-h", "--help"], "max_content_width": 110},
}

MOST_USED = "Most used"
"""Heading of the commands that `--help` lists first."""

OLD_NAMES = {
    "chance": "probability",
    "converged": "above-converged",
    "needed": "runs-needed",
    "next": "next-runs",
    "point": "point-fits",
    "prior-or-data": "power-scaling",
    "study": "kaplan-or-chinchilla",
}
"""Earlier names of commands: they work until version 1.0, and `--help` does not list them."""


@contextmanager
def one_message() -> Iterator[None]:
    """Turn an error into one message on stderr and an exit code, without a traceback."""
    try:
        with warnings.catch_warnings():
            # Commands report failed convergence checks themselves.
            warnings.simplefilter("ignore", GateWarning)
            _print_fallbacks_as_notes()
            yield
    except ScaleBayesError as error:
        typer.echo(f"error: {error}", err=True)
        raise typer.Exit(1) from None
    except MemoryError:
        typer.echo("error: out of memory: give fewer rows, draws or chains", err=True)
        raise typer.Exit(1) from None
    except OSError as error:
        typer.echo(f"error: {_in_words(error)}", err=True)
        raise typer.Exit(1) from None
    except KeyboardInterrupt:
        typer.echo("interrupted", err=True)
        raise typer.Exit(INTERRUPTED) from None


@contextmanager
def reported(name: str) -> Iterator[None]:
    """Report each minute that a command still runs, where stderr is not a terminal."""
    if sys.stderr.isatty():
        yield
        return
    with reported_waits(), step(f"scalebayes {name}"):
        yield


def _print_fallbacks_as_notes() -> None:
    """Print each `FallbackWarning` once as a note on stderr, until warnings are reset."""
    warnings.simplefilter("always", FallbackWarning)
    others = warnings.showwarning
    printed: set[str] = set()

    def show(message: Warning | str, category: type[Warning], *place: Any, **more: Any) -> None:
        if not issubclass(category, FallbackWarning):
            others(message, category, *place, **more)
        elif str(message) not in printed:
            printed.add(str(message))
            print(f"note: {message}", file=sys.stderr, flush=True)

    warnings.showwarning = show


def _in_words(error: OSError) -> str:
    """Return the reason of an error of the operating system, after the file that it is of."""
    if error.strerror is None:
        return str(error)
    if error.filename is None:
        return error.strerror
    return f"{error.filename}: {error.strerror}"


def _no_type(ctx: Any) -> None:
    """Return no type for the help of an argument."""


class Registry(Mapping[str, Any]):
    """Click commands by name, built on first use: all of them take as long as importing Typer."""

    def __init__(self) -> None:
        self.functions: dict[str, Callable[..., None]] = {}
        self.sections: dict[str, list[str]] = {}
        self._built: dict[str, Any] = {}

    def add(self, name: str, heading: str, function: Callable[..., None]) -> None:
        """Add the function of a command under a heading of `--help`."""
        self.functions[name] = function
        self.sections.setdefault(heading, []).append(name)

    def __getitem__(self, name: str) -> Any:
        if name not in self._built:
            alone = typer.Typer(add_completion=False, **SETTINGS)
            function = reported(name)(expand(self.functions[name]))
            alone.command(name)(one_message()(function))
            built = typer.main.get_command(alone)
            for parameter in built.params:
                if isinstance(parameter, TyperArgument):
                    # The metavar says what the argument is; Typer would add a Python type.
                    parameter.display_type_rich = _no_type  # type: ignore[method-assign]
            self._built[name] = built
        return self._built[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self.functions)

    def __len__(self) -> int:
        return len(self.functions)

    def sentence(self, name: str) -> str:
        """Return the first paragraph of a command's help, in one line."""
        text = self.functions[name].__doc__ or ""
        return " ".join(text.split("\n\n")[0].split())


REGISTRY = Registry()


class Commands(TyperGroup):
    """The commands of the registry, listed under their headings."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings)
        self.commands = cast(Any, REGISTRY)

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Read the arguments, and check the files named in them first.

        Typer imports Pydantic to check arguments; a missing file is reported before that.
        """
        options, rest, _ = self.make_parser(ctx).parse_args(list(args))
        if rest and not options and not ctx.resilient_parsing:
            name = current_name(rest[0])
            if name in self.commands:
                _check_named_files(ctx, name, rest[1:])
        return super().parse_args(ctx, args)

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """Find the command that the first argument names, by its name or an old one."""
        return super().resolve_command(ctx, [current_name(args[0]), *args[1:]])

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        """Write one list for each heading, with whole sentences."""
        for heading, names in REGISTRY.sections.items():
            with formatter.section(heading):
                formatter.write_dl([(name, REGISTRY.sentence(name)) for name in names])


def current_name(name: str) -> str:
    """Return the present name of a command."""
    return OLD_NAMES.get(name, name)


def _check_named_files(ctx: Any, name: str, args: list[str]) -> None:
    """Check the fits and tables among the arguments of a command.

    Nothing is checked where the command would show its help or report a missing argument.
    """
    command = REGISTRY[name]
    context = typer.Context(command, parent=ctx, info_name=name, **command.context_settings)
    values, _, _ = command.make_parser(context).parse_args(list(args))
    is_complete = all(values.get(each.name) for each in command.params if each.required)
    if "help" in values or not is_complete:
        return
    fits = []
    for parameter in command.params:
        is_argument = parameter.param_type_name == "argument"
        if is_argument and parameter.type_descriptor.annotation in (Path, list[Path]):
            fits.append(parameter.name)
    with one_message():
        from scalebayes.cli.tables import check_tables

        check_fits(values, fits)
        check_tables(values)


app = typer.Typer(
    cls=Commands,
    help="Bayesian inference of neural scaling laws: from a table of runs to decisions with "
    "credible intervals.",
    **SETTINGS,
)


def command(heading: str) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Register a function as a command of the same name, under a heading of `--help`.

    Underscores of the name become hyphens. Parameters whose type is a dataclass are bundles of
    options (`scalebayes.cli.bundles`).
    """

    def register(function: Callable[..., None]) -> Callable[..., None]:
        REGISTRY.add(function.__name__.replace("_", "-"), heading, function)
        return function

    return register


VERSION: Any = typer.Option(False, "--version", help="Print the version and exit.")


@app.callback(invoke_without_command=True)
def options(context: typer.Context, version: bool = VERSION) -> None:
    """Fit, query and compare scaling laws. Without a command, suggest what to do next."""
    if version:
        from scalebayes import __version__

        typer.echo(__version__)
    elif context.invoked_subcommand is None:
        from scalebayes.cli.start import next_steps

        typer.echo(next_steps(Path()))
