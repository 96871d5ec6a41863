"""Kinds of faces and vertices, which cover and light each other differently."""

SHELL, HOLLOW, EYE, TOOTH, TONGUE, HAIR = range(6)
"""Skin and whatever is not known better; the walls of the mouth and of the eye sockets; what lies in them; ribbons of hair, which
have no texture and are seen from both sides."""
