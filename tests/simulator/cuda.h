// Definitions of the parts of CUDA C++ that this project's kernels use, in C++17. This header is included before each
// .cu file.
//
// The simulator does not simulate weak memory ordering, dynamic shared memory, half precision, denormals flushed to
// zero, or speed.
#pragma once
#include <math.h>

#include <type_traits>
#include <utility>

#include "scheduler.h"

#define __global__
#define __device__
#define __host__
#define __forceinline__ inline __attribute__((always_inline))

struct int2 {
  int x, y;
};
struct float2 {
  float x, y;
};
struct alignas(8) short4 {
  short x, y, z, w;
};
struct alignas(16) float4 {
  float x, y, z, w;
};
static inline float4 make_float4(float x, float y, float z, float w) { return {x, y, z, w}; }

static inline int min(int a, int b) { return a < b ? a : b; }
static inline int max(int a, int b) { return a > b ? a : b; }
static inline float min(float a, float b) { return fminf(a, b); }
static inline float max(float a, float b) { return fmaxf(a, b); }

static inline unsigned __float_as_uint(float value) {
  unsigned bits;
  memcpy(&bits, &value, sizeof bits);
  return bits;
}
static inline float __uint_as_float(unsigned bits) {
  float value;
  memcpy(&value, &bits, sizeof value);
  return value;
}

// These functions are atomic, since threads run one at a time, and the scheduler changes to another thread only at a
// barrier or a collective.
static inline unsigned atomicMin(unsigned* address, unsigned value) {
  const unsigned before = *address;
  if (value < before) *address = value;
  return before;
}
static inline unsigned atomicMax(unsigned* address, unsigned value) {
  const unsigned before = *address;
  if (value > before) *address = value;
  return before;
}

#define __syncthreads() simulator::wait(simulator::State::at_barrier, 0, __LINE__)
#define __syncwarp(mask) simulator::exchange(0, mask, __LINE__)
#define __shfl_sync(mask, value, from) simulator::shuffle(value, mask, (from) % 32u, __LINE__)
#define __shfl_xor_sync(mask, value, step) simulator::shuffle(value, mask, simulator::lane() ^ (step), __LINE__)
#define __shfl_down_sync(mask, value, step) simulator::shuffle(value, mask, simulator::lane() + (step), __LINE__)
#define __ballot_sync(mask, predicate) simulator::ballot(predicate, mask, __LINE__)

namespace simulator {

// Returns a value of the element type: the type of a number, or the type of the members of a struct. All members of a
// struct have one type, as in CUDA's vector types.
template <class T>
auto element(const T& value) {
  if constexpr (!std::is_class_v<T>) {
    return value;
  } else if constexpr (std::is_same_v<T, short4>) {
    return value.x;
  } else if constexpr (sizeof(T) == 16) {
    auto [a, b, c, d] = value;
    return a + 0 * (b + c + d);
  } else if constexpr (sizeof(T) == 12) {
    auto [a, b, c] = value;
    return a + 0 * (b + c);
  } else {
    auto [a, b] = value;
    return a + 0 * b;
  }
}

// Describes one parameter: access (r read, w written, = by value), NumPy's code of the elements, and their size and
// alignment in bytes.
template <class P>
int describe(char* text, size_t room) {
  using T = std::remove_cv_t<std::remove_pointer_t<P>>;
  using E = decltype(element(T{}));
  const char access = !std::is_pointer_v<P> ? '=' : std::is_const_v<std::remove_pointer_t<P>> ? 'r' : 'w';
  const char kind = std::is_floating_point_v<E> ? 'f' : std::is_signed_v<E> ? 'i' : 'u';
  return snprintf(text, room, "%c %c%zu %zu %zu\n", access, kind, sizeof(E), sizeof(T), alignof(T));
}

template <class... P>
const char* signature(void (*)(P...)) {
  static char text[1024];
  size_t length = 0;
  ((length += describe<P>(text + length, sizeof text - length)), ...);
  return text;
}

// Calls `kernel` for every thread. `values` has a pointer to the value of each parameter, as in cudaLaunchKernel.
template <class... P, size_t... I>
bool call(void (*kernel)(P...), std::index_sequence<I...>, void** values, dim3 grid, dim3 block, uint64_t seed,
          const unsigned* only) {
  static void (*function)(P...);
  static void** arguments;
  function = kernel;
  arguments = values;
  return launch([] { function(*static_cast<std::remove_cv_t<P>*>(arguments[I])...); }, grid, block, seed, only);
}

template <class... P>
bool call(void (*kernel)(P...), void** values, const unsigned* grid, const unsigned* block, uint64_t seed,
          const unsigned* only) {
  const dim3 g = {grid[0], grid[1], grid[2]}, b = {block[0], block[1], block[2]};
  return call(kernel, std::index_sequence_for<P...>{}, values, g, b, seed, only);
}

}  // namespace simulator

#define SIMULATOR_VISIBLE extern "C" __attribute__((visibility("default")))
SIMULATOR_VISIBLE const char* simulator_error() { return simulator::error; }
SIMULATOR_VISIBLE uint64_t simulator_exchanges() { return simulator::exchanges; }
#define SIMULATOR_EXPORT(kernel)                                                                                     \
  SIMULATOR_VISIBLE const char* simulator_signature_##kernel() { return simulator::signature(&kernel); }             \
  SIMULATOR_VISIBLE bool simulator_launch_##kernel(void** values, const unsigned* grid, const unsigned* block,       \
                                                   uint64_t seed, const unsigned* only) {                            \
    return simulator::call(&kernel, values, grid, block, seed, only);                                                \
  }
