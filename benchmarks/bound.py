"""What a run is bound by, in one line."""

from __future__ import annotations

from benchmarks.ceiling import Ceiling
from benchmarks.phases import Phases

#: Below this share of both ceilings neither arithmetic nor memory explains the time.
_LOW = 0.3


def bound_by(
    operations_per_s: float | None,
    bytes_per_s: float | None,
    ceiling: Ceiling | None,
    phases: Phases | None = None,
    *,
    from_host: bool = True,
) -> str:
    """The reason why a batch does not take less time.

    Args:
        operations_per_s, bytes_per_s: achieved, from the counts of the graph.
        ceiling: of the machine.
        phases: of a batch on a GPU.
        from_host: whether frames come from host memory.
    """
    if phases is not None:
        copies = {"host to device": phases.host_to_device, "device to host": phases.device_to_host}
        if not from_host:
            del copies["host to device"]
        slowest = max(copies, key=lambda name: copies[name])
        if phases.enqueue > max(phases.compute, copies[slowest]):
            return f"the host: enqueueing takes {_ms(phases.enqueue)}, the rest less"
        if copies[slowest] > phases.compute:
            return f"the copy {slowest}: {_ms(copies[slowest])}, computing {_ms(phases.compute)}"
    shares: dict[str, float] = {}
    if ceiling is not None and operations_per_s and ceiling.operations_per_s:
        shares["arithmetic"] = operations_per_s / ceiling.operations_per_s
    if ceiling is not None and bytes_per_s and ceiling.bytes_per_s:
        shares["memory"] = bytes_per_s / ceiling.bytes_per_s
    if not shares:
        return "not known: there is nothing to compare with"
    words = {"arithmetic": "a matrix product's rate", "memory": "a copy's rate"}
    said = ", ".join(f"{share:.0%} of {words[name]}" for name, share in shares.items())
    most = max(shares, key=lambda name: shares[name])
    if shares[most] < _LOW:
        return f"neither arithmetic nor memory, but overhead and small layers: {said}"
    return f"{most}: {said}"


def _ms(seconds: float) -> str:
    return f"{1000 * seconds:.3g} ms"
