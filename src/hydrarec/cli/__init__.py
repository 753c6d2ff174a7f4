"""The command line: each command parses, calls and prints. No logic lives here."""

import sys
import warnings
from collections.abc import Sequence

from cyclopts import App, CycloptsError
from rich.console import Console

from hydrarec._version import __version__
from hydrarec.errors import HydrarecError, InputError

app = App(
    name="hydrarec",
    help="Next-item recommendation from a table of events, with multi-head latent Mamba.",
    version=__version__,
    help_format="markdown",
)
# A command's module is imported when the command is called.
_COMMANDS = {
    "prepare": "Turn a table of events into a data set folder.",
    "train": "Train a model on events or on a prepared data set, and measure it.",
    "evaluate": "Measure a trained run again, with intervals and by group.",
    "recommend": "Recommend the next items for a user, for a history, or for everybody.",
    "info": "Describe a data set folder or a run folder.",
    "doctor": "Say what this machine offers and which parts of hydrarec are in use.",
    "demo": "Train and compare models on a simulated shop.",
}
for _name, _help in _COMMANDS.items():
    app.command(f"hydrarec.cli.{_name}:{_name}", name=_name, help=_help)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; the exit code is 0 done, 1 failed while working, 2 bad input or usage, 130 interrupted."""
    warnings.showwarning = _show_warning
    try:
        app(
            list(arguments) if arguments is not None else None,
            error_console=Console(stderr=True),
            exit_on_error=False,
            print_error=False,
            result_action="return_value",
        )
    except (InputError, CycloptsError) as error:
        return _fail(error, 2)
    except (HydrarecError, OSError, MemoryError) as error:
        return _fail(error, 1)
    except KeyboardInterrupt:
        return _fail("interrupted; run the same command again to go on", 130)
    return 0


def _fail(error: Exception | str, code: int) -> int:
    message = " ".join(str(error).split()) or type(error).__name__
    print(f"hydrarec: {message}", file=sys.stderr)
    return code


def _show_warning(message: Warning | str, *_: object, **__: object) -> None:
    print(f"hydrarec: warning: {message}", file=sys.stderr)
