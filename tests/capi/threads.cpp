// Several threads on two detectors at once: the scores must be those of one thread alone,
// a call must not keep the others out while its engine runs, and closing must wait.
//
// usage: threads ENGINE OTHER SLOW FRAMES
// FRAMES: raw frames for all three engines; SLOW takes some milliseconds a frame. Prints what failed; the answer is the exit code.

#include <atomic>
#include <chrono>
#include <cstdio>
#include <memory>
#include <string>
#include <thread>
#include <type_traits>
#include <utility>
#include <vector>

#include "frames.hpp"
#include "zoo_detector.hpp"

namespace {

std::atomic<int> failures{0};

void check(bool kept, const char *what)
{
    if (!kept) {
        ++failures;
        std::printf("failed: %s\n", what);
    }
}

bool same(const zoo::Scores &a, const zoo::Scores &b)
{
    return a.logit == b.logit && a.fake == b.fake;
}

// First calls of the process, from four threads at once: one of them starts Python.
void open_at_once(const char *path)
{
    std::vector<std::thread> threads;
    for (int i = 0; i < 4; ++i)
        threads.emplace_back([path] {
            try {
                check(zoo::Detector(path).height() > 0, "opened from a thread");
            } catch (const zoo::Error &error) {
                check(false, error.what());
            }
        });
    for (auto &thread : threads)
        thread.join();
}

void score_at_once(const zoo::Detector &first, const zoo::Detector &second, const Frames &frames)
{
    const zoo::Scores due[] = {first.score(frames.pixels.data(), frames.count),
                               second.score(frames.pixels.data(), frames.count)};
    check(!same(due[0], due[1]), "the two engines differ");
    std::vector<std::thread> threads;
    for (int i = 0; i < 4; ++i)
        threads.emplace_back([&, i] {
            for (int round = 0; round < 50; ++round) {
                const int which = (i + round) % 2;
                // Another batch size each time, so that threads are out of step.
                const std::size_t count = 1 + (i + round) % frames.count;
                const auto got = (which ? second : first).score(frames.pixels.data(), count);
                zoo::Scores part = due[which];
                part.logit.resize(count);
                part.fake.resize(count);
                check(same(got, part), "scores are those of one thread alone");
                try {
                    first.score(frames.pixels.data(), 0);
                    check(false, "no frames are refused");
                } catch (const zoo::Error &error) {
                    check(error.status() == ZOO_E_FRAMES, "the error is this thread's own");
                }
            }
        });
    for (auto &thread : threads)
        thread.join();
}

// While one thread is inside the engine, another gets answers.
void answer_while_running(const zoo::Detector &slow, const zoo::Detector &other,
                          const Frames &frames)
{
    constexpr int runs = 10;
    std::atomic<int> turn{0}; // odd while inside
    std::thread runner([&] {
        for (int i = 0; i < runs; ++i) {
            ++turn;
            slow.score(frames.pixels.data(), 8);
            ++turn;
        }
    });
    int answered = 0;
    for (int before; (before = turn) < 2 * runs;) {
        other.info();
        answered += before % 2 == 1 && turn == before;
        // Without a pause this thread would take a lock again before the runner gets it.
        std::this_thread::sleep_for(std::chrono::microseconds(200));
    }
    runner.join();
    // With the lock held while the engine runs, it is about one answer to a run.
    std::printf("%d answers within %d runs\n", answered, runs);
    check(answered > 5 * runs, "a call does not keep the others out");
}

void close_while_running(const char *path, const Frames &frames)
{
    for (int round = 0; round < 20; ++round) {
        zoo_detector detector = 0;
        check(zoo_detector_open(path, 1, &detector) == ZOO_OK, "opened");
        std::atomic<int> scored{0};
        std::vector<std::thread> threads;
        for (int i = 0; i < 3; ++i)
            threads.emplace_back([&] {
                std::vector<float> logit(frames.count), fake(frames.count);
                zoo_status status = ZOO_OK;
                while (status == ZOO_OK) {
                    status = zoo_detector_score(detector, frames.pixels.data(),
                                                frames.pixels.size(), frames.count, logit.data(),
                                                fake.data());
                    scored += status == ZOO_OK;
                }
                check(status == ZOO_E_DETECTOR, "a closed detector is named as such");
            });
        while (scored < 5)
            std::this_thread::yield();
        check(zoo_detector_close(detector) == ZOO_OK, "closed while others score");
        for (auto &thread : threads)
            thread.join();
    }
}

void move(const char *path, const Frames &frames)
{
    static_assert(!std::is_copy_constructible_v<zoo::Detector>);
    static_assert(std::is_nothrow_move_constructible_v<zoo::Detector>);
    zoo::Detector first(path);
    const auto due = first.score(frames.pixels.data(), 1);
    zoo::Detector second(std::move(first));
    check(same(second.score(frames.pixels.data(), 1), due), "moved by construction");
    zoo::Detector third(path);
    third = std::move(second);
    check(same(third.score(frames.pixels.data(), 1), due), "moved by assignment");
    third.close();
    third.close();
    try {
        third.score(frames.pixels.data(), 1);
        check(false, "a closed detector throws");
    } catch (const zoo::Error &error) {
        check(error.status() == ZOO_E_DETECTOR, "a closed detector says so");
    }
    try {
        zoo::Detector("nowhere.onnx");
        check(false, "a missing engine throws");
    } catch (const zoo::Error &error) {
        check(error.status() == ZOO_E_ENGINE &&
                  std::string(error.what()).find("nowhere.onnx") != std::string::npos,
              "a missing engine is named");
    }
    try {
        zoo::Detector(path, 0, "tensorrt", 1);
        check(false, "a backend that does not run such files throws");
    } catch (const zoo::Error &error) {
        check(error.status() == ZOO_E_ENGINE &&
                  std::string(error.what()).find("'tensorrt'") != std::string::npos,
              "a backend that does not run such files is named");
    }
}

} // namespace

int main(int argc, char **argv)
{
    if (argc != 5)
        return 2;
    open_at_once(argv[1]);
    try {
        const zoo::Detector first(argv[1], 1), second(argv[2], 1),
            slow(argv[3], 1);
        const Frames frames = read_frames(argv[4], first.height(), first.width());
        score_at_once(first, second, frames);
        answer_while_running(slow, first, frames);
        close_while_running(argv[1], frames);
        move(argv[1], frames);
    } catch (const std::exception &error) {
        check(false, error.what());
    }
    std::printf("%d checks failed\n", failures.load());
    return failures != 0;
}
