"""CONTRIBUTING.md's example of adding a network, taken from the page and walked to a verdict."""

from __future__ import annotations

import re
import sys
import textwrap
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner

torch = pytest.importorskip("torch")
pytest.importorskip("onnxscript")
from torch import nn  # noqa: E402

from export.pipeline import ExportRequest, export_network  # noqa: E402
from runtime import Detector  # noqa: E402
from runtime.errors import ExportError, WeightsError  # noqa: E402
from zoo import catalog  # noqa: E402
from zoo.card import ModelCard  # noqa: E402
from zoo.cli import main  # noqa: E402
from zoo.noise import seeded_frames  # noqa: E402
from zoo.originals import load_original  # noqa: E402

PAGE = Path(__file__).resolve().parents[1] / "CONTRIBUTING.md"
FRAMES = seeded_frames(8, 224, 224, 11)


class FaceNet9(nn.Module):
    """What the page leaves to the paper: a small network with all that is usual in one."""

    def __init__(self, num_classes: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 8, 7, stride=4, padding=3, bias=False)
        self.bn1 = nn.BatchNorm2d(8)
        self.conv2 = nn.Conv2d(8, 16, 3, stride=2)
        self.dropout = nn.Dropout(0.5)
        self.fc = nn.Linear(16, num_classes)

    def forward(self, x: Any) -> Any:
        x = torch.relu(self.bn1(self.conv1(x)))
        x = torch.relu(self.conv2(x)).mean((2, 3))
        return self.fc(self.dropout(x))


def python_blocks() -> list[str]:
    """Every block of Python on the page, as it would stand in a file."""
    found = re.findall(r"^ *```python\n(.*?)^ *```$", PAGE.read_text("utf-8"), re.M | re.S)
    return [textwrap.dedent(block) for block in found]


@pytest.fixture
def card(monkeypatch: pytest.MonkeyPatch) -> ModelCard:
    """The page's card on the page's original, both where the page says they belong."""
    original, row = python_blocks()
    paper = ModuleType("facenet9")
    paper.FaceNet9 = FaceNet9
    monkeypatch.setitem(sys.modules, "facenet9", paper)
    (name,) = re.findall(r"`(zoo/originals/\w+)\.py` says how", PAGE.read_text("utf-8"))
    module = ModuleType(name.replace("/", "."))
    exec(compile(original, f"{name}.py", "exec"), module.__dict__)
    monkeypatch.setitem(sys.modules, module.__name__, module)
    made = eval(compile(row, "zoo/catalog.py", "eval"), dict(vars(catalog)))
    # The one thing that the page cannot know of this small stand-in.
    count = sum(p.numel() for p in FaceNet9(made.head.outputs).parameters())
    made = replace(made, parameters=count, trainable=count)
    monkeypatch.setattr(catalog, "CARDS", (*catalog.CARDS, made))
    return made


def test_the_example_is_the_page_s_only_python():
    assert len(python_blocks()) == 2, "a block that nothing runs would rot"


def test_the_original_is_conditioned_and_loads_strictly(card, tmp_path):
    original = load_original(card, "random", seed=1)
    assert not original.weights.trained
    assert sum(p.numel() for p in original.module.parameters()) == card.parameters
    logit = original.scores(FRAMES).logit
    assert 0.5 < logit.std() < 8
    state = {f"module.{name}": tensor for name, tensor in original.module.state_dict().items()}
    torch.save({"model_state_dict": state}, tmp_path / "mine.pth")
    loaded = load_original(card, str(tmp_path / "mine.pth"))
    assert loaded.weights.trained
    np.testing.assert_array_equal(loaded.scores(FRAMES).logit, logit)
    del state["module.bn1.bias"]
    torch.save(state, tmp_path / "cut.pth")
    with pytest.raises(WeightsError, match=r"does not fit FaceNet9\nmissing: bn1\.bias"):
        load_original(card, str(tmp_path / "cut.pth"))


def test_the_network_goes_from_its_card_to_a_verdict(card, tmp_path):
    request = ExportRequest(card, "random", seed=1, out=tmp_path, builder="none")
    result = export_network(request)
    assert result.certificate.passed
    assert [path.name for path in result.files] == ["facenet9-random.onnx", "facenet9-random.json"]
    due = load_original(card, "random", seed=1).scores(FRAMES).fake
    assert due.std() > 0.05, "a constant output would prove nothing"
    with Detector(result.files[0]) as detector:
        np.testing.assert_allclose(detector.score(FRAMES), due, atol=1e-5)
        assert detector.info.network == card.name


def test_a_network_with_a_fixed_batch_is_refused_and_leaves_nothing(card, tmp_path, monkeypatch):
    def forward(self: FaceNet9, x: Any) -> Any:
        batch = int(x.shape[0])  # a number of Python's: the exporter takes it for a constant
        x = torch.relu(self.conv2(torch.relu(self.bn1(self.conv1(x)))))
        return self.fc(x.mean((2, 3)).reshape(batch, -1))

    monkeypatch.setattr(FaceNet9, "forward", forward)
    with pytest.raises(ExportError, match="batch axis of the exported graph is not dynamic"):
        export_network(ExportRequest(card, "random", out=tmp_path, builder="none"))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("arguments", [["list"], ["show", "facenet9"]])
def test_the_command_knows_it(card, arguments):
    answer = CliRunner().invoke(main, [*arguments, "--json"])
    assert answer.exit_code == 0
    assert card.title in answer.output
