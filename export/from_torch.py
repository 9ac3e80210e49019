"""A torch module to ONNX, with torch's own exporter."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from export.exporting import OPSET, quiet
from runtime.errors import MissingPackageError
from zoo.originals import Original

if TYPE_CHECKING:
    import onnx


def torch_to_onnx(original: Original) -> onnx.ModelProto:
    """See `export.convert.to_plain_onnx`."""
    try:
        import onnxscript  # noqa: F401  (torch's exporter needs it and says so badly)
        import torch
    except ImportError as error:
        raise MissingPackageError(error.name or "torch", "converting PyTorch", "torch") from None
    how = original.preprocessing
    module = original.module.eval()
    # Two images: the exporter treats a batch of one as a constant.
    example = torch.zeros(2, 3, how.height, how.width)
    with quiet("torch.onnx", "onnxscript"):
        program = torch.onnx.export(
            module,
            (example,),
            dynamo=True,
            opset_version=OPSET,
            input_names=["input"],
            output_names=["output"],
            dynamic_shapes=({0: torch.export.Dim("N")},),
            verbose=False,
        )
    proto: Any = program.model_proto
    # torch's caches keep the program alive, and with it every weight of the module.
    for value in program.model.graph.initializers.values():
        value.const_value = None
    program.exported_program = None
    return proto  # type: ignore[no-any-return]
