// Kernels for the tests of the simulator. The first kernels are correct, and each of the others has one fault.

// ---- Correct kernels.

extern "C" __global__ void scaled(const float4* x, float* out, int n, float f) {
  out[threadIdx.x] = x[threadIdx.x].w * f + n;
}

extern "C" __global__ void reverse(const float* x, float* out) {
  __shared__ float s[96];
  s[threadIdx.x] = x[blockIdx.x * 96 + threadIdx.x];
  __syncthreads();
  out[blockIdx.x * 96 + threadIdx.x] = s[95 - threadIdx.x];
}

extern "C" __global__ void exchange(const float* x, float* out) {
  const int i = threadIdx.x;
  out[4 * i] = __shfl_down_sync(0xffffffffu, x[i], 3);
  out[4 * i + 1] = __shfl_xor_sync(0xffffffffu, x[i], 5);
  out[4 * i + 2] = __shfl_sync(0xffffffffu, x[i], 4);
  out[4 * i + 3] = (float)(__ballot_sync(0xffffffffu, i & 1) >> 16);
}

// Four groups of eight lanes run different numbers of shuffles, as groups of the search do when they reject candidates
// early.
extern "C" __global__ void disjoint_groups(float* out) {
  const unsigned group = threadIdx.x / 8, mask = 0xffu << 8 * group;
  float v = threadIdx.x % 8;
  for (unsigned n = 0; n < group; ++n) v += __shfl_xor_sync(mask, v, 1u << n);
  out[threadIdx.x] = v;
}

// ---- Faults that give a wrong result.

extern "C" __global__ void reverse_without_barrier(const float* x, float* out) {
  __shared__ float s[96];
  s[threadIdx.x] = x[blockIdx.x * 96 + threadIdx.x];
  out[blockIdx.x * 96 + threadIdx.x] = s[95 - threadIdx.x];
}

extern "C" __global__ void shared_not_set(float* out) {
  __shared__ float s[32];
  out[blockIdx.x * 32 + threadIdx.x] = s[threadIdx.x];
  s[threadIdx.x] = 0.0f;
}

// ---- Faults that the scheduler detects.

extern "C" __global__ void barrier_for_some(float* out) {
  if (threadIdx.x < 40) __syncthreads();
  out[threadIdx.x] = 1.0f;
}

extern "C" __global__ void two_barriers(float* out) {
  if (threadIdx.x < 40)
    __syncthreads();
  else
    __syncthreads();
  out[threadIdx.x] = 1.0f;
}

extern "C" __global__ void shuffle_with_ended_lanes(float* out) {
  if (threadIdx.x % 32 >= 20) return;
  out[threadIdx.x] = __shfl_xor_sync(0xffffffffu, 1.0f, 16);
}

extern "C" __global__ void two_shuffles(float* out) {
  if (threadIdx.x & 1)
    out[threadIdx.x] = __shfl_xor_sync(0xffffffffu, 1.0f, 2);
  else
    out[threadIdx.x] = __shfl_xor_sync(0xffffffffu, 2.0f, 2);
}

extern "C" __global__ void shuffle_out_of_mask(float* out) {
  out[threadIdx.x] = __shfl_xor_sync(threadIdx.x & 1 ? 0xaaaaaaaau : 0x55555555u, 1.0f, 1);
}

extern "C" __global__ void mask_without_the_caller(float* out) {
  out[threadIdx.x] = __shfl_xor_sync(0x0000ffffu, 1.0f, 1);
}

extern "C" __global__ void barrier_against_collective(float* out) {
  if (threadIdx.x == 5)
    __syncthreads();
  else
    __syncwarp(0xffffffffu);
  out[threadIdx.x] = 1.0f;
}

// ---- Faults that the sanitisers detect. Only the last thread has the fault.

extern "C" __global__ void read_outside(const float* x, float* out) { out[threadIdx.x] = x[threadIdx.x + 1]; }

extern "C" __global__ void write_outside(const float* x, float* out) { out[threadIdx.x + 1] = x[threadIdx.x]; }

extern "C" __global__ void shared_outside(const float* x, float* out) {
  __shared__ float s[300];
  s[threadIdx.x] = x[threadIdx.x];
  __syncthreads();
  out[threadIdx.x] = s[threadIdx.x + 1];
}

extern "C" __global__ void overflow(const float* x, float* out) {
  const int i = threadIdx.x;
  out[i] = x[i] + (2147483647 - 298 + i);
}
