"""Arrays "on the device": objects that offer memory as torch, CuPy and PyCUDA do."""

from __future__ import annotations

import ctypes
from typing import Any

import numpy as np

CUDA, CPU = 2, 1  # DLDeviceType of dlpack.h


class DLTensor(ctypes.Structure):
    """``DLManagedTensor`` of dlpack.h with its ``DLTensor`` in front."""

    _fields_ = (
        ("data", ctypes.c_void_p),
        ("device_type", ctypes.c_int32),
        ("device_id", ctypes.c_int32),
        ("ndim", ctypes.c_int32),
        ("code", ctypes.c_uint8),
        ("bits", ctypes.c_uint8),
        ("lanes", ctypes.c_uint16),
        ("shape", ctypes.POINTER(ctypes.c_int64)),
        ("strides", ctypes.POINTER(ctypes.c_int64)),
        ("byte_offset", ctypes.c_uint64),
        ("manager_ctx", ctypes.c_void_p),
        ("deleter", ctypes.CFUNCTYPE(None, ctypes.c_void_p)),
    )


_CODES = {"i": 0, "u": 1, "f": 2}
_new_capsule = ctypes.pythonapi.PyCapsule_New
_new_capsule.restype = ctypes.py_object
_new_capsule.argtypes = [ctypes.c_void_p, ctypes.c_char_p, ctypes.c_void_p]


class DLPackArray:
    """Offers an address through DLPack, as ``torch.Tensor`` does, noting the stream asked for."""

    def __init__(
        self,
        address: int,
        shape: tuple[int, ...],
        dtype: Any,
        *,
        device: int = CUDA,
        index: int = 0,
    ) -> None:
        self.dtype = np.dtype(dtype)
        self.device, self.index = device, index
        self.streams: list[int | None] = []
        self.released = 0
        self._shape = (ctypes.c_int64 * len(shape))(*shape)
        self._deleter = DLTensor._fields_[-1][1](self._release)
        self._tensor = DLTensor(
            data=address,
            device_type=device,
            device_id=index,
            ndim=len(shape),
            code=_CODES[self.dtype.kind],
            bits=self.dtype.itemsize * 8,
            lanes=1,
            shape=self._shape,
            deleter=self._deleter,
        )

    def __dlpack_device__(self) -> tuple[int, int]:
        return self.device, self.index

    def __dlpack__(self, *, stream: int | None = None, **_: Any) -> Any:
        self.streams.append(stream)
        return _new_capsule(ctypes.addressof(self._tensor), b"dltensor", None)

    def _release(self, _: int) -> None:
        self.released += 1


class CudaArray:
    """Offers an address through ``__cuda_array_interface__``, as PyCUDA's ``GPUArray`` does."""

    def __init__(
        self,
        address: int,
        shape: tuple[int, ...],
        dtype: Any,
        *,
        strides: tuple[int, ...] | None = None,
        stream: int | None = None,
        readonly: bool = False,
    ) -> None:
        self.__cuda_array_interface__ = {
            "shape": shape,
            "typestr": np.dtype(dtype).str,
            "data": (address, readonly),
            "strides": strides,
            "version": 3,
        } | ({"stream": stream} if stream is not None else {})
