"""Regions and inner lips for any topology: from landmarks, paint or motion, with a picture for review.

One file a way: `warp` (named landmarks), `painted` (colours and lists), `motion` (what opens and blinks in a corpus). `result`
writes what they find.
"""

from meshtalk.errors import InputError

try:
    import rtree  # noqa: F401
    import scipy.sparse  # noqa: F401
    import trimesh  # noqa: F401
except ImportError as error:
    raise InputError(f"regions need {error.name} (not installed). Run pip install 'meshtalk[media]'.") from None
