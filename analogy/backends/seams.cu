// CUDA kernels of gradient-domain painting, with the same algorithm as seam_kernels.py. Backend in contract.py defines
// their results. This file is compiled together with kernels.cu, which comes first, and uses its Group, Match and
// Frame.
//
// Speed. The bandwidth of the memory limits all kernels except `solve_columns`. In `solve_columns` one thread goes down
// a column and up again, and waits for the memory at each row. The threads of all columns wait at the same time, so the
// kernel takes well below a millisecond.

extern "C" __global__ void gradient(const float* __restrict__ pixels, float* __restrict__ out, int h, int w) {
  const Group g;
  if (g.y >= h || g.x >= w) return;
  const float* above = pixels + 3 * (size_t)w * max(g.y - 1, 0);
  const float* row = pixels + 3 * (size_t)w * g.y;
  const float* below = pixels + 3 * (size_t)w * min(g.y + 1, h - 1);
  const int left = 3 * max(g.x - 1, 0), here = 3 * g.x, right = 3 * min(g.x + 1, w - 1);
  float total = 0.0f;
  for (int k = 0; k < 3; ++k) {
    const float nw = above[left + k], ne = above[right + k], sw = below[left + k], se = below[right + k];
    const float across = ne - nw + 2.0f * (row[right + k] - row[left + k]) + se - sw;
    const float down = sw - nw + 2.0f * (below[here + k] - above[here + k]) + se - ne;
    total += across * across + down * down;
  }
  out[(size_t)g.y * w + g.x] = total * (1.0f / 64);
}

extern "C" __global__ void widest(const float* __restrict__ values, float* __restrict__ out, int h, int w) {
  const Group g;
  if (g.y >= h || g.x >= w) return;
  float most = values[(size_t)g.y * w + g.x];
  for (int y = max(g.y - 1, 0); y < min(g.y + 2, h); ++y)
    for (int x = max(g.x - 1, 0); x < min(g.x + 2, w); ++x) most = fmaxf(most, values[(size_t)y * w + x]);
  out[(size_t)g.y * w + g.x] = most;
}

// Returns true if all patches that vote for a position, for the position to its right and for the position below it
// have the same offset.
__device__ __forceinline__ bool coherent(const Match* nnf, int y, int x, int ha, int wa, int patch_radius) {
  const Match m = nnf[(size_t)y * wa + x];
  for (int v = max(y - patch_radius, 0); v <= min(y + 1 + patch_radius, ha - 1); ++v) {
    for (int u = max(x - patch_radius, 0); u <= min(x + 1 + patch_radius, wa - 1); ++u) {
      const Match n = nnf[(size_t)v * wa + u];
      if (n.y - v != m.y - y || n.x - u != m.x - x) return false;
    }
  }
  return true;
}

extern "C" __global__ void seams(const Match* __restrict__ nnf, const float* __restrict__ b,
                                 const float* __restrict__ picture, const Frame* __restrict__ frames,
                                 float* __restrict__ out, int ha, int wa, int hb, int wb, int count,
                                 int patch_radius) {
  const Group g;
  if (g.y >= ha || g.x >= wa) return;
  const size_t p = (size_t)g.y * wa + g.x;
  float difference[2][3] = {}, square[2] = {};
  if (!coherent(nnf, g.y, g.x, ha, wa, patch_radius)) {
    int voters = 0;
    for (int oy = -min(patch_radius, g.y); oy <= min(patch_radius, ha - 1 - g.y); ++oy) {
      for (int ox = -min(patch_radius, g.x); ox <= min(patch_radius, wa - 1 - g.x); ++ox) {
        const Match m = nnf[(size_t)(g.y + oy) * wa + g.x + ox];
        const Frame frame = frame_of(frames, count, m.y, hb, wb);
        const int y = m.y - oy, x = m.x - ox;
        if (!frame.contains({y, x})) continue;
        ++voters;
        const float* here = b + 3 * ((size_t)y * wb + x);
        const float* right = x < frame.columns - 1 ? here + 3 : here;
        const float* below = y < frame.end - 1 ? here + 3 * (size_t)wb : here;
        for (int k = 0; k < 3; ++k) {
          difference[0][k] += right[k] - here[k];
          difference[1][k] += below[k] - here[k];
        }
      }
    }
    const float scale = 1.0f / (float)voters;
    const size_t steps[2] = {g.x < wa - 1 ? 3 : (size_t)0, g.y < ha - 1 ? 3 * (size_t)wa : (size_t)0};
    for (int axis = 0; axis < 2; ++axis) {
      for (int k = 0; k < 3; ++k) {
        const float own = picture[3 * p + steps[axis] + k] - picture[3 * p + k];
        float& d = difference[axis][k];
        d = steps[axis] ? d * scale - own : 0.0f;
        square[axis] += d * d;
      }
    }
  }
  for (int k = 0; k < 3; ++k) {
    out[8 * p + k] = difference[0][k];
    out[8 * p + 3 + k] = difference[1][k];
  }
  out[8 * p + 6] = square[0];
  out[8 * p + 7] = square[1];
}

// The two positions between which position `i` lies after its row is scaled from `n` to `size` positions, and the
// weight (0 to 1) of the second position in a linear interpolation.
struct Coarse {
  int before, next;
  float share;

