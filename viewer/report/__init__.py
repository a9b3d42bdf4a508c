"""The report of a run, in one file."""

from .run_report import write_report as write_report
