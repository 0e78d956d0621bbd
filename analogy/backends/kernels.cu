// CUDA kernels of the search, of votes and of features. NVRTC compiles them at run time. Backend in contract.py defines
// their results. The algorithm is the same as in kernels.py: the same candidates in the same order, the same random
// numbers, and the same comparison.
//
// Layout. A group of blockDim.x threads, called lanes, works on each position of A. The number of lanes is a power of
// two, at most that of a warp, and the lanes are neighbours in their warp. A block covers a tile of blockDim.y x
// blockDim.z positions. One row of a patch is one contiguous run of numbers (channels last), which the lanes of a group
// read side by side. If the number of channels allows a lane to read four channels at once, UNIT is float4, and joined
// features are read as short4. Otherwise UNIT is float, and joined features are read as short. The parameter `units` is
// the number of units per position: the channels, or a quarter of them.
//
// Speed. For a patch with side P and C channels, a candidate takes P * P * C multiplications of 2 * P * P * C numbers
// of two bytes. That is one multiplication for 4 bytes. A GPU can compute far more per byte of memory, so reading
// limits the speed of a pass. A pass must read the joined features of A and of B at least once, which is 2 * C *
// (positions of A + positions of B) bytes. At 448 x 448 x 128 that is 103 MB, but four candidates of a 3 x 3 patch read
// 3.7 GB. The difference must come from the caches. The patches of a tile overlap, and so do the patches of their
// matches if the field is coherent. So with 3 x 3 patches, a block reads each position from memory about 3 times
// instead of 9 if its tile has 4 x 2 positions (32 lanes), and about 2 times if its tile has 8 x 4 positions (8 lanes).
// All candidates of a position compare the same patch of A, which stays in the L1 cache. A candidate that was tried
// already is skipped. A candidate is rejected as soon as the rows of its patch that have been read show that it cannot
// be accepted. For each row of a patch, a lane computes P * C / lanes products, and takes part in log2(lanes) shuffles
// for their sum.

// cuda_launch.py defines UNIT and WARP, and the constants that the Python code uses, too: ONE, HALF, ROUNDING, TINY,
// and the factors of the hash.

// Match in a field: row and column of a position of B.
struct alignas(8) Match {
  int y, x;
};

// Sizes of A and B in positions, and the number of units per position.
struct Sizes {
  int ha, wa, hb, wb, units;
};

// Frame of B: its first row, the row after its last, and its number of columns.
struct Frame {
  int first, end, columns;

  __device__ __forceinline__ bool contains(Match m) const {
    return m.y >= first && m.y < end && m.x >= 0 && m.x < columns;
  }
};

// Returns the frame that contains a row of B (hb rows, wb columns). Without frames B is one picture.
__device__ __forceinline__ Frame frame_of(const Frame* __restrict__ frames, int count, int row, int hb, int wb) {
  if (count == 0) return {0, hb, wb};
  int k = 0;
  while (k + 1 < count && row >= frames[k + 1].first) ++k;
  return frames[k];
}

// Lanes that work on one position of A.
struct Group {
  int y, x, lane, lanes;
  unsigned mask;  // a bit for each of these lanes at its place in the warp

  __device__ __forceinline__ Group() {
    y = blockIdx.y * blockDim.z + threadIdx.z;
    x = blockIdx.x * blockDim.y + threadIdx.y;
    lane = threadIdx.x;
    lanes = blockDim.x;
    const unsigned first = lanes * (threadIdx.y + blockDim.y * threadIdx.z) % WARP;
    mask = (0xffffffffu >> (WARP - lanes)) << first;
  }

  // Returns the sum of `value` over the lanes of the group. All lanes add the same pairs, so they get the same bits and
  // take the same branches.
  template <class Number>
  __device__ __forceinline__ Number sum(Number value) const {
    for (int step = lanes / 2; step > 0; step /= 2) value += __shfl_xor_sync(mask, value, step);
    return value;
  }
};

