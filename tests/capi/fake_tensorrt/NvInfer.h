// The few declarations of TensorRT 10's C++ API that examples/cpp/pure_tensorrt.cpp uses,
// with the same names, types and qualifiers. Behind them stands fake_tensorrt.cpp: NVIDIA's
// headers are in no package registry, and the example shall not rot for that.
#ifndef FAKE_NVINFER_H
#define FAKE_NVINFER_H

#include <cstddef>
#include <cstdint>

struct CUstream_st;
typedef CUstream_st *cudaStream_t;

namespace nvinfer1 {

using AsciiChar = char;

enum class DataType : int32_t { kFLOAT = 0, kUINT8 = 5 };
enum class OptProfileSelector : int32_t { kMIN = 0, kOPT = 1, kMAX = 2 };
enum class ExecutionContextAllocationStrategy : int32_t { kSTATIC = 0 };

class Dims64 {
public:
    static constexpr int32_t MAX_DIMS{8};
    int32_t nbDims;
    int64_t d[MAX_DIMS];
};
using Dims = Dims64;

class ILogger {
public:
    enum class Severity : int32_t {
        kINTERNAL_ERROR = 0,
        kERROR = 1,
        kWARNING = 2,
        kINFO = 3,
        kVERBOSE = 4
    };
    virtual void log(Severity severity, AsciiChar const *msg) noexcept = 0;
    ILogger() = default;
    virtual ~ILogger() = default;
};

class IExecutionContext {
public:
    virtual ~IExecutionContext() noexcept;
    bool setInputShape(char const *tensorName, Dims const &dims) noexcept;
    bool setTensorAddress(char const *tensorName, void *data) noexcept;
    bool enqueueV3(cudaStream_t stream) noexcept;
};

class ICudaEngine {
public:
    virtual ~ICudaEngine() noexcept;
    Dims getTensorShape(char const *tensorName) const noexcept;
    DataType getTensorDataType(char const *tensorName) const noexcept;
    Dims getProfileShape(char const *tensorName, int32_t profileIndex,
                         OptProfileSelector select) const noexcept;
    IExecutionContext *createExecutionContext(
        ExecutionContextAllocationStrategy strategy =
            ExecutionContextAllocationStrategy::kSTATIC) noexcept;
};

class IRuntime {
public:
    virtual ~IRuntime() noexcept;
    ICudaEngine *deserializeCudaEngine(void const *blob, std::size_t size) noexcept;
};

IRuntime *createInferRuntime(ILogger &logger) noexcept;

} // namespace nvinfer1

#endif
