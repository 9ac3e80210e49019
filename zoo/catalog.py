"""The table of networks."""

from __future__ import annotations

import difflib
from collections.abc import Callable

from runtime.engine_info import Preprocessing
from runtime.errors import ZooError
from runtime.faces.recipe import FaceCrop
from zoo.card import Head, ModelCard, Normalisation, WeightsCard

# Keras' image generator resizes with PIL's NEAREST unless told otherwise, and
# the published weights were trained that way: bilinear costs 1.3 to 2.7 points.
_MESO_INPUT = Preprocessing(height=256, width=256, resize="nearest")
# flow_from_directory sorts class folders: df=0, real=1 (MalayAgr: forged=0, real=1).
_SAYS_REAL = Head(kind="sigmoid", says="real")
# Measured: within it on every face tried, with a few nodes in FP32.
_MESO_HALF = 5e-3
_SAYS_FAKE = Head(kind="logit", says="fake")
_UNIT_RANGE = Normalisation(scale=1 / 255)

# torchvision's ImageNet transforms.
_IMAGENET = Normalisation(scale=1 / 255, mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225))
_PLUS_MINUS_ONE = Normalisation(scale=1 / 127.5, mean=(1.0, 1.0, 1.0))
_CROP_224 = Preprocessing(height=224, width=224, resize="bilinear", crop="center", shorter_side=256)
# The class order is that of the folders of whoever trained it: never guessed.
_TWO_LOGITS = Head(kind="logits")
# Nor is what a label of 1 meant, where there is one output.
_ONE_LOGIT = Head(kind="logit")
_CS4487 = (
    "Course projects of CityU Hong Kong's CS4487 fine-tuned torchvision's network on 55,000 face"
    " images, real and fake, with a head of two outputs. Their class order and their weights are"
    " not published: give --fake-index with a checkpoint of yours, or --says with one of one"
    " output."
)


def _afchar(kind: str, forgery: str, reported: str, goldens: tuple[float, ...]) -> WeightsCard:
    """Weights of Afchar's repository, with P(real) of its four test images."""
    images = ("df00204.jpg", "df01254.jpg", "real00240.jpg", "real00772.jpg")
    name = {"DF": "df", "F2F": "f2f"}[kind.rsplit("_", 1)[1]]
    return WeightsCard(
        name=name,
        file=f"{kind}.h5",
        trained_on=forgery,
        reported=reported,
        goldens=dict(zip(images, goldens, strict=True)),
    )


_DF = "faces from deepfake videos collected on the web (Afchar et al. 2018)"
_F2F = "FaceForensics, Face2Face forgeries"


def _imagenet(
    file: str, normalisation: Normalisation | None = None, by: str = "torchvision"
) -> WeightsCard:
    """Features that a framework publishes, for a new head."""
    return WeightsCard(
        name="imagenet",
        file=file,
        trained_on=f"ImageNet, to recognise things ({by})",
        normalisation=normalisation,
        backbone=True,
    )