__device__ __forceinline__ float dot(float a, float b, float total) { return fmaf(a, b, total); }
__device__ __forceinline__ float dot(float4 a, float4 b, float total) {
  return fmaf(a.w, b.w, fmaf(a.z, b.z, fmaf(a.y, b.y, fmaf(a.x, b.x, total))));
}

__device__ __forceinline__ int dot(short a, short b, int total) { return total + a * b; }
__device__ __forceinline__ int dot(short4 a, short4 b, int total) {
  return total + a.x * b.x + a.y * b.y + a.z * b.z + a.w * b.w;
}

__device__ __forceinline__ float plus(float a, float b) { return a + b; }
__device__ __forceinline__ float4 plus(float4 a, float4 b) {
  return make_float4(a.x + b.x, a.y + b.y, a.z + b.z, a.w + b.w);
}

__device__ __forceinline__ float minus(float a, float b) { return a - b; }
__device__ __forceinline__ float4 minus(float4 a, float4 b) {
  return make_float4(a.x - b.x, a.y - b.y, a.z - b.z, a.w - b.w);
}

__device__ __forceinline__ float times(float a, float scale) { return a * scale; }
__device__ __forceinline__ float4 times(float4 a, float scale) {
  return make_float4(a.x * scale, a.y * scale, a.z * scale, a.w * scale);
}

// Returns a * scale, rounded to the nearest whole number. Where two whole numbers are equally near, the even one is
// taken.
__device__ __forceinline__ short rounded(float a, float scale) { return (short)rintf(a * scale); }
__device__ __forceinline__ short4 rounded(float4 a, float scale) {
  return {rounded(a.x, scale), rounded(a.y, scale), rounded(a.z, scale), rounded(a.w, scale)};
}

// Type in which joined features (int16) are read: short4 if UNIT is float4, short if it is float.
using Fixed = decltype(rounded(UNIT(), 0.0f));
constexpr float ONE_SQUARED = ONE * ONE;

// Returns a random number, the hash of four numbers: two rounds of multiplication and xor-shift mix their bits.
__device__ __forceinline__ unsigned hash32(unsigned seed, unsigned iteration, unsigned pixel, unsigned step) {
  unsigned h = seed * HASH_SEED ^ iteration * HASH_ITERATION ^ pixel * HASH_PIXEL ^ step * HASH_STEP;
  h ^= h >> 15;
  h *= HASH_FIRST_MIX;
  h ^= h >> 12;
  h *= HASH_SECOND_MIX;
  h ^= h >> 15;
  return h;
}

// Returns a hash scaled to a whole number from -radius to radius.
__device__ __forceinline__ int within(int radius, unsigned hash) {
  return (int)((unsigned long long)hash * (2u * radius + 1u) >> 32) - radius;
}

// Returns the distance between the patch around the group's position in A and the patch around `m` in B. Returns `best`
// as soon as the rows read so far show that the distance is not smaller than `best`.
__device__ __forceinline__ float patch_distance(const Group& g, const Fixed* __restrict__ a,
                                                const Fixed* __restrict__ b, const Sizes& s, const Frame& f, Match m,
                                                int patch_radius, float best, float max_product) {
  const int top = min(patch_radius, min(g.y, m.y - f.first));
  const int bottom = min(patch_radius, min(s.ha - 1 - g.y, f.end - 1 - m.y));
  const int left = min(patch_radius, min(g.x, m.x));
  const int right = min(patch_radius, min(s.wa - 1 - g.x, f.columns - 1 - m.x));
  const int width = left + right + 1;
  const int positions = width * (top + bottom + 1);
  float must_exceed = -best * ((float)positions * ONE_SQUARED);
  // With this margin, rounding errors never lead to the rejection of a better candidate.
  must_exceed -= ROUNDING * (fabsf(must_exceed) + fabsf(max_product * (float)positions));
  const Fixed* row_a = a + ((size_t)(g.y - top) * s.wa + g.x - left) * s.units;
  const Fixed* row_b = b + ((size_t)(m.y - top) * s.wb + m.x - left) * s.units;
  int total = 0;
  for (int remaining = positions - width; remaining >= 0; remaining -= width) {
    int part = 0;
    for (int i = g.lane; i < width * s.units; i += g.lanes) part = dot(row_a[i], row_b[i], part);
    total += g.sum(part);
    if ((float)total + max_product * (float)remaining <= must_exceed) return best;
    row_a += (size_t)s.wa * s.units;
    row_b += (size_t)s.wb * s.units;
  }
  return -(float)total / (float)positions / ONE_SQUARED;
}

