// CUDA kernels of multigrid, with the same algorithm as kernels.py in this folder. Backend in contract.py defines their
// results; the comment before Backend.coarsen there defines the matrix A, and Backend.coarsen the interpolation P. This
// file is compiled together with ../kernels.cu, which comes first, and uses its Group.
//
// Speed. On large grids, the bandwidth of the memory limits all kernels except `relax` and `factor`. In `relax`, one
// thread solves one line (a row or a column), from its beginning to its end and back. A half-sweep solves every second
// row or every second column, and must end before the next half-sweep begins. A thread reads the numbers for several
// steps of a line at once, so that it waits for the memory only once for all these steps. On large grids each
// half-sweep is a separate launch. On small grids, one block has a thread for each line of a half-sweep, and a launch
// takes longer than solving the short lines. So all four half-sweeps are one launch with one block per channel, and
// __syncthreads separates them.

constexpr int AHEAD = 8;  // number of steps of a line for which `relax` reads the numbers at once

// Quadratic form on a grid: pointers to its planes of h x w numbers. The last two planes exist only if `nine` is true.
struct Form {
  const float *mass, *right, *down, *falling, *rising;
  int h, w, nine;

  __device__ __forceinline__ Form(const float* planes, int h, int w, int nine) : h(h), w(w), nine(nine) {
    const size_t size = (size_t)h * w;
    mass = planes;
    right = mass + size;
    down = right + size;
    falling = down + size;
    rising = falling + size;
  }

  // Returns the sum of a position's mass and all its couplings.
  __device__ __forceinline__ float diagonal(int y, int x) const {
    const size_t t = (size_t)y * w + x;
    float total = mass[t] + right[t] + down[t];
    if (x > 0) total += right[t - 1];
    if (y > 0) total += down[t - w];
    if (!nine) return total;
    total += falling[t];
    if (x > 0 && y > 0) total += falling[t - w - 1];
    if (y > 0) total += rising[t - w];
    if (x > 0) total += rising[t - 1];
    return total;
  }

  // Returns the sum of coupling * (value - base) over the neighbours of a position: those in the same row if `in_row`,
  // those in the same column if `in_column`, and the diagonal ones if NINE.
  template <bool NINE>
  __device__ __forceinline__ float neighbours(const float* u, int y, int x, float base, bool in_row,
                                              bool in_column) const {
    const size_t t = (size_t)y * w + x;
    const bool left = x > 0, more = x < w - 1, above = y > 0, below = y < h - 1;
    float total = 0.0f;
    if (in_row && more) total += right[t] * (u[t + 1] - base);
    if (in_row && left) total += right[t - 1] * (u[t - 1] - base);
    if (in_column && above) total += down[t - w] * (u[t - w] - base);
    if (in_column && below) total += down[t] * (u[t + w] - base);
    if (!NINE) return total;
    if (left && above) total += falling[t - w - 1] * (u[t - w - 1] - base);
    if (more && above) total += rising[t - w] * (u[t - w + 1] - base);
    if (more && below) total += falling[t] * (u[t + w + 1] - base);
    if (left && below) total += rising[t - 1] * (u[t + w - 1] - base);
    return total;
  }

  // Returns the weights of two coarse positions in the interpolation of the position between them. The first coarse
  // position is (i, j). The second is its right neighbour on the coarse grid if `along`, and otherwise its lower one.
  __device__ __forceinline__ float2 halves(int i, int j, bool along) const {
    const size_t t = (size_t)2 * i * w + 2 * j;
    float one = along ? right[t] : down[t], other = along ? right[t + 1] : down[t + w];
    if (nine) {
      one += rising[t];
      other += falling[along ? t + 1 : t + w];
      if (along ? i > 0 : j > 0) {
        one += falling[along ? t - w : t - 1];
        other += rising[along ? t - w + 1 : t + w - 1];
      }
    }
    one = fmaxf(one, TINY);
    other = fmaxf(other, TINY);
    return {one / (one + other), other / (one + other)};
  }
};

// Square whose corners are four neighbouring coarse positions. nw, ne, sw and se (north is at the top) are the weights
// of the corners in the interpolation of the centre. The other numbers are the couplings that the cell adds between its
// corners, along its sides and its diagonals.
struct Cell {
  float nw, ne, sw, se;
  float top = 0.0f, low = 0.0f, left = 0.0f, right = 0.0f, fall = 0.0f, rise = 0.0f;

