// What becomes of the products of a tile, while they are still on the registers of its warp.
//
//   Sum<Weight>     w = g(gap) of the pairs inside, added to the row. With a band: pairs too close to call are decided.
//   Screen          every pair that may be inside is decided, and weighs what its decided similarity says.
//   Top             pairs that may be among the k largest of their row are decided and join its list.
//   List            every pair that may be inside is decided, and written down if it is.
//
// Budget: the tensor cores of an SM take depth / 2048 cycles for a pair, in which its four schedulers issue depth / 16
// instructions for a lane: 32 a pair at depth 512. They need 5 to 10 (tests/test_cuda_compile.py counts them), beside
// half a load of the column's facts.
#pragma once

#include "cuda/epilogue/list.h"
#include "cuda/epilogue/screen.h"
#include "cuda/epilogue/sum.h"
#include "cuda/epilogue/top.h"
