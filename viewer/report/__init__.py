"""The report of a run in one file, and the page of a batch of runs."""

from .batch_page import BatchEntry as BatchEntry
from .batch_page import run_figures as run_figures
from .batch_page import write_batch_page as write_batch_page
from .run_report import write_report as write_report
