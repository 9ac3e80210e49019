"""Walk a Keras network layer by layer, through the networks that are in it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from zoo.originals.keras_framework import import_keras

Value = TypeVar("Value")


def traverse(model: Any, given: list[Value], call: Callable[[Any, list[Value]], Value]) -> Value:
    """Follow a network from its inputs to its output.

    Args:
        model: ``keras.Model`` with one output.
        given: a value for each input.
        call: what a layer makes of the values that it reads; networks inside the network
            are taken apart and never given to it.

    Returns:
        The value of the output.
    """
    made = {id(tensor): value for tensor, value in zip(model.inputs, given, strict=True)}

    # No recursion along the layers, of which there may be hundreds in a row.
    due = [model.outputs[0]]
    while due:
        tensor = due[-1]
        layer, inputs = made_by(tensor)
        missing = [own for own in inputs if id(own) not in made]
        if id(tensor) not in made and missing:
            due += missing[::-1]
            continue
        due.pop()
        if id(tensor) not in made:
            values = [made[id(own)] for own in inputs]
            nested = hasattr(layer, "layers")
            made[id(tensor)] = traverse(layer, values, call) if nested else call(layer, values)
    return made[id(model.outputs[0])]


def made_by(tensor: Any) -> tuple[Any, list[Any]]:
    """The layer that makes a tensor of a network, and the tensors that it reads for that."""
    layer, node, _ = tensor._keras_history
    return layer, layer._inbound_nodes[node].input_tensors


def flattened(model: Any) -> Any:
    """The same network without networks in it: itself, or new layers with the same arrays."""
    if not any(hasattr(layer, "layers") for layer in model.layers):
        return model
    keras = import_keras()
    made: dict[int, Any] = {}
    source = keras.Input(model.inputs[0].shape[1:])

    def again(layer: Any, inputs: list[Any]) -> Any:
        if id(layer) not in made:  # one that is used twice stays one
            config = {**layer.get_config(), "name": f"{layer.name}_{len(made)}"}
            made[id(layer)] = type(layer).from_config(config)
        output = made[id(layer)](inputs if len(inputs) > 1 else inputs[0])
        made[id(layer)].set_weights(layer.get_weights())
        if hasattr(layer, "finalize_state"):
            made[id(layer)].finalize_state()
        return output

    return keras.Model(source, traverse(model, [source], again), name=model.name)