// Returns true if the labels allow position `q` of B as the match of position `p` of A. Null pointers mean that there
// are no labels, and every match is allowed.
__device__ __forceinline__ bool allowed(const int* __restrict__ labels_a, const int* __restrict__ labels_b, size_t p,
                                        size_t q) {
  if (!labels_a) return true;
  const int one = labels_a[p], other = labels_b[q];
  return one == other || one < 0 || other < 0;
}

// Kernels of the search follow. Each has a second form, `.._twice`, that runs one pass of each of two independent
// searches in one launch, for instance of the search from A to B' and of the search from B' to A. blockIdx.z says which
// search a block works on. MAPS(k) declares the parameters for the features, the field and the frames of search k, and
// their sizes. FIELD(k) declares those for the distances of the field, for the labels, and for the new field and its
// distances. THESE_MAPS(k) and THIS_FIELD(k) pass these parameters to a function. Null pointers mean that there are no
// labels, no frames or no previous field.
#define MAPS(k)                                                                                                        \
  const Fixed *__restrict__ a##k, const Fixed *__restrict__ b##k, const Match *__restrict__ nnf##k,                    \
      const Frame *__restrict__ frames##k, int ha##k, int wa##k, int hb##k, int wb##k, int count##k
#define FIELD(k)                                                                                                       \
  const float *__restrict__ distance##k, const int *__restrict__ labels_a##k, const int *__restrict__ labels_b##k,     \
      Match *__restrict__ nnf_out##k, float *__restrict__ distance_out##k
#define THESE_MAPS(k) a##k, b##k, nnf##k, frames##k, {ha##k, wa##k, hb##k, wb##k, units}, count##k
#define THIS_FIELD(k) distance##k, labels_a##k, labels_b##k, nnf_out##k, distance_out##k

__device__ __forceinline__ void distance_pass(const Fixed* __restrict__ a, const Fixed* __restrict__ b,
                                              const Match* __restrict__ nnf, const Frame* __restrict__ frames,
                                              const Sizes& s, int count, float* __restrict__ out, int patch_radius) {
  const Group g;
  if (g.y >= s.ha || g.x >= s.wa) return;
  const float everything = 3.402823466e+38f;  // every distance is smaller than this
  const size_t p = (size_t)g.y * s.wa + g.x;
  const Frame frame = frame_of(frames, count, nnf[p].y, s.hb, s.wb);
  const float d = patch_distance(g, a, b, s, frame, nnf[p], patch_radius, everything, 0.0f);
  if (g.lane == 0) out[p] = d;
}

extern "C" __global__ void distance(MAPS(0), float* __restrict__ out0, int units, int patch_radius) {
  distance_pass(THESE_MAPS(0), out0, patch_radius);
}

extern "C" __global__ void distance_twice(MAPS(0), float* __restrict__ out0, MAPS(1), float* __restrict__ out1,
                                          int units, int patch_radius) {
  if (blockIdx.z == 0) {
    distance_pass(THESE_MAPS(0), out0, patch_radius);
  } else {
    distance_pass(THESE_MAPS(1), out1, patch_radius);
  }
}

