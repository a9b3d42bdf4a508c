"""The `fewview` command: finds the subcommand, and turns every error into one sentence and an exit code.

0 is success, 1 a failure, 2 input that cannot be used, 130 an interruption from the keyboard.
"""

from __future__ import annotations

import contextlib
import difflib
import gc
import importlib
import io
import json
import os
import re
import signal
import sys
import threading
import traceback
from collections.abc import Iterator, Mapping, Sequence

from . import __version__

# Read by OpenMP when PyTorch is loaded: how often its threads look for work before they sleep. By default they do so
# for milliseconds and hold up our kernels' threads, and programs that want the same cores; without it each of a
# network's small layers waits for them to wake.
os.environ.setdefault("GOMP_SPINCOUNT", "3000")

# Subcommands live in `commands/NAME.py` and are imported only when named, so that help comes at once.
COMMANDS = {
    "demo": "Twelve bundled photographs to a splat, then how to look at it.",
    "reconstruct": "Photographs, a video, or a data set with cameras, to a Gaussian splat.",
    "batch": "Many captures to splats, on this computer or on a cluster, with one page of reports.",
    "methods": "The reconstruction methods, and the settings of each.",
    "poses": "Only the cameras: where each photograph was taken from.",
    "view": "Look at a run, a splat, points or a data set in the browser.",
    "render": "A run or a splat file to pictures and a film.",
    "mesh": "The surface of a run or a splat file as a coloured mesh: GLB, OBJ or PLY.",
    "animate": "A film of one cut-out object to a mesh that moves: one GLB for Blender and the web.",
    "share": "A run or a splat file to one HTML page that anybody can open.",
    "edit": "Drag, crop or clean a splat, and set its origin, up axis and unit; the original stays.",
    "eval": "Measure a run on its held-out photographs again.",
    "detect": "Objects in drives and rooms, from LiDAR, photographs or a sentence: train, run, measure.",
    "convert": "A splat file to another format: the name's ending says which.",
    "doctor": "List what is installed, what is missing, and what to type next.",
}

_HELP_WORDS = ("-h", "--help", "help")
_HELP = f"""fewview {__version__}: photographs to a Gaussian splat with one command, on a CPU or a GPU

usage: fewview COMMAND [INPUT] [OPTIONS]

{{commands}}

Start with `fewview demo`, then `fewview reconstruct FOLDER` with photographs of your own.
`fewview COMMAND --help` tells the options."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command and return its exit code."""
    args = list(sys.argv[1:] if argv is None else argv)
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # names of files need not be text that can be printed
    if not args or args[0] in _HELP_WORDS:
        print(_HELP.format(commands=_listed(COMMANDS)))
        return 0
    if args[0] in ("-V", "--version"):
        print(f"fewview {__version__}")
        return 0
    name, rest = args[0], args[1:]
    if name not in COMMANDS:
        return _unknown(name, COMMANDS, rest)
    if argv is None:  # a program of its own
        # What is imported stays; looking through it for garbage again and again takes a fifth of the time to start.
        gc.disable()
    return _guarded(name, rest)


def _listed(commands: Mapping[str, str]) -> str:
    width = max(map(len, commands)) + 2
    return "\n".join(f"  {name:<{width}}{what}" for name, what in commands.items())


def _unknown(word: str, commands: Mapping[str, str], args: Sequence[str], within: str = "fewview") -> int:
    near = difflib.get_close_matches(word, commands, n=1)
    hint = f"Did you mean `{within} {near[0]}`?" if near else f"`{within} --help` lists them."
    return _fail(f"There is no command {word!r}. {hint}", 2, args)


def _guarded(name: str, args: list[str]) -> int:
    debug = "--debug" in args
    try:
        from .commands.options import parse

        command = importlib.import_module(f".commands.{name}", __package__)
        if hasattr(command, "SUBCOMMANDS"):
            if not args or args[0] in _HELP_WORDS:
                print(f"usage: fewview {name} COMMAND [INPUT] [OPTIONS]\n\n{_listed(command.SUBCOMMANDS)}")
                return 0
            if args[0] not in command.SUBCOMMANDS:
                return _unknown(args[0], command.SUBCOMMANDS, args[1:], f"fewview {name}")
            task = _value(args, "--task")
            suffix = f"_{task}" if task in getattr(command, "TASKS", ()) else ""
            command = importlib.import_module(f".commands.{name}_{args[0]}{suffix}", __package__)
            name, args = f"{name} {args[0]}", args[1:]
        with _termination_as_interruption():
            with _usage_as_json("--json" in args):
                options = parse(command.Options, args, prog=f"fewview {name}")
            if not gc.isenabled():
                gc.freeze()
                gc.enable()
            code = command.run(options)
        sys.stdout.flush()
        return code or 0
    except KeyboardInterrupt as interrupt:
        return _fail(str(interrupt) or "Interrupted.", 130, args, debug)
    except BrokenPipeError:
        # Whoever read the output has gone (`fewview doctor | head`); Python would complain again at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except MemoryError:
        return _fail("The memory ran out; lower --resolution, --max-gaussians or --views.", 1, args, debug)
    except Exception as error:
        from .scene.errors import explained

        if _was_interrupted(error):
            return _fail("Interrupted.", 130, args, debug)
        code, sentence = explained(error)
        return _fail(sentence, code, args, debug)


def _value(args: Sequence[str], option: str) -> str | None:
    """The word that an option is given, before the options are parsed: they depend on it."""
    for word, following in zip(args, [*args[1:], ""], strict=True):
        if word == option or word.startswith(f"{option}="):
            return following if word == option else word.partition("=")[2]
    return None


@contextlib.contextmanager
def _usage_as_json(wanted: bool) -> Iterator[None]:
    """With --json, a usage error is a JSON object, too, on the last line of standard output."""
    if not wanted:
        yield
        return
    said = io.StringIO()
    try:
        with contextlib.redirect_stderr(said):
            yield
    except SystemExit as left:
        print(said.getvalue(), end="", file=sys.stderr, flush=True)
        if left.code:
            words = re.sub("[\u2500-\u257f]+|-{5,}", " ", said.getvalue()).split()  # without the box around it
            print(json.dumps({"error": " ".join(words), "exit_code": left.code}))
        raise


@contextlib.contextmanager
def _termination_as_interruption() -> Iterator[None]:
    """A polite `kill` saves the state like Ctrl-C does. (pycolmap's import has put a crash report there instead.)"""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, _interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before or signal.SIG_DFL)


def _interrupt(*_: object) -> None:
    if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:  # as shells start what runs in the background
        raise KeyboardInterrupt
    signal.raise_signal(signal.SIGINT)


def _was_interrupted(error: BaseException | None) -> bool:
    """True for what Ctrl-C became on its way through libraries that are being imported."""
    while error is not None and not isinstance(error, KeyboardInterrupt):
        error = error.__cause__ or error.__context__
    return error is not None


def _fail(message: str, code: int, args: Sequence[str], debug: bool = False) -> int:
    if debug:
        traceback.print_exc()
    print(message, file=sys.stderr, flush=True)
    if "--json" in args:
        print(json.dumps({"error": message, "exit_code": code}))
    return code
