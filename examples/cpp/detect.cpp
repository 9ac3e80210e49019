// Reads frames, prints verdicts: one line a frame, with the file, the frame's place in it,
// the verdict, P(fake) and the log-odds. Nine digits give a float back exactly.

#include <cmath>
#include <cstdio>
#include <exception>
#include <stdexcept>

#include "frames.hpp"
#include "zoo_detector.hpp"

int main(int argc, char **argv)
{
    if (argc < 3) {
        std::fprintf(stderr,
                     "usage: detect ENGINE FILE...\n"
                     "ENGINE: a .onnx or .plan that `zoo export` made\n"
                     "FILE:   a binary PPM (P6) or raw uint8 RGB frames [N, height, width, 3]\n");
        return 2;
    }
    try {
        const zoo::Detector detector(argv[1]);
        for (int i = 2; i < argc; ++i) {
            const Frames frames = read_frames(argv[i], detector.height(), detector.width());
            const zoo::Scores scores = detector.score(frames.pixels.data(), frames.count);
            for (std::size_t n = 0; n < frames.count; ++n) {
                if (std::isnan(scores.fake[n])) // would compare as "real"
                    throw std::runtime_error(std::string(argv[1]) + " gives no number for " +
                                             argv[i]);
                std::printf("%s %zu %s %.9g %.9g\n", argv[i], n,
                            scores.fake[n] >= detector.threshold() ? "fake" : "real",
                            static_cast<double>(scores.fake[n]),
                            static_cast<double>(scores.logit[n]));
            }
        }
    } catch (const std::exception &error) {
        std::fprintf(stderr, "%s\n", error.what());
        return 2;
    }
    return 0;
}
