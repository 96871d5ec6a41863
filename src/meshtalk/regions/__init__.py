"""Regions and inner lips for a mesh of any topology: from landmarks, paint or motion, with a picture to check them by.

One file a way: `warp` (named landmarks), `painted` (colours and lists), `motion` (what opens and blinks in a corpus). `result`
writes what they find.
"""