  // Adds the contribution of a coupling k between two fine positions to the couplings of the cell. a, b, c and d belong
  // to the corners nw, ne, sw and se: each is the weight of the corner in the interpolation of one of the two positions
  // minus its weight in that of the other.
  __device__ __forceinline__ void add(float k, float a, float b, float c, float d) {
    top -= k * a * b;
    low -= k * c * d;
    left -= k * a * c;
    right -= k * b * d;
    fall -= k * a * d;
    rise -= k * b * c;
  }

  __device__ __forceinline__ Cell(const Form& form, int i, int j) {
    const int w = form.w;
    const size_t t = (size_t)2 * i * w + 2 * j;
    const float west = form.right[t + w], east = form.right[t + w + 1];
    const float north = form.down[t + 1], south = form.down[t + w + 1];
    const float2 above = form.halves(i, j, true), below = form.halves(i + 1, j, true);
    const float2 before = form.halves(i, j, false), after = form.halves(i, j + 1, false);
    nw = north * above.x + west * before.x;
    ne = north * above.y + east * after.x;
    sw = south * below.x + west * before.y;
    se = south * below.y + east * after.y;
    if (form.nine) {
      nw += form.falling[t];
      ne += form.rising[t + 1];
      sw += form.rising[t + w];
      se += form.falling[t + w + 1];
    }
    nw = fmaxf(nw, TINY);
    ne = fmaxf(ne, TINY);
    sw = fmaxf(sw, TINY);
    se = fmaxf(se, TINY);
    const float total = nw + ne + sw + se;
    nw /= total;
    ne /= total;
    sw /= total;
    se /= total;
    add(north, above.x - nw, above.y - ne, -sw, -se);
    add(south, -nw, -ne, below.x - sw, below.y - se);
    add(west, before.x - nw, -ne, before.y - sw, -se);
    add(east, -nw, after.x - ne, -sw, after.y - se);
    if (!form.nine) return;
    add(form.falling[t], 1.0f - nw, -ne, -sw, -se);
    add(form.rising[t + 1], -nw, 1.0f - ne, -sw, -se);
    add(form.rising[t + w], -nw, -ne, 1.0f - sw, -se);
    add(form.falling[t + w + 1], -nw, -ne, -sw, 1.0f - se);
    add(form.rising[t], above.x - before.x, above.y, -before.y, 0.0f);
    add(form.falling[t + 1], above.x, above.y - after.x, 0.0f, -after.y);
    add(form.falling[t + w], before.x, 0.0f, before.y - below.x, -below.y);
    add(form.rising[t + w + 1], 0.0f, after.x, -below.x, after.y - below.y);
  }
};

// Row of one channel. The constructor's first argument is the row's number among the rows of all channels.
struct Row {
  int y;
  size_t begin;  // index of the first number of the channel

  __device__ __forceinline__ Row(int row, int h, int w) : y(row % h), begin((size_t)(row / h) * h * w) {}
};

// Writes f - A u at one position of one channel to `out`. `f`, `u` and `out` point to the beginning of the channel. If
// `f` is null, f counts as zero.
__device__ __forceinline__ void residual_at(const Form& form, const float* __restrict__ f, const float* __restrict__ u,
                                            float* __restrict__ out, int y, int x) {
  const size_t p = (size_t)y * form.w + x;
  const float around = form.nine ? form.neighbours<true>(u, y, x, u[p], true, true)
                                 : form.neighbours<false>(u, y, x, u[p], true, true);
  const float value = around - form.mass[p] * u[p];
  out[p] = f ? f[p] + value : value;
}

extern "C" __global__ void residual(const float* __restrict__ planes, const float* __restrict__ f,
                                    const float* __restrict__ u, float* __restrict__ out, int h, int w, int nine) {
  const Group g;
  if (g.y >= 3 * h || g.x >= w) return;
  const Row row(g.y, h, w);
  residual_at(Form(planes, h, w, nine), f ? f + row.begin : f, u + row.begin, out + row.begin, row.y, g.x);
}

// Couplings to the two neighbouring lines that count when a line is solved: none, the straight ones, or the straight
// and the diagonal ones.
enum Beside { NOTHING, STRAIGHT, DIAGONAL };

