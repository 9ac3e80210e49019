"""How fast ``zoo detect`` goes through a 1080p clip, where its time goes, and what it says.

    python -m benchmarks.video_speed engines/meso4.onnx engines/mesoinception4.onnx

The clip is a real one, scaled to 1920 x 1080 and encoded again in a temporary folder. The
measured time is that of the whole command in a process of its own, its start included.
Verdicts are those on the pair of clips with the same actor and scene, swapped and not.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
from fractions import Fraction
from pathlib import Path
from time import perf_counter
from typing import Any

from benchmarks.environment import describe_machine
from benchmarks.result import write_files
from runtime.errors import ZooError
from runtime.terminal import tell

RESULTS = Path(__file__).parent / "results"
_PAIR = {"pair_fake.mp4": "fake", "pair_real.mp4": "real"}
_EVERY = 10


def main(arguments: list[str] | None = None) -> int:
    """Measure, print and write ``results/video.json``; 1 where a bar is missed."""
    parser = argparse.ArgumentParser(description=__doc__, add_help=True)
    parser.add_argument("engines", nargs="+", type=Path)
    parser.add_argument("--rounds", type=int, default=5)
    asked = parser.parse_args(arguments)
    videos = find_clips()
    data: dict[str, Any] = {"machine": describe_machine(), "every": _EVERY, "engines": {}}
    with tempfile.TemporaryDirectory() as folder:
        clip = make_1080p(videos / "stage_one_face.mp4", Path(folder) / "clip.mp4")
        data["clip"] = describe(clip)
        for engine in asked.engines:
            data["engines"][engine.stem] = {
                "speed": measure(engine, clip, asked.rounds),
                "pair": {name: judge(engine, videos / name) for name in _PAIR},
            }
    missed = check(data)
    write_files(RESULTS, "video", {".json": json.dumps(data, indent=1) + "\n"})
    tell(json.dumps(data["engines"], indent=1))
    for bar in missed:
        tell(f"missed: {bar}")
    return 1 if missed else 0


def find_clips() -> Path:
    """The folder of clips beside the project.

    Raises:
        ZooError: it is not there.
    """
    folder = Path(__file__).resolve().parents[2] / "shared" / "videos"
    if not folder.is_dir():
        raise ZooError("there is no clip to measure on", f"{folder} does not exist")
    return folder


def make_1080p(source: Path, out: Path) -> Path:
    """Scale a clip to 1920 x 1080 and encode it in H.264, its times kept, without sound."""
    import av

    with av.open(str(source)) as reader, av.open(str(out), "w") as writer:
        read: Any = reader.streams.video[0]
        read.thread_type = "AUTO"
        stream: Any = writer.add_stream(
            "libx264", rate=read.average_rate, options={"crf": "20", "preset": "medium"}
        )
        stream.width, stream.height, stream.pix_fmt = 1920, 1080, "yuv420p"
        stream.codec_context.time_base = Fraction(read.time_base)
        frame: Any
        for frame in reader.decode(read):
            scaled = frame.reformat(1920, 1080, "yuv420p")
            scaled.pts, scaled.time_base = frame.pts, frame.time_base
            scaled.pict_type = 0  # the encoder chooses its keyframes anew
            writer.mux(stream.encode(scaled))
        writer.mux(stream.encode(None))
    return out


def describe(clip: Path) -> dict[str, Any]:
    """What the measured clip is."""
    from runtime.video import Video

    with Video(clip) as video:
        facts = video.facts
    assert facts.duration is not None, "we have just written it"
    return {
        "width": facts.width,
        "height": facts.height,
        "seconds": round(facts.duration, 3),
        "frames_per_second": facts.rate,
        "codec": facts.codec,
        "kbit_per_second": round(clip.stat().st_size * 8 / facts.duration / 1000),
    }


def detect(engine: Path, path: Path) -> tuple[float, dict[str, Any]]:
    """Wall clock of the command in seconds, and its result."""
    command = [sys.executable, "-m", "zoo.cli", "detect", str(path), "--engine", str(engine)]
    start = perf_counter()
    done = subprocess.run(
        [*command, "--every", str(_EVERY), "--json"], capture_output=True, text=True, check=False
    )
    seconds = perf_counter() - start
    if done.returncode != 0:
        raise ZooError(f"{path} could not be judged", done.stderr.strip())
    return seconds, json.loads(done.stdout)


def measure(engine: Path, clip: Path, rounds: int) -> dict[str, Any]:
    """Medians over ``rounds`` runs; the first run before them fills the file cache."""
    detect(engine, clip)
    runs = [detect(engine, clip) for _ in range(rounds)]
    result = runs[0][1]
    wall = round(statistics.median(seconds for seconds, _ in runs), 3)
    return {
        "rounds": rounds,
        "command_seconds": wall,
        "fastest_seconds": round(min(seconds for seconds, _ in runs), 3),
        "slowest_seconds": round(max(seconds for seconds, _ in runs), 3),
        "times_real_time": round(result["duration"] / wall, 2),
        # The three work side by side, so that their sum may exceed the whole.
        "stage_seconds": {
            stage: round(statistics.median(found["seconds"][stage] for _, found in runs), 3)
            for stage in result["seconds"]
        },
        "frames": result["frames"],
        "faces": len(result["faces"]),
    }


def judge(engine: Path, path: Path) -> dict[str, Any]:
    """What is said of one clip."""
    _, result = detect(engine, path)
    overall = result["overall"] or {}
    kept = ("label", "faces", "mean", "median", "share", "low", "high")
    return {key: overall.get(key) for key in kept}


def check(data: dict[str, Any]) -> list[str]:
    """The bars that were missed: real time, and the right verdict on both clips."""
    missed = []
    for name, found in data["engines"].items():
        if not found["speed"]["times_real_time"] >= 1.0:
            missed.append(f"{name}: {found['speed']['times_real_time']} times real time")
        for clip, due in _PAIR.items():
            said = found["pair"][clip]
            # An interval may reach across the threshold; the mean must not.
            mean_side = None if said["mean"] is None else "fake" if said["mean"] >= 0.5 else "real"
            if said["label"] not in (due, "uncertain") or mean_side != due:
                missed.append(f"{name}: {clip} is called {said['label']}")
    return missed


if __name__ == "__main__":
    sys.exit(main())
