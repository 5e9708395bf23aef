"""The `scalebayes` application: its options, exit codes, and how a command's errors end."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any, cast

import typer
from typer.core import TyperGroup

from scalebayes.cli.inputs import look
from scalebayes.errors import GateWarning, ScaleBayesError

GATE_FAILED, INTERRUPTED = 3, 130
"""Exit codes; 0 is done, 1 an error, 2 wrong usage."""


SETTINGS: dict[str, Any] = {
    "rich_markup_mode": None,  # to draw boxes, Rich takes longer than all else
    "pretty_exceptions_enable": False,
    "context_settings": {"help_option_names": ["-h", "--help"]},
}


@contextmanager
def one_message() -> Iterator[None]:
    """End errors in one message and an exit code, never in a trace."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", GateWarning)  # commands say it themselves
            yield
    except (ScaleBayesError, OSError) as error:
        typer.echo(f"error: {error}", err=True)
        raise typer.Exit(1) from None
    except KeyboardInterrupt:
        typer.echo("interrupted", err=True)
        raise typer.Exit(INTERRUPTED) from None


class Registry(Mapping[str, Any]):
    """Commands by name, each made of its function when it is asked for: making all takes as long as importing Typer."""

    def __init__(self) -> None:
        self.functions: dict[str, Callable[..., None]] = {}
        self.panels: dict[str, list[str]] = {}
        self._made: dict[str, Any] = {}

    def add(self, name: str, panel: str, function: Callable[..., None]) -> None:
        """Add a function under a heading of the help."""
        self.functions[name] = function
        self.panels.setdefault(panel, []).append(name)

    def __getitem__(self, name: str) -> Any:
        if name not in self._made:
            alone = typer.Typer(add_completion=False, **SETTINGS)
            alone.command(name)(self.functions[name])
            self._made[name] = typer.main.get_command(alone)
        return self._made[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self.functions)

    def __len__(self) -> int:
        return len(self.functions)


REGISTRY = Registry()


class Panels(TyperGroup):
    """The commands of the registry, listed under their headings."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings)
        self.commands = cast(Any, REGISTRY)

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Read the arguments, after a look at the files among them: to check arguments Typer imports Pydantic."""
        options, rest, _ = self.make_parser(ctx).parse_args(list(args))
        if rest and rest[0] in self.commands and not (options or ctx.resilient_parsing):
            command = self.commands[rest[0]]
            alone = typer.Context(
                command, parent=ctx, info_name=rest[0], **command.context_settings
            )
            given, _, _ = command.make_parser(alone).parse_args(rest[1:])
            if "help" not in given and all(given.get(p.name) for p in command.params if p.required):
                arguments: list[Any] = [
                    p for p in command.params if p.param_type_name == "argument"
                ]
                paths = [
                    p.name for p in arguments if p.type_descriptor.annotation in (Path, list[Path])
                ]
                with one_message():
                    look(given, paths)
        return super().parse_args(ctx, args)

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        """Write one list a heading, whole sentences."""
        for panel, names in REGISTRY.panels.items():
            with formatter.section(panel):
                formatter.write_dl([(name, _sentence(REGISTRY.functions[name])) for name in names])


def _sentence(function: Callable[..., None]) -> str:
    return " ".join((function.__doc__ or "").split("\n\n")[0].split())


app = typer.Typer(
    cls=Panels,
    help="Bayesian inference of neural scaling laws: from a table of runs to decisions with credible intervals.",
    **SETTINGS,
)


def command(name: str, panel: str) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Register a command, under a heading of the help, whose errors end in one message, never in a trace."""

    def register(function: Callable[..., None]) -> Callable[..., None]:
        guarded = one_message()(function)
        REGISTRY.add(name, panel, guarded)
        return guarded

    return register


@app.callback(invoke_without_command=True)
def options(
    context: typer.Context,
    version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False,
) -> None:
    """Fit, question and compare scaling laws. Without a command, say what to do next."""
    if version:
        from scalebayes import __version__

        typer.echo(__version__)
    elif context.invoked_subcommand is None:
        from scalebayes.cli.start import next_steps

        typer.echo(next_steps(Path()))
