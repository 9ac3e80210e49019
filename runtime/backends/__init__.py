"""One file per engine kind, behind one small protocol."""

from runtime.backends.backend import Backend, BackendName, DeviceBackend, open_backend

__all__ = ["Backend", "BackendName", "DeviceBackend", "open_backend"]
