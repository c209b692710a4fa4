// The host side on CUDA. Links the static runtime only, which looks for a driver when it is first used.
#ifndef HNSCORE_EMULATE

#include "cuda/device/runtime.h"

#include <map>
#include <mutex>

#include "cuda/device/hang.h"

namespace hnscore::gpu {

namespace {

// Errors of a kernel that has run: they appear at whatever is called next, and nothing works after them.
bool from_a_kernel(cudaError_t error) {
    switch (error) {
        case cudaErrorIllegalAddress:
        case cudaErrorLaunchFailure:
        case cudaErrorLaunchTimeout:
        case cudaErrorAssert:
        case cudaErrorHardwareStackError:
        case cudaErrorIllegalInstruction:
        case cudaErrorMisalignedAddress:
        case cudaErrorInvalidAddressSpace:
        case cudaErrorInvalidPc:
        case cudaErrorECCUncorrectable:
        case cudaErrorMpsRpcFailure:
#if CUDART_VERSION >= 13000
        case cudaErrorContained:
        case cudaErrorTensorMemoryLeak:
#endif
            return true;
        default:
            return false;
    }
}

std::string remedy(cudaError_t error) {
    if (const std::string hang = from_a_kernel(error) ? hang_text() : ""; !hang.empty())
        return "a kernel hung, and was stopped: " + hang;
    if (from_a_kernel(error))
        return "a kernel that was started earlier in this process, by this or another library, has failed, and CUDA "
               "cannot be used in this process any more; CUDA_LAUNCH_BLOCKING=1 shows which";
    switch (error) {
        case cudaErrorInsufficientDriver: {
            int driver = 0, runtime = 0;
            cudaDriverGetVersion(&driver);
            cudaRuntimeGetVersion(&runtime);
            const auto text = [](int v) { return std::to_string(v / 1000) + "." + std::to_string(v % 1000 / 10); };
            if (driver == 0) return "no NVIDIA driver found; install one, or use the CPU";
            return "the NVIDIA driver is for CUDA " + text(driver) + ", and this is built with CUDA " + text(runtime) +
                   "; update the driver, or use the CPU";
        }
        case cudaErrorNoDevice:
            return "there is a driver but no GPU; look at nvidia-smi and CUDA_VISIBLE_DEVICES";
        case cudaErrorInvalidDevice:
            return "no GPU has this index";
        case cudaErrorMemoryAllocation:
            return "free memory of the GPU, or work on fewer rows at a time";
        case cudaErrorInitializationError:
            return "CUDA cannot be used in a process that was forked after CUDA was first used; start processes with "
                   "the method \"spawn\"";
        case cudaErrorNoKernelImageForDevice:
        case cudaErrorUnsupportedPtxVersion:
            return "this build holds no kernels for this GPU";
        case cudaErrorStreamCaptureUnsupported:
        case cudaErrorStreamCaptureImplicit:
            return "the call cannot be recorded into a CUDA graph";
        default:
            return "";
    }
}

std::string bytes_text(size_t bytes) { return std::to_string(bytes) + " bytes"; }

}  // namespace

void check(cudaError_t error, const std::string& attempted) {
    if (error == cudaSuccess) return;
    cudaGetLastError();  // reported here, and by nobody else again
    std::string text = attempted + ": " + cudaGetErrorName(error) + ", " + cudaGetErrorString(error);
    if (const std::string what = remedy(error); !what.empty()) text += ": " + what;
    throw GpuError(text);
}

namespace {

using Encoder = decltype(&cuTensorMapEncodeTiled);

Encoder encoder() {
    static const Encoder found = [] {
        void* entry = nullptr;
        cudaDriverEntryPointQueryResult result = cudaDriverEntryPointSymbolNotFound;
        check(cudaGetDriverEntryPointByVersion("cuTensorMapEncodeTiled", &entry, 12000, cudaEnableDefault, &result),
              "cudaGetDriverEntryPointByVersion");
        if (result != cudaDriverEntryPointSuccess || entry == nullptr)
            throw GpuError("the NVIDIA driver has no cuTensorMapEncodeTiled; update it to one for CUDA 12 or later");
        return reinterpret_cast<Encoder>(entry);
    }();
    return found;
}

}  // namespace

int device_count() {
    int count = 0;
    const cudaError_t error = cudaGetDeviceCount(&count);
    if (error == cudaErrorNoDevice || error == cudaErrorInsufficientDriver) {
        cudaGetLastError();
        return 0;
    }
    check(error, "cudaGetDeviceCount");
    return count;
}

Device device(int index) {
    static std::mutex guard;
    static std::map<int, Device> known;  // the query takes milliseconds
    const std::lock_guard<std::mutex> lock(guard);
    if (const auto found = known.find(index); found != known.end()) return found->second;
    cudaDeviceProp p;
    check(cudaGetDeviceProperties(&p, index), "properties of GPU " + std::to_string(index));
    return known[index] = {index, p.major, p.minor, p.multiProcessorCount, p.totalGlobalMem, p.sharedMemPerBlockOptin,
                           p.name};
}

DeviceGuard::DeviceGuard(int index) : before_(-1) {
    int now = 0;
    check(cudaGetDevice(&now), "cudaGetDevice");
    if (now == index) return;
    check(cudaSetDevice(index), "cudaSetDevice " + std::to_string(index));
    before_ = now;
}

DeviceGuard::~DeviceGuard() {
    if (before_ >= 0) cudaSetDevice(before_);
}

namespace {

// So much of what is free stays with the process at a synchronisation: the slabs of a call, which else would be taken
// from the driver again and again.
constexpr uint64_t kPoolKeeps = uint64_t{256} << 20;

cudaMemPool_t pool_of(int index) {
    static std::mutex guard;
    static std::map<int, cudaMemPool_t> pools;
    const std::lock_guard<std::mutex> lock(guard);
    if (const auto found = pools.find(index); found != pools.end()) return found->second;
    cudaMemPoolProps properties{};
    properties.allocType = cudaMemAllocationTypePinned;
    properties.location.type = cudaMemLocationTypeDevice;
    properties.location.id = index;
    cudaMemPool_t pool;
    const BesideCapture beside;
    check(cudaMemPoolCreate(&pool, &properties), "cudaMemPoolCreate");
    uint64_t keeps = kPoolKeeps;
    check(cudaMemPoolSetAttribute(pool, cudaMemPoolAttrReleaseThreshold, &keeps), "cudaMemPoolSetAttribute");
    return pools[index] = pool;
}

}  // namespace

void* allocate(size_t bytes, Stream stream) {
    int index = 0;
    check(cudaGetDevice(&index), "cudaGetDevice");
    void* memory = nullptr;
    const cudaError_t error = cudaMallocFromPoolAsync(&memory, bytes > 0 ? bytes : 1, pool_of(index), stream);
    if (error == cudaErrorMemoryAllocation) {
        cudaGetLastError();
        throw NoMemory("hnscore wants " + bytes_text(bytes) + " of GPU memory: " + remedy(error));
    }
    check(error, "cudaMallocFromPoolAsync of " + bytes_text(bytes));
    return memory;
}

size_t memory_used(int index) {
    const DeviceGuard guard(index);
    uint64_t bytes = 0;
    check(cudaMemPoolGetAttribute(pool_of(index), cudaMemPoolAttrUsedMemCurrent, &bytes), "cudaMemPoolGetAttribute");
    return bytes;
}

void release(void* memory, Stream stream) noexcept {
    if (memory != nullptr && cudaFreeAsync(memory, stream) != cudaSuccess) cudaGetLastError();
}

void zero(void* memory, size_t bytes, Stream stream) {
    check(cudaMemsetAsync(memory, 0, bytes, stream), "cudaMemsetAsync of " + bytes_text(bytes));
}

void copy_to_device(void* to, const void* from, size_t bytes, Stream stream) {
    check(cudaMemcpyAsync(to, from, bytes, cudaMemcpyHostToDevice, stream),
          "cudaMemcpyAsync of " + bytes_text(bytes) + " to the GPU");
}

void copy_to_host(void* to, const void* from, size_t bytes, Stream stream) {
    check(cudaMemcpyAsync(to, from, bytes, cudaMemcpyDeviceToHost, stream),
          "cudaMemcpyAsync of " + bytes_text(bytes) + " from the GPU");
}

void wait_for(Stream stream) { check(cudaStreamSynchronize(stream), "cudaStreamSynchronize"); }
void wait_for_device() { check(cudaDeviceSynchronize(), "cudaDeviceSynchronize"); }

bool capturing(Stream stream) {
    cudaStreamCaptureStatus status = cudaStreamCaptureStatusNone;
    check(cudaStreamIsCapturing(stream, &status), "cudaStreamIsCapturing");
    return status != cudaStreamCaptureStatusNone;
}

TensorMap tensor_map(const void* base, int64_t rows, int64_t row_pitch, int64_t depth, int box_rows, DType dtype) {
    if (dtype != DType::f16 && dtype != DType::bf16) throw GpuError("tensor_map: neither f16 nor bf16");
    TensorMap map;
    const cuuint64_t sizes[] = {static_cast<cuuint64_t>(depth), static_cast<cuuint64_t>(rows)};
    const cuuint64_t pitch[] = {static_cast<cuuint64_t>(row_pitch)};
    const cuuint32_t box[] = {64, static_cast<cuuint32_t>(box_rows)}, steps[] = {1, 1};
    const CUresult result =
        encoder()(&map, dtype == DType::f16 ? CU_TENSOR_MAP_DATA_TYPE_FLOAT16 : CU_TENSOR_MAP_DATA_TYPE_BFLOAT16, 2,
                  const_cast<void*>(base), sizes, pitch, box, steps, CU_TENSOR_MAP_INTERLEAVE_NONE,
                  CU_TENSOR_MAP_SWIZZLE_128B, CU_TENSOR_MAP_L2_PROMOTION_L2_256B, CU_TENSOR_MAP_FLOAT_OOB_FILL_NONE);
    if (result != CUDA_SUCCESS)
        throw GpuError("cuTensorMapEncodeTiled: CUresult " + std::to_string(result) + " for " + std::to_string(rows) +
                       " rows of " + std::to_string(depth) + " elements, " + std::to_string(row_pitch) +
                       " bytes apart, in boxes of " + std::to_string(box_rows) + " rows");
    return map;
}

void launch_kernel(const Launch& how, const void* kernel, void** arguments) {
    const auto attempted = [&] {
        return "start of a kernel (" + std::to_string(how.blocks) + " blocks of " + std::to_string(how.threads) +
               " threads, " + bytes_text(how.shared_bytes) + " of shared memory each)";
    };
    if (how.blocks < 1 || how.blocks > INT32_MAX || how.blocks % how.cluster != 0)
        throw GpuError(attempted() + ": not a grid of clusters of " + std::to_string(how.cluster) + " blocks");
    const BesideCapture beside;
    cudaError_t error = cudaSuccess;
    if (how.shared_bytes > 48 << 10)
        error = cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, how.shared_bytes);
    cudaLaunchConfig_t config{};
    config.gridDim = dim3(static_cast<unsigned>(how.blocks));
    config.blockDim = dim3(static_cast<unsigned>(how.threads));
    config.dynamicSmemBytes = static_cast<size_t>(how.shared_bytes);
    config.stream = how.stream;
    if (error == cudaSuccess) error = cudaLaunchKernelExC(&config, kernel, arguments);
    if (error != cudaSuccess) check(error, attempted());
}

}  // namespace hnscore::gpu

#endif
