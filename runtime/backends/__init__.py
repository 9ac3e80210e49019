"""One file per engine kind, behind one small protocol."""

from runtime.backend_names import BackendName
from runtime.backends.backend import Backend, DeviceBackend, open_backend

__all__ = ["Backend", "BackendName", "DeviceBackend", "open_backend"]
