// The plan and nothing of this project: TensorRT (10, 11) or TensorRT-RTX, the CUDA runtime
// and the engine contract:
//
//     in   frames  uint8    [N, H, W, 3]  RGB pixels as they are; scaling is in the engine
//     out  logit   float32  [N]           log-odds of fake
//     out  fake    float32  [N]           P(fake), 0..1
//
// Prints one line a frame: the file, the frame's place in it, P(fake), the log-odds. What
// the contract leaves out stands in the .json beside the plan: how an image of any size
// becomes a frame, and from which P(fake) on the verdict is "fake".

#include <NvInfer.h>
#include <cuda_runtime_api.h>

#include <algorithm>
#include <cstdio>
#include <exception>
#include <fstream>
#include <iterator>
#include <memory>
#include <stdexcept>
#include <string>
#include <vector>

#include "frames.hpp"

namespace {

class Logger : public nvinfer1::ILogger {
    void log(Severity severity, const char *message) noexcept override
    {
        if (severity <= Severity::kWARNING)
            std::fprintf(stderr, "TensorRT: %s\n", message);
    }
};

void check(cudaError_t status, const char *what)
{
    if (status != cudaSuccess)
        throw std::runtime_error(std::string(what) + ": " + cudaGetErrorString(status));
}

void check(bool done, const std::string &what)
{
    if (!done)
        throw std::runtime_error(what);
}

class Stream {
public:
    Stream() { check(cudaStreamCreate(&stream_), "a CUDA stream could not be made"); }
    ~Stream() { cudaStreamDestroy(stream_); }
    Stream(const Stream &) = delete;
    Stream &operator=(const Stream &) = delete;
    operator cudaStream_t() const { return stream_; }

private:
    cudaStream_t stream_ = nullptr;
};

class DeviceBuffer {
public:
    explicit DeviceBuffer(std::size_t bytes)
    {
        check(cudaMalloc(&address_, bytes), "no device memory");
    }
    ~DeviceBuffer() { cudaFree(address_); }
    DeviceBuffer(const DeviceBuffer &) = delete;
    DeviceBuffer &operator=(const DeviceBuffer &) = delete;
    void *get() const { return address_; }

private:
    void *address_ = nullptr;
};

std::vector<char> read_plan(const std::string &path)
{
    std::ifstream file(path, std::ios::binary);
    check(file.good(), path + " cannot be opened");
    return {std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
}

// One engine, one context, buffers for the largest batch of its profile.
class Engine {
public:
    explicit Engine(const std::string &path)
    {
        const std::vector<char> plan = read_plan(path);
        runtime_.reset(nvinfer1::createInferRuntime(logger_));
        check(runtime_ != nullptr, "TensorRT did not start: is there an NVIDIA driver?");
        engine_.reset(runtime_->deserializeCudaEngine(plan.data(), plan.size()));
        check(engine_ != nullptr, path + " was refused: a plan is tied to TensorRT's version, "
                                         "its flavour and the GPU");
        check_contract(path);
        context_.reset(engine_->createExecutionContext());
        check(context_ != nullptr, "no execution context: out of device memory?");
        frames_ = std::make_unique<DeviceBuffer>(max_batch_ * frame_bytes());
        logit_ = std::make_unique<DeviceBuffer>(max_batch_ * sizeof(float));
        fake_ = std::make_unique<DeviceBuffer>(max_batch_ * sizeof(float));
        check(context_->setTensorAddress("frames", frames_->get()) &&
                  context_->setTensorAddress("logit", logit_->get()) &&
                  context_->setTensorAddress("fake", fake_->get()),
              "an address was refused");
    }

    std::size_t height() const { return height_; }
    std::size_t width() const { return width_; }
    std::size_t max_batch() const { return max_batch_; }
    std::size_t frame_bytes() const { return height_ * width_ * 3; }

    // frames: uint8 [count, height, width, 3] in host memory, count within the profile.
    void score(const std::uint8_t *frames, std::size_t count, float *logit, float *fake)
    {
        nvinfer1::Dims shape{};
        shape.nbDims = 4;
        const std::size_t extents[] = {count, height_, width_, 3};
        for (int axis = 0; axis < 4; ++axis)
            shape.d[axis] = static_cast<std::int64_t>(extents[axis]);
        check(context_->setInputShape("frames", shape),
              "a batch of " + std::to_string(count) + " is outside the plan's profile, " +
                  std::to_string(min_batch_) + " to " + std::to_string(max_batch_));
        check(cudaMemcpyAsync(frames_->get(), frames, count * frame_bytes(),
                              cudaMemcpyHostToDevice, stream_),
              "frames could not be copied to the GPU");
        check(context_->enqueueV3(stream_), "the engine could not be run");
        const std::size_t bytes = count * sizeof(float);
        check(cudaMemcpyAsync(logit, logit_->get(), bytes, cudaMemcpyDeviceToHost, stream_),
              "logit could not be copied back");
        check(cudaMemcpyAsync(fake, fake_->get(), bytes, cudaMemcpyDeviceToHost, stream_),
              "fake could not be copied back");
        check(cudaStreamSynchronize(stream_), "the engine failed");
    }

private:
    void check_contract(const std::string &path)
    {
        using nvinfer1::DataType;
        const nvinfer1::Dims shape = engine_->getTensorShape("frames");
        const bool kept = shape.nbDims == 4 && shape.d[1] > 0 && shape.d[2] > 0 &&
                          shape.d[3] == 3 &&
                          engine_->getTensorDataType("frames") == DataType::kUINT8 &&
                          engine_->getTensorShape("logit").nbDims == 1 &&
                          engine_->getTensorDataType("logit") == DataType::kFLOAT &&
                          engine_->getTensorShape("fake").nbDims == 1 &&
                          engine_->getTensorDataType("fake") == DataType::kFLOAT;
        check(kept, path + " does not keep the engine contract: frames uint8 [N, H, W, 3], "
                           "logit and fake float32 [N]");
        height_ = static_cast<std::size_t>(shape.d[1]);
        width_ = static_cast<std::size_t>(shape.d[2]);
        using nvinfer1::OptProfileSelector;
        const auto smallest = engine_->getProfileShape("frames", 0, OptProfileSelector::kMIN);
        const auto largest = engine_->getProfileShape("frames", 0, OptProfileSelector::kMAX);
        check(smallest.nbDims == 4 && largest.nbDims == 4, path + " has no profile");
        min_batch_ = static_cast<std::size_t>(smallest.d[0]);
        max_batch_ = static_cast<std::size_t>(largest.d[0]);
    }

    // In this order: what was made first is destroyed last.
    Logger logger_;
    std::unique_ptr<nvinfer1::IRuntime> runtime_;
    std::unique_ptr<nvinfer1::ICudaEngine> engine_;
    std::unique_ptr<nvinfer1::IExecutionContext> context_;
    Stream stream_;
    std::unique_ptr<DeviceBuffer> frames_, logit_, fake_;
    std::size_t height_ = 0, width_ = 0, min_batch_ = 0, max_batch_ = 0;
};

} // namespace

int main(int argc, char **argv)
{
    if (argc < 3) {
        std::fprintf(stderr,
                     "usage: pure_tensorrt PLAN FILE...\n"
                     "FILE: a binary PPM (P6) or raw uint8 RGB frames [N, height, width, 3]\n");
        return 2;
    }
    try {
        Engine engine(argv[1]);
        for (int i = 2; i < argc; ++i) {
            const Frames frames = read_frames(argv[i], engine.height(), engine.width());
            std::vector<float> logit(frames.count), fake(frames.count);
            for (std::size_t start = 0; start < frames.count; start += engine.max_batch())
                engine.score(frames.pixels.data() + start * engine.frame_bytes(),
                             std::min(engine.max_batch(), frames.count - start), &logit[start],
                             &fake[start]);
            for (std::size_t n = 0; n < frames.count; ++n)
                std::printf("%s %zu %.9g %.9g\n", argv[i], n, static_cast<double>(fake[n]),
                            static_cast<double>(logit[n]));
        }
    } catch (const std::exception &error) {
        std::fprintf(stderr, "%s\n", error.what());
        return 2;
    }
    return 0;
}
