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
