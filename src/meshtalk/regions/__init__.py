"""Regions and inner lips for a mesh of any topology: from landmarks or paint, with a picture to check them by.

One file a way: `warp` (named landmarks), `painted` (colours and lists). `result` writes what they find.
"""