CARDS: tuple[ModelCard, ...] = (
    ModelCard(
        name="meso4",
        title="Meso4",
        framework="keras",
        original="zoo.originals.mesonet:meso4",
        preprocessing=_MESO_INPUT,
        normalisation=_UNIT_RANGE,
        head=_SAYS_REAL,
        half_within=_MESO_HALF,
        parameters=28_073,
        trainable=27_977,
        weights=(
            _afchar(
                "Meso4_DF", _DF, "accuracy .891 by image",
                (0.0414118, 0.0486937, 0.9897476, 0.9977016),
            ),
            _afchar("Meso4_F2F", _F2F, "", (0.8312374, 0.6410997, 0.8810233, 0.9524388)),
            WeightsCard(
                name="malayagr-1",
                file="model1_18epochs_valacc0.9252.hdf5",
                trained_on="Afchar's data set, retrained by MalayAgr",
                reported="validation accuracy .9252",
            ),
            WeightsCard(
                name="malayagr-2",
                file="model2_17epochs_valacc0.89.hdf5",
                trained_on="Afchar's data set, retrained by MalayAgr",
                reported="validation accuracy .89",
            ),
        ),
        paper="Afchar, Nozick, Yamagishi, Echizen: MesoNet, WIFS 2018, arXiv:1809.00888",
        source="https://github.com/DariusAf/MesoNet",
        licence="Apache-2.0",
    ),
    ModelCard(
        name="mesoinception4",
        title="MesoInception4",
        framework="keras",
        original="zoo.originals.mesonet:mesoinception4",
        preprocessing=_MESO_INPUT,
        normalisation=_UNIT_RANGE,
        head=_SAYS_REAL,
        half_within=_MESO_HALF,
        parameters=28_725,
        trainable=28_615,
        weights=(
            _afchar(
                "MesoInception_DF", _DF, "accuracy .917 by image",
                (0.0262182, 0.000951967, 1.0, 1.0),
            ),
            _afchar(
                "MesoInception_F2F", _F2F, "", (0.9987432, 0.9999974, 1.0, 0.9908301),
            ),
        ),
        paper="Afchar, Nozick, Yamagishi, Echizen: MesoNet, WIFS 2018, arXiv:1809.00888",
        source="https://github.com/DariusAf/MesoNet",
        licence="Apache-2.0",
    ),
    ModelCard(
        name="inception_v3",
        title="InceptionV3",
        framework="torch",
        original="zoo.originals.torchvision_nets:inception_v3",
        preprocessing=Preprocessing(
            height=299, width=299, resize="bilinear", crop="center", shorter_side=299
        ),
        normalisation=_IMAGENET,
        head=_TWO_LOGITS,
        other_head=_ONE_LOGIT,
        # With the auxiliary head of 1000 classes, which only training uses.
        parameters=25_116_362,
        trainable=25_116_362,
        weights=(
            _imagenet(
                "inception_v3_google-0cc3c7bd.pth",
                # These were made for -1..1: torchvision turns its ImageNet normalisation
                # back into that inside the network (transform_input).
                Normalisation(scale=1 / 255, mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5)),
            ),
        ),
        paper="Szegedy et al.: Rethinking the Inception Architecture, arXiv:1512.00567",
        source="https://github.com/pytorch/vision",
        licence="BSD-3-Clause",
        notes=f"{_CS4487} 98.75 % on the validation set of one of them. Assumed: ImageNet mean"
        " and std outside the network, and none of torchvision's transform_input inside. Of a"
        " network fine-tuned from torchvision's own weights, which set transform_input, say so:"
        " --like imagenet.",
    ),
    ModelCard(
        name="resnet18",
        title="ResNet18",
        framework="torch",
        original="zoo.originals.torchvision_nets:resnet18",
        preprocessing=_CROP_224,
        normalisation=_IMAGENET,
        head=_TWO_LOGITS,
        other_head=_ONE_LOGIT,
        parameters=11_177_538,
        trainable=11_177_538,
        weights=(_imagenet("resnet18-f37072fd.pth"),),
        paper="He, Zhang, Ren, Sun: Deep Residual Learning, arXiv:1512.03385",
        source="https://github.com/pytorch/vision",
        licence="BSD-3-Clause",
        notes=_CS4487,
    ),
    ModelCard(
        name="vgg16",
        title="VGG16",
        framework="torch",
        original="zoo.originals.torchvision_nets:vgg16",
        preprocessing=_CROP_224,
        normalisation=_IMAGENET,
        head=_TWO_LOGITS,
        other_head=_ONE_LOGIT,
        parameters=134_268_738,
        trainable=134_268_738,
        weights=(_imagenet("vgg16-397923af.pth"),),
        paper="Simonyan, Zisserman: Very Deep Convolutional Networks, arXiv:1409.1556",
        source="https://github.com/pytorch/vision",
        licence="BSD-3-Clause",
        notes=_CS4487,
    ),
    ModelCard(
        name="inception_resnet_v1",
        title="InceptionResnetV1",
        framework="torch",
        original="zoo.originals.inception_resnet_v1:inception_resnet_v1",
        # facenet-pytorch's own: its face crops are 160 x 160, stretched, (x - 127.5) / 128.
        preprocessing=Preprocessing(height=160, width=160, resize="bilinear"),
        normalisation=Normalisation(mean=(127.5, 127.5, 127.5), std=(128.0, 128.0, 128.0)),
        head=_SAYS_FAKE,
        other_head=_TWO_LOGITS,
        parameters=23_483_137,
        trainable=23_483_137,
        # MTCNN's box as it is, stretched to the network's square.
        face_crop=FaceCrop(align=False, margin=0.0, square=False),
        weights=(
            WeightsCard(
                name="torchfakes",
                file="resnetinceptionv1_epoch_32.pth",
                trained_on="FaceForensics++, from VGGFace2 features (TorchFakes)",
                reported="accuracy .966",
                # Its demo takes MTCNN's crop, resized bilinearly, in 0..1 without mean and std.
                preprocessing=Preprocessing(height=256, width=256, resize="bilinear"),
                normalisation=_UNIT_RANGE,
            ),
            WeightsCard(
                name="vggface2",
                file="20180402-114759-vggface2.pt",
                trained_on="VGGFace2, to recognise people",
                backbone=True,
            ),
        ),
        paper="Szegedy et al.: Inception-v4, Inception-ResNet, arXiv:1602.07261",
        source="https://github.com/timesler/facenet-pytorch",
        licence="MIT",
        notes="A checkpoint of yours is taken to say P(fake) where it has one output, as"
        " TorchFakes' does (below 0.5 means real), and to be trained on facenet-pytorch's own"
        " preprocessing.",
    ),
    ModelCard(
        name="inception_resnet_v2",
        title="InceptionResNetV2",
        framework="keras",
        original="zoo.originals.inception_resnet_v2:inception_resnet_v2",
        preprocessing=Preprocessing(height=299, width=299, resize="nearest"),
        normalisation=_PLUS_MINUS_ONE,
        head=Head(kind="softmax"),
        parameters=54_339_810,
        trainable=54_279_266,
        weights=(
            _imagenet(
                "inception_resnet_v2_weights_tf_dim_ordering_tf_kernels_notop.h5",
                by="Keras Applications",
            ),
        ),
        paper="Szegedy et al.: Inception-v4, Inception-ResNet, arXiv:1602.07261",
        source="https://keras.io/api/applications/inceptionresnetv2/",
        licence="Apache-2.0",
        notes="Ayan Mitra trained it to 98.5 %, with global average pooling and two softmax"
        " outputs; neither his weights nor his class order are published. Known: 299 x 299,"
        " x / 127.5 - 1. Assumed: nearest, the default of Keras' image generator.",
    ),
)  # fmt: skip