  __device__ __forceinline__ Coarse(int i, int n, int size) {
    const float p = fminf(fmaxf(((float)i + 0.5f) * (float)size / (float)n - 0.5f, 0.0f), (float)(size - 1));
    before = (int)p;
    next = min(before + 1, size - 1);
    share = p - (float)before;
  }
};

// Returns true if several labels occur among (y, x), the next position along `axis` (0 right, 1 down), and the
// positions that touch one of these two along a side or at a corner.
__device__ __forceinline__ bool meet(const int* labels, int y, int x, int axis, int h, int w) {
  const int own = labels[(size_t)y * w + x];
  for (int v = max(y - 1, 0); v <= min(y + axis + 1, h - 1); ++v)
    for (int u = max(x - 1, 0); u <= min(x + 2 - axis, w - 1); ++u)
      if (labels[(size_t)v * w + u] != own) return true;
  return false;
}

// Returns a factor that falls from 1 to 0 as `square` grows, and is 1/2 at the threshold. Both arguments are squared
// lengths.
__device__ __forceinline__ float weak(float square, float threshold) {
  const float fourth = square * square, limit = threshold * threshold;
  return limit / (fourth + limit);
}

extern "C" __global__ void keep_edges(const float* __restrict__ steepness, const int* __restrict__ labels, float* seams,
                                      int hs, int ws, int h, int w, float edge, float jump) {
  const Group g;
  if (g.y >= h || g.x >= w) return;
  float* own = seams + 8 * ((size_t)g.y * w + g.x);
  if (own[6] == 0.0f && own[7] == 0.0f) return;
  const Coarse r(g.y, h, hs), c(g.x, w, ws);
  const float *top = steepness + (size_t)r.before * ws, *low = steepness + (size_t)r.next * ws;
  const float above = top[c.before] * (1.0f - c.share) + top[c.next] * c.share;
  const float below = low[c.before] * (1.0f - c.share) + low[c.next] * c.share;
  const float smooth = weak(above * (1.0f - r.share) + below * r.share, edge);
  for (int axis = 0; axis < 2; ++axis) {
    float most = 0.0f;  // no thread of this kernel writes channels 6 and 7, so they can be read here
    for (int y = max(g.y - 1, 0); y < min(g.y + 2, h); ++y)
      for (int x = max(g.x - 1, 0); x < min(g.x + 2, w); ++x)
        most = fmaxf(most, seams[8 * ((size_t)y * w + x) + 6 + axis]);
    float share = fminf(smooth, weak(most, jump));
    if (labels && meet(labels, g.y, g.x, axis, h, w)) share = 0.0f;
    for (int k = 0; k < 3; ++k) own[3 * axis + k] *= share;
  }
}

extern "C" __global__ void divergence(const float* __restrict__ seams, float* __restrict__ out, int h, int w) {
  const Group g;
  if (g.y >= h || g.x >= w) return;
  const size_t p = (size_t)g.y * w + g.x;
  for (int k = 0; k < 3; ++k) {
    float total = seams[8 * p + k] + seams[8 * p + 3 + k];
    if (g.x > 0) total -= seams[8 * (p - 1) + k];
    if (g.y > 0) total -= seams[8 * (p - w) + 3 + k];
    out[3 * p + k] = total;
  }
}

extern "C" __global__ void solve_columns(const float* __restrict__ shifts, float* __restrict__ f,
                                         float* __restrict__ excess, int h, int w) {
  const int x = blockIdx.x * blockDim.x + threadIdx.x;
  if (x >= w) return;
  const float shift = shifts[x];
  // The pivot of a row is 1 + excess, a sum of positive numbers, so no digits cancel.
  float over = shift, value = f[x];
  excess[x] = over;
  for (int y = 1; y < h; ++y) {
    const size_t t = (size_t)y * w + x;
    const float inverse = 1.0f / (1.0f + over);
    over = shift + over * inverse;
    value = f[t] + value * inverse;
    excess[t] = over;
    f[t] = value;
  }
  value /= over;  // the last row has one neighbour, so its pivot is the excess without the 1
  f[(size_t)(h - 1) * w + x] = value;
  for (int y = h - 2; y >= 0; --y) {
    const size_t t = (size_t)y * w + x;
    value = (f[t] + value) / (1.0f + excess[t]);
    f[t] = value;
  }
}

extern "C" __global__ void correct(const float* __restrict__ picture, const float* __restrict__ correction,
                                   const int* __restrict__ columns, float* __restrict__ out, int h, int w) {
  const Group g;
  if (g.y >= h || g.x >= w) return;
  const size_t p = 3 * ((size_t)g.y * w + g.x), q = 3 * ((size_t)g.y * w + columns[g.x]);
  for (int k = 0; k < 3; ++k) {
    const float value = picture[p + k], change = correction[q + k];
    const float ahead = change > 0.0f ? 1.0f - value : value, size = fabsf(change);
    const float room = fmaxf(fminf(ahead, 2.0f * fminf(value, 1.0f - value)), 0.0f);
    float step = 0.0f;
    if (size > 0.0f) {
      const float ratio = fminf(room, size) / fmaxf(room, size), square = ratio * ratio;
      step = fminf(room, size) / sqrtf(sqrtf(1.0f + square * square));
    }
    out[p + k] = change > 0.0f ? value + step : value - step;
  }
}
