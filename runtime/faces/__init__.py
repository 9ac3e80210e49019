"""Find faces in a picture, choose among them, and cut them as a network was trained.

    finder = YuNet(path_of_the_onnx_file)
    for face in finder.find(picture, min_size=40):
        pixels = crop_face(picture, face, detector.info.face_crop)

A picture is a PIL image in RGB: `runtime.frames.load_image` makes one of anything.
"""

from runtime.faces.crop import crop_face
from runtime.faces.face import Face, FaceFinder
from runtime.faces.mtcnn import Mtcnn
from runtime.faces.recipe import FaceCrop
from runtime.faces.selection import Dropped, Selection, select, sharpness
from runtime.faces.yunet import YuNet

__all__ = [
    "Dropped",
    "Face",
    "FaceCrop",
    "FaceFinder",
    "Mtcnn",
    "Selection",
    "YuNet",
    "crop_face",
    "select",
    "sharpness",
]
