"""Decode videos, follow faces through them, and judge them as a whole.

    with Video("clip.mp4") as video:
        for frame in video.frames(Sampling("every", 10)):
            ...                                  # frame.time, frame.picture

`runtime.judge.Judge` does the whole: decoding, face finding and scoring side by side.
"""

from runtime.video.decode import Frame, Video, VideoFacts
from runtime.video.opening import VideoError
from runtime.video.sampling import Sampling
from runtime.video.tracks import Tracker

__all__ = ["Frame", "Sampling", "Tracker", "Video", "VideoError", "VideoFacts"]