// Row or column of one channel that relaxation solves.
struct Line {
  const Form& form;
  const float *couplings, *inverses, *f;
  float* u;
  int line, count, step;
  bool row;
  size_t begin;

  __device__ __forceinline__ Line(const Form& form, const float* inverses, const float* f, float* u, int line, bool row)
      : form(form), couplings(row ? form.right : form.down),
        inverses(inverses + (row ? 0 : (size_t)form.h * form.w)), f(f), u(u), line(line), count(row ? form.w : form.h),
        step(row ? 1 : form.w), row(row), begin(row ? (size_t)line * form.w : line) {}

  __device__ __forceinline__ size_t at(int i) const { return begin + (size_t)i * step; }

  // Does N steps of the elimination, at positions i to i + N - 1. `value` and `factor` are the results at position
  // i - 1, and become those at position i + N - 1.
  template <Beside BESIDE, int N>
  __device__ __forceinline__ void eliminate(int i, float& value, float& factor) const {
    float known[N], factors[N];
#pragma unroll
    for (int k = 0; k < N; ++k) {
      const int y = row ? line : i + k, x = row ? i + k : line;
      known[k] = f[at(i + k)];
      if (BESIDE != NOTHING) known[k] += form.neighbours<BESIDE == DIAGONAL>(u, y, x, 0.0f, !row, row);
      factors[k] = couplings[at(i + k)] * inverses[at(i + k)];
    }
#pragma unroll
    for (int k = 0; k < N; ++k) {
      u[at(i + k)] = value = known[k] + factor * value;
      factor = factors[k];
    }
  }

  // Does N steps of the back substitution, at positions i down to i - N + 1. `value` is the result at position i + 1,
  // and becomes that at position i - N + 1.
  template <int N>
  __device__ __forceinline__ void substitute(int i, float& value) const {
    float known[N], factors[N], shares[N];
#pragma unroll
    for (int k = 0; k < N; ++k) {
      known[k] = u[at(i - k)];
      factors[k] = couplings[at(i - k)];
      shares[k] = inverses[at(i - k)];
    }
#pragma unroll
    for (int k = 0; k < N; ++k) u[at(i - k)] = value = (known[k] + factors[k] * value) * shares[k];
  }

  template <Beside BESIDE>
  __device__ __forceinline__ void solve() const {
    float value = 0.0f, factor = 0.0f;
    int i = 0;
    for (; i + AHEAD <= count; i += AHEAD) eliminate<BESIDE, AHEAD>(i, value, factor);
    for (; i < count; ++i) eliminate<BESIDE, 1>(i, value, factor);
    value = 0.0f;
    for (i = count - 1; i >= AHEAD - 1; i -= AHEAD) substitute<AHEAD>(i, value);
    for (; i >= 0; --i) substitute<1>(i, value);
  }
};

// Solves one line of one channel in a half-sweep of a relaxation. Half-sweeps 0 to 3 solve the even rows, the odd rows,
// the even columns and the odd columns. With `zero`, the values in `u` are ignored and count as zero.
__device__ __forceinline__ void relax_line(const Form& form, const float* inverses, const float* f, float* u, int index,
                                           int half_sweep, bool zero) {
  const bool row = half_sweep < 2;
  const int line = 2 * index + half_sweep % 2;
  if (line >= (row ? form.h : form.w)) return;
  const Line own(form, inverses, f, u, line, row);
  if (zero)
    own.solve<NOTHING>();
  else if (form.nine)
    own.solve<DIAGONAL>();
  else
    own.solve<STRAIGHT>();
}

// Does `count` of the four half-sweeps of a relaxation, from number `first` on. The order is: even rows, odd rows, even
// columns, odd columns. With `after` the order is reversed. If `count` is more than 1, one block must have a thread for
// each line of a half-sweep.
extern "C" __global__ void relax(const float* __restrict__ planes, const float* __restrict__ inverses,
                                 const float* __restrict__ f, float* __restrict__ u, int h, int w, int nine, int after,
                                 int first, int count) {
  const Form form(planes, h, w, nine);
  const size_t channel = (size_t)blockIdx.y * h * w;
  for (int k = first; k < first + count; ++k) {
    relax_line(form, inverses, f + channel, u + channel, blockIdx.x * blockDim.x + threadIdx.x, after ? 3 - k : k,
               !after && k == 0);
    __syncthreads();
  }
}

