# The CUDA backend: finds a compiler that can build it, or says why not, and adds the module _cuda.
# Sets HNSCORE_CUDA_REASON, and HNSCORE_CUDA_ARCHS_BUILT: the machine code in the module, empty where it is not built.

set(HNSCORE_CUDA_ARCHS default CACHE STRING
  "default (80, 90a), all (each architecture that nvcc 13 knows, and PTX), or a list of 75 80 86 89 90 90a 100 120 80-virtual")

set(HNSCORE_CUDA_HANG_SECONDS 0 CACHE STRING
  "for first runs on a GPU: a barrier that is waited for longer stops the kernel with an error; 0: kernels wait for ever")

# For every architecture of the list; those with 16-bit tensor cores and cp.async; the one with wgmma. A tensor core
# kernel for 9.0 alone is added by name: there, 90a has the faster one.
string(REGEX REPLACE "[ ,;]+" ";" archs "${HNSCORE_CUDA_ARCHS}")
if(archs STREQUAL "default")
  set(archs 80 90a)
elseif(archs STREQUAL "all")
  set(archs 75 80 86 89 90 90a 100 120 80-virtual)
endif()
set(simt_archs "")
set(mma_archs "")
set(wgmma_archs "")
set(built "")
foreach(arch ${archs})
  if(arch STREQUAL "90a")
    list(APPEND simt_archs 90-real)
    list(APPEND wgmma_archs 90a-real)
  elseif(arch STREQUAL "75")
    list(APPEND simt_archs 75-real)
  elseif(arch MATCHES "^(80|86|89|90|100|120)$")
    list(APPEND simt_archs ${arch}-real)
    list(APPEND mma_archs ${arch}-real)
  elseif(arch STREQUAL "80-virtual")
    list(APPEND simt_archs 80-virtual)
    list(APPEND mma_archs 80-virtual)
  else()
    message(FATAL_ERROR "HNSCORE_CUDA_ARCHS must be default, all or a list of 75 80 86 89 90 90a 100 120 80-virtual, "
                        "got ${arch} in ${HNSCORE_CUDA_ARCHS}")
  endif()
  if(arch MATCHES "^(.*)-virtual$")
    list(APPEND built compute_${CMAKE_MATCH_1})
  else()
    list(APPEND built sm_${arch})
  endif()
endforeach()
foreach(list simt_archs mma_archs wgmma_archs built)
  list(REMOVE_DUPLICATES ${list})
endforeach()

# Sets nvcc, host_compiler and, unless the two can build the backend, the reason. One call of nvcc tells what CMake's
# own search would stop at: an nvcc too old for C++20 or for an architecture, one that refuses this host compiler, one
# without the runtime library.
macro(hnscore_find_nvcc)
  set(reason "")
  set(nvcc "${CMAKE_CUDA_COMPILER}")
  if(NOT nvcc)
    set(nvcc "$ENV{CUDACXX}")
  endif()
  if(NOT nvcc)
    find_program(HNSCORE_NVCC nvcc PATHS ENV CUDA_HOME ENV CUDA_PATH /usr/local/cuda PATH_SUFFIXES bin)
    mark_as_advanced(HNSCORE_NVCC)
    set(nvcc "${HNSCORE_NVCC}")
  endif()
  set(host_compiler "${CMAKE_CUDA_HOST_COMPILER}")
  if(NOT host_compiler)
    set(host_compiler "$ENV{CUDAHOSTCXX}")
  endif()
  if(NOT host_compiler)
    set(host_compiler "${CMAKE_CXX_COMPILER}")
  endif()
  if(nvcc)
    hnscore_try_nvcc()
  else()
    set(reason "no nvcc was found on PATH or in CUDA_HOME")
  endif()
endmacro()

function(hnscore_try_nvcc)
  set(codes "")
  foreach(arch ${simt_archs} ${wgmma_archs})
    if(arch MATCHES "^(.*)-real$")
      list(APPEND codes -gencode=arch=compute_${CMAKE_MATCH_1},code=sm_${CMAKE_MATCH_1})
    endif()
  endforeach()
  set(folder ${CMAKE_BINARY_DIR}/nvcc)
  file(WRITE ${folder}/probe.cu [[
#include <string>
#include <vector>
#if CUDART_VERSION < 12080
#error CUDA 12.8 or later is needed
#endif
template <class T> requires true int size(std::vector<T> x) { return static_cast<int>(x.size()); }
__global__ void kernel(float* x) { *x = 1; }
int main() {
    kernel<<<1, 1>>>(nullptr);
    return size(std::vector<std::string>{});
}
]])
  message(CHECK_START "Trying ${nvcc} with ${host_compiler}")
  execute_process(
    COMMAND ${nvcc} -std=c++20 -ccbin ${host_compiler} ${codes} -o ${folder}/probe ${folder}/probe.cu
    OUTPUT_VARIABLE output ERROR_VARIABLE output RESULT_VARIABLE result)
  if(result EQUAL 0)
    message(CHECK_PASS "works")
    return()
  endif()
  message(CHECK_FAIL "fails (${result})\n${output}")
  string(REGEX MATCH "[^\n]*([Ee]rror|fatal|unsupported|[Nn]o such)[^\n]*" line "${output}")
  if(NOT line)
    set(line "${result}")
  endif()
  string(REGEX REPLACE "[^A-Za-z0-9_.,:=/()+-]+" " " line "${line}")  # it becomes a string of C++
  string(REGEX REPLACE "^.*: error: *" "" line "${line}")
  set(reason "nvcc could not compile a test program: ${line}" PARENT_SCOPE)
