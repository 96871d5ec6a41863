"""What tests share: shapes enforced, a small rig corpus made of curves, a tiny trained model."""

from __future__ import annotations

import os

# the suite runs beside other work: idle OpenMP threads must not spin
os.environ.setdefault("OMP_WAIT_POLICY", "passive")
