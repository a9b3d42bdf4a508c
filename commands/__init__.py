"""The subcommands of `fewview`, one file each: an `Options` dataclass, whose comments are the help, and `run`."""
