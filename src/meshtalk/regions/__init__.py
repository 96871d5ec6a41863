"""Regions and inner lips for any topology: from landmarks, paint or motion, with a picture for review.

One file a way: `warp` (named landmarks), `painted` (colours and lists), `motion` (what opens and blinks in a corpus). `result`
writes what they find.
"""
