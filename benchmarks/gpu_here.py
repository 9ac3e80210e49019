"""Whether there is a GPU: the first step of ``make gpu``, which needs no package.

    python -m benchmarks.gpu_here

Exits 0 where there is one, and else 2 with the reason.
"""

from __future__ import annotations

import sys

from runtime.cuda_driver import query_driver
from runtime.terminal import tell


def main() -> int:
    """See the module."""
    driver = query_driver()
    if driver.devices:
        return 0
    tell(f"nothing to do here: {driver.reason}", error=True)
    tell("run `make gpu` on a machine with an NVIDIA GPU", error=True)
    return 2


if __name__ == "__main__":
    sys.exit(main())
