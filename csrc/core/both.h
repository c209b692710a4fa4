// Functions that the host and a GPU compile from one source.
#pragma once

#ifndef HNSCORE_BOTH
#ifdef __CUDACC__
#define HNSCORE_BOTH __host__ __device__ inline
#else
#define HNSCORE_BOTH inline
#endif
#endif