__device__ __forceinline__ void propagate_pass(const Fixed* __restrict__ a, const Fixed* __restrict__ b,
                                               const Match* __restrict__ nnf, const Frame* __restrict__ frames,
                                               const Sizes& s, int count, const float* __restrict__ distance,
                                               const int* __restrict__ labels_a, const int* __restrict__ labels_b,
                                               Match* __restrict__ nnf_out, float* __restrict__ distance_out,
                                               const Match* __restrict__ previous_field, int patch_radius, int jump,
                                               float max_product) {
  const Group g;
  if (g.y >= s.ha || g.x >= s.wa) return;
  const size_t p = (size_t)g.y * s.wa + g.x;
  const Match start = nnf[p];
  Match best = start;
  float best_distance = distance[p];
  Match tried[4];
#pragma unroll
  for (int k = 0; k < 4; ++k) {
    const int oy = k == 0 ? -jump : k == 1 ? jump : 0;
    const int ox = k == 2 ? -jump : k == 3 ? jump : 0;
    const int y = g.y + oy, x = g.x + ox;
    tried[k] = start;
    if (y < 0 || y >= s.ha || x < 0 || x >= s.wa) continue;
    const size_t neighbour = (size_t)y * s.wa + x;
    const Match m = nnf[neighbour];
    if (previous_field && previous_field[neighbour].y == m.y && previous_field[neighbour].x == m.x) continue;
    const Match c = {m.y - oy, m.x - ox};
    const Frame frame = frame_of(frames, count, m.y, s.hb, s.wb);
    if (!frame.contains(c)) continue;
    // In a coherent field several neighbours give the same candidate, which is tried only once.
    bool known = c.y == start.y && c.x == start.x;
#pragma unroll
    for (int t = 0; t < k; ++t) known |= c.y == tried[t].y && c.x == tried[t].x;
    if (known || !allowed(labels_a, labels_b, p, (size_t)c.y * s.wb + c.x)) continue;
    tried[k] = c;
    const float d = patch_distance(g, a, b, s, frame, c, patch_radius, best_distance, max_product);
    if (d < best_distance) {
      best = c;
      best_distance = d;
    }
  }
  if (g.lane == 0) {
    nnf_out[p] = best;
    distance_out[p] = best_distance;
  }
}

extern "C" __global__ void propagate(MAPS(0), FIELD(0), const Match* __restrict__ previous_field0, int units,
                                     int patch_radius, int jump, float max_product) {
  propagate_pass(THESE_MAPS(0), THIS_FIELD(0), previous_field0, patch_radius, jump, max_product);
}

extern "C" __global__ void propagate_twice(MAPS(0), FIELD(0), const Match* __restrict__ previous_field0, MAPS(1),
                                           FIELD(1), const Match* __restrict__ previous_field1, int units,
                                           int patch_radius, int jump, float max_product) {
  if (blockIdx.z == 0) {
    propagate_pass(THESE_MAPS(0), THIS_FIELD(0), previous_field0, patch_radius, jump, max_product);
  } else {
    propagate_pass(THESE_MAPS(1), THIS_FIELD(1), previous_field1, patch_radius, jump, max_product);
  }
}

__device__ __forceinline__ void random_search_pass(const Fixed* __restrict__ a, const Fixed* __restrict__ b,
                                                   const Match* __restrict__ nnf, const Frame* __restrict__ frames,
                                                   const Sizes& s, int count, const float* __restrict__ distance,
                                                   const int* __restrict__ labels_a, const int* __restrict__ labels_b,
                                                   Match* __restrict__ nnf_out, float* __restrict__ distance_out,
                                                   int search_radius, int patch_radius, unsigned seed,
                                                   unsigned iteration, float max_product) {
  const Group g;
  if (g.y >= s.ha || g.x >= s.wa) return;
  const size_t p = (size_t)g.y * s.wa + g.x;
  Match best = nnf[p];
  float best_distance = distance[p];
  const Frame frame = frame_of(frames, count, best.y, s.hb, s.wb);  // the search stays in the frame of the match
  unsigned step = 0;
  for (int r = search_radius; r >= 1; r /= 2, step += 2) {
    const int oy = within(r, hash32(seed, iteration, p, step));
    const int ox = within(r, hash32(seed, iteration, p, step + 1));
    const Match c = {min(max(best.y + oy, frame.first), frame.end - 1), min(max(best.x + ox, 0), frame.columns - 1)};
    if (c.y == best.y && c.x == best.x) continue;
    if (!allowed(labels_a, labels_b, p, (size_t)c.y * s.wb + c.x)) continue;
    const float d = patch_distance(g, a, b, s, frame, c, patch_radius, best_distance, max_product);
    if (d < best_distance) {
      best = c;
      best_distance = d;
    }
  }
  if (g.lane == 0) {
    nnf_out[p] = best;
    distance_out[p] = best_distance;
  }
}

