"""Editing splats: selections as masks, new frames, undo and redo, and saving as new."""

from .coordinate_frame import centered_at as centered_at
from .coordinate_frame import ground_normal as ground_normal
from .coordinate_frame import median_point as median_point
from .coordinate_frame import moved_cameras as moved_cameras
from .coordinate_frame import moved_points as moved_points
from .coordinate_frame import scaled_to_length as scaled_to_length
from .coordinate_frame import turned_up as turned_up
from .floaters import FloaterLimits as FloaterLimits
from .floaters import floaters as floaters
from .history import Editor as Editor
from .picking import pick as pick
from .saving import edited_splat as edited_splat
from .saving import save_edited as save_edited
from .saving import save_edited_run as save_edited_run
from .selection import combined as combined
from .selection import in_box as in_box
from .selection import in_lasso as in_lasso
from .selection import in_rectangle as in_rectangle
from .selection import in_sphere as in_sphere