def find_card(name: str) -> ModelCard:
    """The card of network ``name``.

    Raises:
        ZooError: there is none; the message offers the nearest names.
    """
    by_name = {card.name: card for card in CARDS}
    if name in by_name:
        return by_name[name]
    near = _nearest(name)
    raise ZooError(
        f"there is no network '{name}'",
        f"did you mean {' or '.join(near)}?" if near else f"the zoo has {', '.join(by_name)}",
        "zoo list",
    )


def _nearest(name: str) -> list[str]:
    """Names that somebody may have meant, by the first way of looking that finds any."""
    wanted = _plain(name)
    # One letter or two are in every name, and say nothing of it.
    part = len(wanted) > 2

    def having(text: Callable[[ModelCard], str], holds: Callable[[str, str], bool]) -> list[str]:
        return [card.name for card in CARDS if part and holds(_plain(text(card)), wanted)]

    return (
        having(lambda card: card.name, str.startswith)
        or having(lambda card: card.name, str.__contains__)
        # A paper's name for several networks (MesoNet), or a library's (facenet).
        or having(lambda card: f"{card.title} {card.paper} {card.source}", str.__contains__)
        or difflib.get_close_matches(name.lower(), [card.name for card in CARDS], n=2)
    )


def _plain(name: str) -> str:
    return "".join(character for character in name.lower() if character.isalnum())