extern "C" __global__ void factor(const float* __restrict__ planes, float* __restrict__ out, int h, int w, int nine) {
  const Form form(planes, h, w, nine);
  const int line = blockIdx.x * blockDim.x + threadIdx.x;
  if (line >= h + w) return;
  const bool row = line < h;
  const float* couplings = row ? form.right : form.down;
  float* inverses = row ? out : out + (size_t)h * w;
  float lost = 0.0f;
  for (int i = 0; i < (row ? w : h); ++i) {
    const int y = row ? line : i, x = row ? i : line - h;
    const size_t t = (size_t)y * w + x;
    const float inverse = 1.0f / (form.diagonal(y, x) - lost);
    inverses[t] = inverse;
    lost = couplings[t] * (couplings[t] * inverse);
  }
}

extern "C" __global__ void coarsen(const float* __restrict__ planes, float* __restrict__ weights,
                                   float* __restrict__ out, int h, int w, int nine, int hc, int wc) {
  const Group g;
  if (g.y >= hc || g.x >= wc) return;
  const Form form(planes, h, w, nine);
  const int rows = h / 2, columns = w / 2, i = g.y, j = g.x;  // `rows` and `columns` count cells
  const size_t size = (size_t)hc * wc, o = (size_t)i * wc + j, t = (size_t)2 * i * w + 2 * j;
  for (int plane = 0; plane < 8; ++plane) weights[plane * size + o] = 0.0f;
  float right = 0.0f, down = 0.0f, fall = 0.0f, rise = 0.0f;
  if (i <= rows && j < columns) {
    const float2 half = form.halves(i, j, true);
    weights[o] = half.x;
    weights[size + o] = half.y;
    right += form.right[t] * half.y * half.y + form.right[t + 1] * half.x * half.x;
  }
  if (i < rows && j <= columns) {
    const float2 half = form.halves(i, j, false);
    weights[2 * size + o] = half.x;
    weights[3 * size + o] = half.y;
    down += form.down[t] * half.y * half.y + form.down[t + w] * half.x * half.x;
  }
  // The loop visits three cells: the cell above the cell (i, j), the cell to its left, and the cell (i, j) itself. The
  // first two share a side with it. The pragma prevents unrolling, since three copies of the code would take more
  // registers than a block may have.
#pragma unroll 1
  for (int k = 0; k < 3; ++k) {
    const int row = i - (k == 0), column = j - (k == 1);
    if (row < 0 || column < 0 || row >= rows || column >= columns) continue;
    const Cell cell(form, row, column);
    if (k == 0) {
      right += cell.low;
    } else if (k == 1) {
      down += cell.right;
    } else {
      weights[4 * size + o] = cell.nw;
      weights[5 * size + o] = cell.ne;
      weights[6 * size + o] = cell.sw;
      weights[7 * size + o] = cell.se;
      right += cell.top;
      down += cell.left;
      fall = cell.fall;
      rise = cell.rise;
    }
  }
  out[size + o] = right;
  out[2 * size + o] = down;
  out[3 * size + o] = fall;
  out[4 * size + o] = rise;
}

// Returns P^T r at one position of the coarse grid; `r` is one channel. Returns `outside` in a row or column that was
// added to make a side odd.
__device__ __forceinline__ float restricted(const float* __restrict__ weights, const float* __restrict__ r, int i, int j,
                                            int h, int w, int hc, int wc, float outside) {
  const int rows = h / 2, columns = w / 2;
  if (i > rows || j > columns) return outside;
  const size_t m = (size_t)hc * wc, p = (size_t)i * wc + j;
  const float* at = r + (size_t)2 * i * w + 2 * j;
  float total = at[0];
  if (j < columns) total += weights[p] * at[1];
  if (j > 0) total += weights[m + p - 1] * at[-1];
  if (i < rows) {
    total += weights[2 * m + p] * at[w];
    if (j < columns) total += weights[4 * m + p] * at[w + 1];
    if (j > 0) total += weights[5 * m + p - 1] * at[w - 1];
  }
  if (i > 0) {
    total += weights[3 * m + p - wc] * at[-w];
    if (j < columns) total += weights[6 * m + p - wc] * at[1 - w];
    if (j > 0) total += weights[7 * m + p - wc - 1] * at[-1 - w];
  }
  return total;
}

