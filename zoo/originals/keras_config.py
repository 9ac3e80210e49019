"""Check how a Keras file describes its network, before Keras sees the description.

A description is untrusted: it can name any class of any module, hold bytecode, and ask for
any size. What goes on to Keras is written anew here, of standard layers and plain numbers.
What only training needs (initialisers, regularisers, the optimiser) is left out.
"""

from __future__ import annotations

from typing import Any

from runtime.errors import WeightsError
from runtime.text import printable
from zoo.originals.keras_arrays import KerasFile

#: Layers that work on images one by one, and do the same each time.
LAYERS = frozenset(
    """InputLayer Conv2D DepthwiseConv2D SeparableConv2D Dense BatchNormalization
    LayerNormalization GroupNormalization ReLU LeakyReLU ELU PReLU Softmax Activation
    MaxPooling2D AveragePooling2D GlobalAveragePooling2D GlobalMaxPooling2D Flatten Reshape
    Permute Dropout SpatialDropout2D GaussianNoise GaussianDropout AlphaDropout Add Subtract
    Multiply Average Maximum Minimum Concatenate ZeroPadding2D Cropping2D UpSampling2D
    Rescaling Normalization Resizing CenterCrop RandomFlip RandomRotation RandomZoom
    RandomContrast RandomBrightness RandomTranslation""".split()  # noqa: SIM905
)
#: Of Keras Applications' InceptionResNetV2: a sum with a factor.
SCALE_LAYER = "CustomScaleLayer"
_SCALE_MODULE = "keras.src.applications.inception_resnet_v2"
ACTIVATIONS = frozenset(
    """linear relu relu6 elu selu sigmoid softmax tanh leaky_relu gelu swish silu softplus
    softsign hard_sigmoid exponential mish""".split()  # noqa: SIM905
)
_MODELS = {"Sequential": "Sequential", "Functional": "Functional", "Model": "Functional"}
_MOST_LAYERS = 3000
_MOST_SIDE = 2048
_MOST_NUMBER = 1 << 31


def check_config(file: KerasFile) -> tuple[dict[str, Any], list[str]]:
    """The description of a file's network, fit to be given to Keras.

    Args:
        file: that carries one.

    Returns:
        The description as Keras 3 writes it, and notes for people.

    Raises:
        WeightsError: it is no network of single images made of standard layers; the message
            names everything that is in the way.
    """
    assert file.config is not None
    checker = _Checker()
    try:
        config = checker.model(file.config)
        checker.inputs(config)
    except (KeyError, TypeError, ValueError, AttributeError, RecursionError):
        raise WeightsError(
            f"{printable(file.path)} is damaged",
            "what it says of its network is not as Keras writes it",
            "fetch or copy it again",
        ) from None
    if checker.wrong:
        raise refusal(file, list(checker.wrong))
    return config, list(checker.notes)


def refusal(file: KerasFile, wrong: list[str]) -> WeightsError:
    """That a file's own network cannot be exported, with every reason."""
    return WeightsError(
        f"{printable(file.path)} carries a network that cannot be exported as it is",
        "; ".join(map(printable, wrong)),
        "due is a network from one image [height, width, 3] to one or two outputs, of"
        " standard layers of Keras; a file of weights alone (model.save_weights) is taken"
        " for the card's network",
    )