extern "C" __global__ void random_search(MAPS(0), FIELD(0), int search_radius0, int units, int patch_radius,
                                         unsigned seed, unsigned iteration, float max_product) {
  random_search_pass(THESE_MAPS(0), THIS_FIELD(0), search_radius0, patch_radius, seed, iteration, max_product);
}

extern "C" __global__ void random_search_twice(MAPS(0), FIELD(0), int search_radius0, MAPS(1), FIELD(1),
                                               int search_radius1, int units, int patch_radius, unsigned seed,
                                               unsigned iteration, float max_product) {
  if (blockIdx.z == 0) {
    random_search_pass(THESE_MAPS(0), THIS_FIELD(0), search_radius0, patch_radius, seed, iteration, max_product);
  } else {
    random_search_pass(THESE_MAPS(1), THIS_FIELD(1), search_radius1, patch_radius, seed, iteration, max_product);
  }
}

extern "C" __global__ void vote(const Match* __restrict__ nnf, const UNIT* __restrict__ b,
                                const Frame* __restrict__ frames, UNIT* __restrict__ out, int ha, int wa, int hb,
                                int wb, int units, int count, int patch_radius) {
  const Group g;
  if (g.y >= ha || g.x >= wa) return;
  UNIT* proposal = out + ((size_t)g.y * wa + g.x) * units;
  for (int i = g.lane; i < units; i += g.lanes) {
    UNIT total = {};
    int voters = 0;
    for (int oy = -min(patch_radius, g.y); oy <= min(patch_radius, ha - 1 - g.y); ++oy) {
      for (int ox = -min(patch_radius, g.x); ox <= min(patch_radius, wa - 1 - g.x); ++ox) {
        const Match m = nnf[(size_t)(g.y + oy) * wa + g.x + ox];
        const Match n = {m.y - oy, m.x - ox};
        if (!frame_of(frames, count, m.y, hb, wb).contains(n)) continue;
        total = plus(total, b[((size_t)n.y * wb + n.x) * units + i]);
        ++voters;
      }
    }
    proposal[i] = times(total, 1.0f / (float)voters);
  }
}

extern "C" __global__ void join(const UNIT* __restrict__ f, const UNIT* __restrict__ g, Fixed* __restrict__ out, int h,
                                int w, int units) {
  const Group group;
  if (group.y >= h || group.x >= w) return;
  const size_t p = (size_t)group.y * w + group.x;
  const UNIT *f_p = f + p * units, *g_p = g + p * units;
  float ff = 0.0f, gg = 0.0f;
  for (int i = group.lane; i < units; i += group.lanes) {
    ff = dot(f_p[i], f_p[i], ff);
    gg = dot(g_p[i], g_p[i], gg);
  }
  ff = group.sum(ff);
  gg = group.sum(gg);
  const float scale_f = ff > 0.0f ? ONE / sqrtf(ff) : 0.0f;
  const float scale_g = gg > 0.0f ? ONE / sqrtf(gg) : 0.0f;
  Fixed* joined = out + 2 * p * units;
  for (int i = group.lane; i < units; i += group.lanes) {
    joined[i] = rounded(f_p[i], scale_f);
    joined[units + i] = rounded(g_p[i], scale_g);
  }
}

