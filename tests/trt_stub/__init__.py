"""NVIDIA's TensorRT bindings over a stub library, to read their API without TensorRT."""
