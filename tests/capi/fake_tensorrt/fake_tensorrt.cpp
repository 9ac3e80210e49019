// A GPU and an engine in host memory. Work on a stream waits until it is synchronised, as
// on a GPU, so that a program that does not wait reads nothing. The "plan" is a text:
// "fake plan HEIGHT WIDTH MIN MAX". logit is the mean of the pixels, fake is logit / 255.

#include <NvInfer.h>
#include <cuda_runtime_api.h>

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <map>
#include <string>
#include <vector>

using nvinfer1::Dims;

struct CUstream_st {
    std::vector<std::function<void()>> work;
};

namespace {
long height, width, smallest, largest;
Dims input{-1, {}};
std::map<std::string, void *> addresses;
std::map<void *, size_t> device;
int alive = 0; // runtimes, engines, contexts, streams and device buffers

bool on_device(void const *address, size_t bytes)
{
    const auto found = device.find(const_cast<void *>(address));
    return found != device.end() && bytes <= found->second;
}

struct AtExit {
    ~AtExit()
    {
        if (alive != 0) {
            std::fprintf(stderr, "%d objects were not freed\n", alive);
            std::_Exit(3);
        }
    }
} at_exit;

template <typename T> T *made()
{
    ++alive;
    return new T;
}
} // namespace

namespace nvinfer1 {
IRuntime *createInferRuntime(ILogger &logger) noexcept
{
    logger.log(ILogger::Severity::kWARNING, "this is a fake");
    return made<IRuntime>();
}
IRuntime::~IRuntime() noexcept { --alive; }
ICudaEngine::~ICudaEngine() noexcept { --alive; }
IExecutionContext::~IExecutionContext() noexcept { --alive; }

ICudaEngine *IRuntime::deserializeCudaEngine(void const *blob, std::size_t size) noexcept
{
    const std::string plan(static_cast<char const *>(blob), size);
    const int read = std::sscanf(plan.c_str(), "fake plan %ld %ld %ld %ld", &height, &width,
                                 &smallest, &largest);
    return read == 4 ? made<ICudaEngine>() : nullptr;
}
IExecutionContext *ICudaEngine::createExecutionContext(ExecutionContextAllocationStrategy) noexcept
{
    return made<IExecutionContext>();
}
Dims ICudaEngine::getTensorShape(char const *name) const noexcept
{
    if (std::strcmp(name, "frames") == 0)
        return {4, {-1, height, width, 3}};
    return {1, {-1}};
}
DataType ICudaEngine::getTensorDataType(char const *name) const noexcept
{
    return std::strcmp(name, "frames") == 0 ? DataType::kUINT8 : DataType::kFLOAT;
}
Dims ICudaEngine::getProfileShape(char const *, int32_t, OptProfileSelector which) const noexcept
{
    return {4, {which == OptProfileSelector::kMIN ? smallest : largest, height, width, 3}};
}
bool IExecutionContext::setInputShape(char const *name, Dims const &dims) noexcept
{
    input = dims;
    return std::strcmp(name, "frames") == 0 && dims.nbDims == 4 && dims.d[0] >= smallest &&
           dims.d[0] <= largest && dims.d[1] == height && dims.d[2] == width && dims.d[3] == 3;
}
bool IExecutionContext::setTensorAddress(char const *name, void *data) noexcept
{
    addresses[name] = data;
    return device.count(data) == 1;
}
bool IExecutionContext::enqueueV3(cudaStream_t stream) noexcept
{
    const size_t count = static_cast<size_t>(input.d[0]);
    const size_t frame = static_cast<size_t>(height * width * 3);
    if (input.nbDims != 4 || !on_device(addresses["frames"], count * frame) ||
        !on_device(addresses["logit"], count * 4) || !on_device(addresses["fake"], count * 4))
        return false;
    std::fprintf(stderr, "batch %zu\n", count);
    stream->work.push_back([count, frame] {
        const auto *pixels = static_cast<unsigned char const *>(addresses["frames"]);
        for (size_t n = 0; n < count; ++n) {
            size_t sum = 0;
            for (size_t i = 0; i < frame; ++i)
                sum += pixels[n * frame + i];
            const float mean = static_cast<float>(sum) / static_cast<float>(frame);
            static_cast<float *>(addresses["logit"])[n] = mean;
            static_cast<float *>(addresses["fake"])[n] = mean / 255.0f;
        }
    });
    return true;
}
} // namespace nvinfer1

char const *cudaGetErrorString(cudaError_t error)
{
    return error == cudaErrorMemoryAllocation ? "out of memory" : "invalid value";
}
cudaError_t cudaStreamCreate(cudaStream_t *stream)
{
    *stream = made<CUstream_st>();
    return cudaSuccess;
}
cudaError_t cudaStreamDestroy(cudaStream_t stream)
{
    --alive;
    delete stream;
    return cudaSuccess;
}
cudaError_t cudaStreamSynchronize(cudaStream_t stream)
{
    for (auto &work : stream->work)
        work();
    stream->work.clear();
    return cudaSuccess;
}
cudaError_t cudaMalloc(void **address, size_t bytes)
{
    if (bytes > (size_t{1} << 30))
        return cudaErrorMemoryAllocation;
    *address = std::malloc(bytes);
    device[*address] = bytes;
    ++alive;
    return cudaSuccess;
}
cudaError_t cudaFree(void *address)
{
    if (address != nullptr) {
        device.erase(address);
        std::free(address);
        --alive;
    }
    return cudaSuccess;
}
cudaError_t cudaMemcpyAsync(void *to, void const *from, size_t bytes, cudaMemcpyKind kind,
                            cudaStream_t stream)
{
    if (!on_device(kind == cudaMemcpyHostToDevice ? to : from, bytes))
        return cudaErrorInvalidValue;
    stream->work.push_back([=] { std::memcpy(to, from, bytes); });
    return cudaSuccess;
}
