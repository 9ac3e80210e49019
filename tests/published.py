"""Where the published weights, images and goldens are."""

from __future__ import annotations

from pathlib import Path

_BESIDE = Path(__file__).resolve().parents[2] / "shared"
#: The folder with published weights, images and goldens, ``None`` where it is not there.
SHARED = _BESIDE if _BESIDE.is_dir() else None
NO_SHARED = f"the published weights and images are not beside the checkout ({_BESIDE.name}/)"