class _Checker:
    """One walk over a description. ``wrong`` and ``notes`` are ordered sets."""

    def __init__(self) -> None:
        self.wrong: dict[str, None] = {}
        self.notes: dict[str, None] = {}
        self._layers = 0

    def model(self, given: dict[str, Any]) -> dict[str, Any]:
        kind = given["class_name"]
        if kind not in _MODELS:
            self.wrong[f"a network of its own class {kind}"] = None
            return {"class_name": "Sequential", "config": {"name": "none", "layers": []}}
        config = given["config"]
        if isinstance(config, list):  # Keras before 2.2.3
            config = {"layers": config}
        layers = [self.layer(layer) for layer in config["layers"]]
        own: dict[str, Any] = {"name": str(config.get("name", kind.lower())), "layers": layers}
        if _MODELS[kind] == "Sequential":
            own["layers"] = self._with_input(config["layers"], layers)
            own["build_input_shape"] = self._plain(config.get("build_input_shape"))
        else:
            # Of nested networks the order of arrays in the file hangs on it.
            own["trainable"] = bool(config.get("trainable", True))
            for ends in ("input_layers", "output_layers"):
                own[ends] = self._plain(config[ends])
        module = "keras" if kind == "Sequential" else "keras.src.models.functional"
        return {
            "module": module,
            "class_name": _MODELS[kind],
            "config": own,
            "registered_name": _MODELS[kind],
        }

    def layer(self, given: dict[str, Any]) -> dict[str, Any]:
        self._layers += 1
        if self._layers > _MOST_LAYERS:
            raise ValueError("too many layers")
        kind = given["class_name"]
        name = str(given.get("name") or given["config"].get("name") or kind)
        made = self.model(given) if kind in _MODELS else self._standard(kind, name, given)
        made["name"] = made["config"]["name"] = name
        made["inbound_nodes"] = self._nodes(name, given.get("inbound_nodes") or [])
        return made

    def _standard(self, kind: str, name: str, given: dict[str, Any]) -> dict[str, Any]:
        module = given.get("module") or "keras.layers"
        known = kind in LAYERS and module.split(".")[0] in ("keras", "tensorflow", "tf_keras")
        scale = kind == SCALE_LAYER and module in ("keras.layers", _SCALE_MODULE)
        if not known and not scale:
            what = f"{kind} is a function in the file" if kind == "Lambda" else kind
            self.wrong[f"layer '{name}': {what}"] = None
            return {"class_name": kind, "config": {}}
        config: dict[str, Any] = {}
        for key, value in given["config"].items():
            if key.endswith(("_initializer", "_regularizer", "_constraint")) or key in _TRAINING:
                continue
            if key == "dtype":
                if kind != "InputLayer":
                    self._dtype(value)
            elif key == "activation" or (key == "function" and kind == "Activation"):
                config[key] = self._activation(name, value)
            elif key == "batch_input_shape":
                if kind == "InputLayer":
                    config["batch_shape"] = self._plain(value)
            elif key == "axis" and isinstance(value, list) and len(value) == 1:
                config[key] = int(value[0])
            elif key == "quantization_config" and value is not None:
                self.wrong[f"layer '{name}' is quantised"] = None
            elif key != "quantization_config":
                config[key] = self._plain(value)
        if kind == "LeakyReLU" and "alpha" in config:  # Keras 2's name for it
            config["negative_slope"] = config.pop("alpha")
        if config.get("data_format") == "channels_first":
            self.wrong[f"layer '{name}': channels_first, which Keras computes on GPUs alone"] = None
        if scale:
            return {"module": _SCALE_MODULE, "class_name": kind, "config": config,
                    "registered_name": kind}  # fmt: skip
        return {"module": "keras.layers", "class_name": kind, "config": config,
                "registered_name": None}  # fmt: skip

    def inputs(self, model: dict[str, Any]) -> None:
        """One image of three channels comes in."""
        found = [own for own in model["config"]["layers"] if own["class_name"] == "InputLayer"]
        shapes = {own["name"]: list(own["config"].get("batch_shape") or [])[1:] for own in found}
        shown = ", ".join(f"'{name}' {shape}" for name, shape in shapes.items())
        if len(shapes) > 1:
            self.wrong[f"{len(shapes)} inputs: {shown}"] = None
        for name, shape in shapes.items():
            if len(shapes) == 1 and (len(shape) != 3 or shape[2] != 3):
                wanted = "an image is [height, width, 3]"
                self.wrong[f"its input '{name}' is {shape}; {wanted}"] = None
            elif any(isinstance(side, int) and not 0 < side <= _MOST_SIDE for side in shape[:2]):
                self.wrong[f"its input '{name}' is {shape}; at most {_MOST_SIDE} a side"] = None

    def _with_input(self, given: list[Any], layers: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """Keras 2 tells the size of the first layer's input in that layer."""
        shape = given[0]["config"].get("batch_input_shape") if given else None
        if shape is None or layers[0]["class_name"] == "InputLayer":
            return layers
        config = {"batch_shape": self._plain(shape), "dtype": "float32", "name": "input"}
        first = {"module": "keras.layers", "class_name": "InputLayer", "config": config,
                 "registered_name": None, "name": "input"}  # fmt: skip
        return [first, *layers]

    def _nodes(self, name: str, nodes: list[Any]) -> list[Any]:
        for node in nodes:
            calls = [node] if isinstance(node, dict) else node
            for call in calls:
                own = call["kwargs"] if isinstance(call, dict) else (call[3:] or [{}])[0]
                if own.get("training"):
                    self.wrong[f"layer '{name}' is called as in training"] = None
        return [self._plain(node, name) for node in nodes]

    def _activation(self, name: str, value: Any) -> Any:
        if isinstance(value, dict) and value["class_name"] == "function":
            value = value["config"]
        if value is None or (isinstance(value, str) and value in ACTIVATIONS):
            return value
        if isinstance(value, dict) and value["class_name"] in LAYERS:
            return self._standard(value["class_name"], name, value)
        what = value if isinstance(value, str) else value["class_name"]
        self.wrong[f"layer '{name}': activation {what}"] = None
        return None

    def _dtype(self, value: Any) -> None:
        if isinstance(value, dict):
            value = value["config"]["name"]
        if value in (None, "float32"):
            return
        if value not in ("mixed_float16", "mixed_bfloat16", "float16", "bfloat16", "float64"):
            self.wrong[f"layers of type {value}"] = None
        self.notes[f"its layers are of type {value}; computed in float32"] = None

    def _plain(self, value: Any, layer: str = "") -> Any:
        """Numbers, texts and containers of them."""
        if isinstance(value, dict):
            kind = value.get("class_name")
            if kind is not None and kind != "__keras_tensor__":
                self.wrong[f"layer '{layer}' holds a {kind}" if layer else f"a {kind}"] = None
                return None
            return {str(key): self._plain(own, layer) for key, own in value.items()}
        if isinstance(value, list):
            return [self._plain(own, layer) for own in value]
        if isinstance(value, (int, float)) and not abs(value) < _MOST_NUMBER:
            raise ValueError(f"{value} is no size and no factor")
        return value


#: What only training needs.
_TRAINING = {"seed", "momentum"}