endfunction()

set(HNSCORE_CUDA_ARCHS_BUILT "")
if(HNSCORE_CUDA STREQUAL "OFF")
  set(HNSCORE_CUDA_REASON "built with HNSCORE_CUDA=OFF")
elseif(HNSCORE_CUDA MATCHES "^(AUTO|ON)$")
  hnscore_find_nvcc()
  if(NOT reason)
    list(JOIN built " " HNSCORE_CUDA_ARCHS_BUILT)
  elseif(HNSCORE_CUDA STREQUAL "ON")
    message(FATAL_ERROR "HNSCORE_CUDA=ON, but ${reason}. Name a CUDA 12.8 or later compiler by CUDACXX, "
                        "its host compiler by CUDAHOSTCXX, or use HNSCORE_CUDA=AUTO or OFF")
  else()
    set(HNSCORE_CUDA_REASON "when this was built, ${reason}")
    message(STATUS "CUDA backend: not built, ${reason}")
  endif()
else()
  message(FATAL_ERROR "HNSCORE_CUDA must be AUTO, ON or OFF, got ${HNSCORE_CUDA}")
endif()
if(NOT HNSCORE_CUDA_ARCHS_BUILT)
  return()
endif()

set(CMAKE_CUDA_COMPILER "${nvcc}")
set(CMAKE_CUDA_HOST_COMPILER "${host_compiler}")
enable_language(CUDA)
find_package(CUDAToolkit REQUIRED)
set(HNSCORE_CUDA_REASON "built by nvcc ${CMAKE_CUDA_COMPILER_VERSION}")
message(STATUS "CUDA backend: ${HNSCORE_CUDA_ARCHS_BUILT}")

set(CMAKE_CUDA_STANDARD 20)
set(CMAKE_CUDA_STANDARD_REQUIRED ON)
set(CMAKE_CUDA_EXTENSIONS OFF)
if(NOT CMAKE_CUDA20_STANDARD_COMPILE_OPTION)
  set(CMAKE_CUDA20_STANDARD_COMPILE_OPTION -std=c++20)  # CMake 3.24 and 3.25 do not know it
endif()
set(CMAKE_CUDA_VISIBILITY_PRESET hidden)

pybind11_add_module(_cuda MODULE NO_EXTRAS csrc/bindings/bind_cuda.cpp)
set_target_properties(_cuda PROPERTIES LINKER_LANGUAGE CXX)
target_include_directories(_cuda PRIVATE csrc)
target_compile_definitions(_cuda PRIVATE HNSCORE_MODULE=_cuda HNSCORE_CUDA_ARCHS="${HNSCORE_CUDA_ARCHS_BUILT}")
target_link_libraries(_cuda PRIVATE CUDA::cudart_static)  # neither libcuda nor torch: the module loads without a GPU

function(hnscore_cuda_library name archs)
  if(NOT archs)
    return()
  endif()
  add_library(${name} OBJECT ${ARGN})
  set_target_properties(${name} PROPERTIES CUDA_ARCHITECTURES "${archs}")
  target_include_directories(${name} PRIVATE csrc)
  if(HNSCORE_CUDA_HANG_SECONDS)
    target_compile_definitions(${name} PRIVATE HNSCORE_HANG_SECONDS=${HNSCORE_CUDA_HANG_SECONDS})
  endif()
  # Multiply-adds are asked for by name.
  target_compile_options(${name} PRIVATE -fmad=false --expt-relaxed-constexpr -Xcompiler=-Wall,-Wextra,-Wshadow)
  if(CMAKE_CUDA_COMPILER_VERSION VERSION_GREATER_EQUAL 12.8)
    target_compile_options(${name} PRIVATE --compress-mode=size)
  endif()
  if(HNSCORE_WERROR)
    # ptxas only informs of a wgmma that it serialises; the launcher makes that an error as well.
    target_compile_options(${name} PRIVATE "SHELL:-Werror all-warnings")
    set_target_properties(${name} PROPERTIES CUDA_COMPILER_LAUNCHER "sh;${PROJECT_SOURCE_DIR}/csrc/cuda/strict.sh")
  endif()
  target_link_libraries(_cuda PRIVATE ${name})
endfunction()

hnscore_cuda_library(hnscore_cuda_simt "${simt_archs}" csrc/cuda/tiles/archs/simt.cu csrc/cuda/tiles/tuning.cu csrc/cuda/backend.cu
                     csrc/cuda/device/hang.cu csrc/cuda/device/reports.cu csrc/cuda/device/runtime.cu csrc/cuda/device/host_memory.cu)
hnscore_cuda_library(hnscore_cuda_mma "${mma_archs}" csrc/cuda/tiles/archs/mma_half.cu csrc/cuda/tiles/archs/mma_bf16.cu)
hnscore_cuda_library(hnscore_cuda_wgmma "${wgmma_archs}" csrc/cuda/tiles/archs/wgmma_half.cu csrc/cuda/tiles/archs/wgmma_bf16.cu)
target_compile_definitions(hnscore_cuda_simt PRIVATE HNSCORE_CUDA_ARCHS="${HNSCORE_CUDA_ARCHS_BUILT}")
foreach(kind mma wgmma)
  if(TARGET hnscore_cuda_${kind})
    string(TOUPPER ${kind} name)
    target_compile_definitions(hnscore_cuda_simt PRIVATE HNSCORE_HAS_${name})
  endif()
endforeach()
