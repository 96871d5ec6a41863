"""Official MeshTalk weights, downloaded by users: read, checked, and run with the release's arithmetic.

Written from the published description of its layers and names alone (docs/equations.md); none of its code is here.
"""