// Writes the squared norm of the features of each position to `out`, and the bits of the smallest and of the largest
// squared norm to `extremes`. Squared norms are not negative, and the bits of such floats, read as whole numbers, have
// the order of the floats.
extern "C" __global__ void energy(const UNIT* __restrict__ f, float* __restrict__ out, unsigned* __restrict__ extremes,
                                  int h, int w, int units) {
  const Group g;
  if (g.y >= h || g.x >= w) return;
  const size_t p = (size_t)g.y * w + g.x;
  float square = 0.0f;
  for (int i = g.lane; i < units; i += g.lanes) square = dot(f[p * units + i], f[p * units + i], square);
  square = g.sum(square);
  if (g.lane != 0) return;
  out[p] = square;
  // Atomic operations are slow. Because of the comparisons below, most positions need none. Another thread may change
  // an extreme between a comparison and the atomic operation. The atomic operation compares again, so the result is
  // right.
  const volatile unsigned* so_far = extremes;
  const unsigned bits = __float_as_uint(square);
  if (bits < so_far[0]) atomicMin(extremes, bits);
  if (bits > so_far[1]) atomicMax(extremes + 1, bits);
}

extern "C" __global__ void blend(const UNIT* __restrict__ f, const UNIT* __restrict__ g,
                                 const float* __restrict__ energy, const unsigned* __restrict__ extremes,
                                 UNIT* __restrict__ out, int h, int w, int units, float alpha, float steepness,
                                 float threshold) {
  const Group group;
  if (group.y >= h || group.x >= w) return;
  const size_t p = (size_t)group.y * w + group.x;
  const float low = __uint_as_float(extremes[0]), high = __uint_as_float(extremes[1]);
  const float m = (energy[p] - low) / fmaxf(high - low, 1e-12f);
  const float weight = alpha / (1.0f + expf(-steepness * (m - threshold)));
  for (int i = group.lane; i < units; i += group.lanes) {
    out[p * units + i] = plus(times(minus(f[p * units + i], g[p * units + i]), weight), g[p * units + i]);
  }
}

// Sets `flag` to 1 if at least one of h * w values is infinite or not a number.
extern "C" __global__ void find_infinite(const float* __restrict__ values, int* __restrict__ flag, int h, int w) {
  const size_t size = (size_t)h * w, step = (size_t)gridDim.x * blockDim.x;
  bool found = false;
  for (size_t i = (size_t)blockIdx.x * blockDim.x + threadIdx.x; i < size; i += step) found |= !isfinite(values[i]);
  if (found) *flag = 1;
}

extern "C" __global__ void pixel_vectors(const float* __restrict__ pixels, short* __restrict__ out, int h, int w,
                                         int key) {
  const Group g;
  if (g.y >= h || g.x >= w) return;
  const size_t p = (size_t)g.y * w + g.x;
  const int sign = key ? 1 : -1;
  int length = 0;
  for (int k = 0; k < 3; ++k) {
    const int u = (int)rintf((pixels[3 * p + k] - 0.5f) * (2.0f * HALF));
    out[8 * p + k] = (short)(key ? u : 2 * u);
    length += u * u;
  }
  out[8 * p + (key ? 3 : 4)] = (short)sign;
  out[8 * p + (key ? 4 : 3)] = (short)(sign * length);
  for (int k = 5; k < 8; ++k) out[8 * p + k] = 0;
}

// Returns the row (or column) of the coarse position that contains row (or column) `i` of the fine map. Writes the
// signed distance from the centre of this position to `i`, in coarse positions, to `rest`.
__device__ __forceinline__ int coarse(int i, double scale, int size, double* rest) {
  const double p = (i + 0.5) / scale;
  const int c = min((int)floor(p), size - 1);
  *rest = p - c - 0.5;
  return c;
}

extern "C" __global__ void resample(const Match* __restrict__ nnf, Match* __restrict__ out, int h, int w, int ha,
                                    int wa, int hb, int wb, double scale_ay, double scale_ax, double scale_by,
                                    double scale_bx) {
  const Group g;
  if (g.y >= ha || g.x >= wa) return;
  double rest_y, rest_x;
  const int y = coarse(g.y, scale_ay, h, &rest_y), x = coarse(g.x, scale_ax, w, &rest_x);
  const Match m = nnf[(size_t)y * w + x];
  const int row = (int)floor((m.y + 0.5 + rest_y) * scale_by);
  const int column = (int)floor((m.x + 0.5 + rest_x) * scale_bx);
  out[(size_t)g.y * wa + g.x] = {min(max(row, 0), hb - 1), min(max(column, 0), wb - 1)};
}
