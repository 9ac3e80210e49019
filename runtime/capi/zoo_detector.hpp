// zoo_detector.hpp: zoo_detector.h for C++17, with errors as exceptions. Header only.
//
//     zoo::Detector detector("engines/meso4.onnx");
//     zoo::Scores scores = detector.score(pixels, count);   // uint8 [count, H, W, 3], RGB
//     bool fake = scores.fake[0] >= detector.threshold();
//
// A Detector may be used by several threads at once, as zoo_detector.h says. Moving from,
// assigning to, closing and destroying one are for a single thread.
#ifndef ZOO_DETECTOR_HPP
#define ZOO_DETECTOR_HPP

#include <cstddef>
#include <cstdint>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "zoo_detector.h"

namespace zoo {

// A call failed. what() is the text of zoo_last_error().
class Error : public std::runtime_error {
public:
    Error(zoo_status status, const std::string &text)
        : std::runtime_error(text), status_(status) {}
    zoo_status status() const noexcept { return status_; }

private:
    zoo_status status_;
};

// Of each frame: log-odds of fake, and P(fake), 0..1.
struct Scores {
    std::vector<float> logit;
    std::vector<float> fake;
};

class Detector {
public:
    // engine: path of a .onnx or .plan; threads: CPU threads of one call, 0 for the
    // engine's own choice; backend: what runs it, see zoo_detector_open_on; device: index
    // of the GPU. Throws Error.
    explicit Detector(const std::string &engine, std::uint32_t threads = 0,
                      const std::string &backend = "auto", std::uint32_t device = 0)
    {
        if (zoo_abi_version() != ZOO_ABI_VERSION)
            throw Error(ZOO_E_START, "libzoo_detector.so has ABI version " +
                                         std::to_string(zoo_abi_version()) +
                                         ", this program was compiled for " +
                                         std::to_string(ZOO_ABI_VERSION));
        check(zoo_detector_open_on(engine.c_str(), backend.c_str(), device, threads, &handle_));
        const zoo_status status = zoo_detector_format(handle_, &height_, &width_, &threshold_);
        if (status != ZOO_OK) {
            const Error error(status, zoo_last_error());
            close(); // a constructor that throws has no destructor
            throw error;
        }
    }

    Detector(const Detector &) = delete;
    Detector &operator=(const Detector &) = delete;
    Detector(Detector &&other) noexcept { swap(other); }
    Detector &operator=(Detector &&other) noexcept
    {
        Detector(std::move(other)).swap(*this);
        return *this;
    }
    ~Detector() { close(); }

    // Waits for calls that run. Afterwards the others throw. May be called twice.
    void close() noexcept
    {
        if (handle_ != 0)
            zoo_detector_close(std::exchange(handle_, 0));
    }

    // Of a frame, in pixels and in bytes.
    std::uint32_t height() const noexcept { return height_; }
    std::uint32_t width() const noexcept { return width_; }
    std::size_t frame_bytes() const noexcept { return std::size_t{3} * height_ * width_; }
    // "fake" where Scores::fake reaches it, compared as doubles.
    double threshold() const noexcept { return threshold_; }

    // The sidecar as JSON, UTF-8. Throws Error.
    std::string info() const
    {
        std::size_t size = 0;
        check(zoo_detector_info(handle_, nullptr, 0, &size));
        std::string text(size, '\0');
        check(zoo_detector_info(handle_, text.data(), text.size(), &size));
        text.pop_back(); // the final zero; std::string has its own
        return text;
    }

    // frames: uint8 [count, height, width, 3], RGB, in host memory. Throws Error.
    Scores score(const std::uint8_t *frames, std::size_t count) const
    {
        Scores scores{std::vector<float>(count), std::vector<float>(count)};
        // A vector of no floats may have no address; the library shall name the count.
        float none = 0;
        check(zoo_detector_score(handle_, frames, count * frame_bytes(), count,
                                 count ? scores.logit.data() : &none,
                                 count ? scores.fake.data() : &none));
        return scores;
    }

    // All in device memory, ordered on the stream and not waited for; see
    // zoo_detector_score_device. Throws Error.
    void score_device(const void *frames, std::size_t count, void *stream, float *logit,
                      float *fake) const
    {
        check(zoo_detector_score_device(handle_, frames, count * frame_bytes(), count, stream,
                                        logit, fake));
    }

private:
    static void check(zoo_status status)
    {
        if (status != ZOO_OK)
            throw Error(status, zoo_last_error());
    }

    void swap(Detector &other) noexcept
    {
        std::swap(handle_, other.handle_);
        std::swap(height_, other.height_);
        std::swap(width_, other.width_);
        std::swap(threshold_, other.threshold_);
    }

    zoo_detector handle_ = 0;
    std::uint32_t height_ = 0;
    std::uint32_t width_ = 0;
    double threshold_ = 0;
};

} // namespace zoo

#endif
