"""The one family of errors that the command shows to people as a sentence."""

from __future__ import annotations


class FewviewError(Exception):
    """A failure that is explained: what was found, what was expected, where, and what to do next.

    The command prints the message without a traceback and exits with `exit_code`: 1 for work that failed.
    """

    exit_code = 1


class BadInputError(FewviewError):
    """Input that cannot be used (a file, a folder, an option): exit code 2."""

    exit_code = 2


def explained(error: Exception) -> tuple[int, str]:
    """(exit code, sentence) of any error, as the command shows it."""
    if isinstance(error, FewviewError):
        return error.exit_code, str(error)
    if isinstance(error, ImportError) and "_native" in str(error):
        return 1, "The CPU kernels are not built; type `python -m pip install -e .` (it needs a C++ compiler)."
    detail = (str(error).strip().splitlines() or ["no message"])[0].rstrip(".")
    return 1, f"Unexpected {type(error).__name__}: {detail}. Run again with --debug to see where."
