"""The command line: it parses and prints; the work is done elsewhere.

stdout is the result, stderr is progress and messages. Each command is a small file, imported
when it is called, so that `--help` and `plugins` answer without loading torch.
"""

from __future__ import annotations

import contextlib
import errno
import os
import signal
import sys
import traceback
import warnings

import click

from metricforge import __version__
from metricforge.cli.options import is_later_rank
from metricforge.cli.plugin_commands import WithPlugins
from metricforge.cli.streams import watch
from metricforge.errors import (
    Interrupted,
    LostRankError,
    MetricForgeError,
    PluginError,
    ResourceError,
    UsageError,
    out_of_memory,
)

# Errors of a machine, wherever they are raised: it has no room to write, or no use for a path.
UNUSABLE = {errno.ENAMETOOLONG, errno.EIO, errno.ESTALE, errno.EMFILE, errno.ENFILE}
LACKING = {errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EFBIG, *UNUSABLE}
COMMANDS = {
    "baseline": "Rank pretrained features on a dataset, before any training.",
    "bench": "Run suites of trainings, and print the table that compares them.",
    "compare": "Compare runs on the same held-out queries and episodes.",
    "data": "Check, split and show a dataset.",
    "doctor": "Tell what is installed here, and whether it works.",
    "encode": "Embed images with a trained model, into a .npy file.",
    "enrol": "Enrol classes by their images, with a promise about strangers.",
    "evaluate": "Test a run's model on held-out classes, of any dataset.",
    "explore": "Write a page with a map of a run's images, to look around in.",
    "export": "Write a model as one ONNX or pt2 file, which ranks as it does.",
    "gallery": "Change and show what is enrolled.",
    "identify": "Say which enrolled class an image is of, or that it is unknown.",
    "index": "Embed images, to be searched.",
    "plugins": "List, show, check and begin plugins.",
    "push": "Upload a model to a hub, after you have confirmed it.",
    "search": "Find the images of an index that are nearest to others.",
    "shrink": "Make the embeddings of a model smaller, and show what that costs.",
    "train": "Train an embedding and test it on classes it never saw.",
    "tune": "Search the best options of a recipe, on its validation classes.",
    "verify": "Say whether two images are of one class.",
}


@click.group(
    cls=WithPlugins,
    package="metricforge.cli",
    lines=COMMANDS,
    context_settings={"help_option_names": ["-h", "--help"]},
)
@click.version_option(__version__, prog_name="metricforge")
def cli() -> None:
    """Train image embeddings, and measure them on classes they have never seen.

    Begin with:  metricforge train --sampler hard-triplet
    """


def main() -> None:
    """Run the command line; a MetricForgeError is one sentence on stderr and its exit code."""
    debug = "--debug" in sys.argv
    code = None
    ignored = False
    while not ignored:
        try:
            code = _run(debug) if code is None else code
            # The end is decided: another Ctrl-C while torch is put away would only spoil it.
            signal.signal(signal.SIGINT, signal.SIG_IGN)
            ignored = True
        except KeyboardInterrupt:  # between the two
            code = Interrupted.exit_code
    sys.exit(code)


def _run(debug: bool) -> int:
    """Run the command; its exit code."""
    # Pillow warns of what a sentence here refuses or what it reads all the same.
    warnings.filterwarnings("ignore", module=r"PIL\.")
    try:
        watch()
        cli.main(standalone_mode=False)
        sys.stdout.flush()
    except BrokenPipeError:  # the reader of the result stopped, e.g. `head`
        return 1
    except click.exceptions.Abort:
        return 130
    except click.ClickException as error:
        _report(_clicked(error), debug)
        return error.exit_code
    except click.exceptions.Exit as done:
        return done.exit_code
    except Interrupted as stopped:
        _report(str(stopped), debug, "")
        return stopped.exit_code
    except LostRankError as error:
        _report(str(error), debug)
        with contextlib.suppress(OSError, MetricForgeError):
            sys.stdout.flush()
        sys.stderr.flush()
        # Not by sys.exit: threads of gloo that still free tensors abort while Python ends.
        os._exit(error.exit_code)
    except MetricForgeError as error:
        # A wrong option is wrong on all ranks; the first one reports it.
        if isinstance(error, UsageError) and is_later_rank():
            return error.exit_code
        hidden = isinstance(error, PluginError) and error.__cause__ is not None and not debug
        _report(f"{error} (--debug shows the traceback)" if hidden else str(error), debug)
        return error.exit_code
    except Exception as error:
        if out_of_memory(error):
            _report("out of memory; a smaller network, --dim, batch or --chunk takes less.", debug)
        elif isinstance(error, OSError) and error.errno in LACKING:
            verb = "use" if error.errno in UNUSABLE else "write"
            problem = f"can't {verb} {error.filename}" if error.filename else f"can't {verb} a file"
            _report(f"{problem}: {error.strerror}.", debug)
        else:
            return _fault(error, debug)
        return ResourceError.exit_code
    return 0


def _clicked(error: click.ClickException) -> str:
    """click's message on a wrong option, in the form of every other error."""
    message = error.format_message()
    context = error.ctx if isinstance(error, click.UsageError) else None
    help = f" {context.command_path} --help lists what there is." if context else ""
    stop = "" if message.endswith((".", "?", ")")) else "."
    return f"{message[:1].lower()}{message[1:]}{stop}{help}"


def _fault(error: Exception, debug: bool) -> int:
    fault = f"a fault of metricforge, {type(error).__name__}: {error}"
    _report(f"{fault} (run it again with --debug for the traceback).", debug)
    return 1


def _report(message: str, debug: bool, kind: str = "error: ") -> None:
    if debug:
        traceback.print_exc()
    # Names from folders may hold escape sequences, which must not reach a terminal.
    printable = "".join(c if c.isprintable() else ascii(c)[1:-1] for c in message)
    rank = f"rank {os.environ['RANK']}: " if is_later_rank() else ""
    click.echo(f"{rank}{kind}{printable}", err=True)
