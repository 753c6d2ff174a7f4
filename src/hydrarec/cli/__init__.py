"""The command line: each command parses, calls and prints. No logic lives here."""

import os
import sys
import warnings
from collections.abc import Sequence

from cyclopts import App, CycloptsError
from rich.console import Console

from hydrarec._version import __version__
from hydrarec.errors import HydrarecError, InputError

given: list[str] = []  # the arguments of the command in progress, for those that start it again in other processes
app = App(
    name="hydrarec",
    help="Next-item recommendation from a table of events, with multi-head latent Mamba.",
    version=__version__,
    help_format="markdown",
    suppress_keyboard_interrupt=False,
)
# A command's module is imported when the command is called.
_COMMANDS = {
    "prepare": "Turn a table of events into a data set folder.",
    "train": "Train a model on events or on a data set, and measure it.",
    "evaluate": "Measure a trained run again, with intervals and by group.",
    "recommend": "Recommend the next items for a user, a history, or everybody.",
    "adapt": "Adapt a trained run to the items of a new domain.",
    "add-items": "Give a trained run new items, by their text, without training.",
    "serve": "Serve a trained run over HTTP, events and recommendations.",
    "load": "Load-test a server on this machine.",
    "info": "Describe a data set folder or a run folder.",
    "doctor": "Say what this machine offers and what of it is used.",
    "compare": "Run models on data sets with seeds, as a file says, and show the table.",
    "bench": "Measure how fast Hydra is on this machine, beside its rivals.",
    "simulate": "Generate synthetic events.",
    "plan": "Estimate a catalog's memory, traffic and training time.",
    "demo": "Train and compare models on a simulated shop.",
}
for _place, (_name, _help) in enumerate(_COMMANDS.items()):
    _place_of = _name.replace("-", "_")
    app.command(f"hydrarec.cli.{_place_of}:{_place_of}", name=_name, help=_help, sort_key=_place)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; the exit code is 0 done, 1 failed while working, 2 bad input or usage, 130 interrupted."""
    given[:] = sys.argv[1:] if arguments is None else arguments
    if given and given[0] in _COMMANDS:
        app[given[0]].help = None  # its own page has all that its docstring says
    with warnings.catch_warnings():
        warnings.showwarning = _show_warning
        try:
            app(
                given,
                console=Console(),  # of this moment's width
                error_console=Console(stderr=True),
                exit_on_error=False,
                print_error=False,
                result_action="return_value",
            )
            sys.stdout.flush()  # a full disk behind standard output shows here, not at exit
        except (InputError, CycloptsError) as error:
            return _fail(error, 2)
        except BrokenPipeError:  # the reader of the output has seen enough, such as `| head`
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            return 1
        except OSError as error:
            return _fail(f"{error.filename}: {error.strerror}" if error.filename else error, 1)
        except (HydrarecError, MemoryError) as error:
            return _fail(error, 1)
        except RuntimeError as error:  # as torch reports it
            if "alloc" not in str(error) and "out of memory" not in str(error):
                raise
            return _fail(f"out of memory: {error}", 1)
        except KeyboardInterrupt:
            return _fail("interrupted; training and preparing go on when the same command is run again", 130)
    return 0


def _fail(error: Exception | str, code: int) -> int:
    message = " ".join(str(error).split()) or type(error).__name__
    print(f"hydrarec: {message}", file=sys.stderr)
    return code


def _show_warning(message: Warning | str, *_: object, **__: object) -> None:
    from hydrarec.processes import is_first
    from hydrarec.progress import say

    if is_first():
        say(f"warning: {message}")