extern "C" __global__ void restriction(const float* __restrict__ weights, const float* __restrict__ r,
                                     float* __restrict__ out, int channels, int h, int w, int hc, int wc,
                                     float outside) {
  const Group g;
  if (g.y >= channels * hc || g.x >= wc) return;
  const float* channel = r + (size_t)(g.y / hc) * h * w;
  out[(size_t)g.y * wc + g.x] = restricted(weights, channel, g.y % hc, g.x, h, w, hc, wc, outside);
}

// Returns P c at one position of the fine grid; `c` is one channel.
__device__ __forceinline__ float prolonged(const float* __restrict__ weights, const float* __restrict__ c, int y, int x,
                                           int hc, int wc) {
  const size_t m = (size_t)hc * wc, p = (size_t)(y / 2) * wc + x / 2;
  const float* at = c + p;
  const bool odd_row = y % 2, odd_column = x % 2;
  if (odd_row && odd_column) {
    return weights[4 * m + p] * at[0] + weights[5 * m + p] * at[1] +
           (weights[6 * m + p] * at[wc] + weights[7 * m + p] * at[wc + 1]);
  }
  if (odd_row) return weights[2 * m + p] * at[0] + weights[3 * m + p] * at[wc];
  if (odd_column) return weights[p] * at[0] + weights[m + p] * at[1];
  return at[0];
}

extern "C" __global__ void prolongation(const float* __restrict__ weights, const float* __restrict__ c,
                                   float* __restrict__ u, int hc, int wc, int h, int w) {
  const Group g;
  if (g.y >= 3 * h || g.x >= w) return;
  const Row row(g.y, h, w);
  u[(size_t)g.y * w + g.x] += prolonged(weights, c + (size_t)(g.y / h) * hc * wc, row.y, g.x, hc, wc);
}

// Entry of the table of `small_steps`: the kind of a step and its arguments. `SmallSteps` in cuda_steps.py writes the
// table.
struct Step {
  int kind, h, w, hc, wc, nine, after, unused;
  const float *first, *second, *third;  // arrays to read, in the order of the kernel's parameters
  float* out;
};
enum { RELAX, RESIDUAL, RESTRICTION, PROLONGATION };

// Does `count` steps one after the other, with one block per channel. The grids must be so small that a block has a
// thread for each line of a half-sweep. A separate launch of a step on such a grid would take longer than the step
// itself.
extern "C" __global__ void small_steps(const long long* __restrict__ table, int count) {
  const int channel = blockIdx.y;
  for (int k = 0; k < count; ++k) {
    const Step s = reinterpret_cast<const Step*>(table)[k];
    const size_t fine = (size_t)channel * s.h * s.w, coarse = (size_t)channel * s.hc * s.wc;
    if (s.kind == RELAX) {
      const Form form(s.first, s.h, s.w, s.nine);
      for (int half_sweep = 0; half_sweep < 4; ++half_sweep) {
        relax_line(form, s.second, s.third + fine, s.out + fine, threadIdx.x, s.after ? 3 - half_sweep : half_sweep,
                   !s.after && half_sweep == 0);
        __syncthreads();
      }
    } else if (s.kind == RESIDUAL) {
      const Form form(s.first, s.h, s.w, s.nine);
      for (int p = threadIdx.x; p < s.h * s.w; p += blockDim.x)
        residual_at(form, s.second ? s.second + fine : s.second, s.third + fine, s.out + fine, p / s.w, p % s.w);
    } else if (s.kind == RESTRICTION) {
      for (int p = threadIdx.x; p < s.hc * s.wc; p += blockDim.x)
        s.out[coarse + p] = restricted(s.first, s.second + fine, p / s.wc, p % s.wc, s.h, s.w, s.hc, s.wc, 0.0f);
    } else {
      for (int p = threadIdx.x; p < s.h * s.w; p += blockDim.x)
        s.out[fine + p] += prolonged(s.first, s.second + coarse, p / s.w, p % s.w, s.hc, s.wc);
    }
    __syncthreads();
  }
}

extern "C" __global__ void combine(const float* __restrict__ x, float* __restrict__ y, int h, int w, float a, float b) {
  const Group g;
  if (g.y >= h || g.x >= w) return;
  const size_t p = (size_t)g.y * w + g.x;
  y[p] = a * x[p] + b * y[p];
}
