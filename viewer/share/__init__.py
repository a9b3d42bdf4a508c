"""The page that carries a splat to others, in one file."""

from .share_file import write_share as write_share
from .share_page import program_version as program_version
