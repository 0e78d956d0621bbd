// This header runs the threads of a CUDA block on one CPU thread, as fibers, in an order that a seed can shuffle.
//
// A fiber runs until it ends, waits at __syncthreads, or takes part in a warp collective (a shuffle, a ballot,
// __syncwarp). Uses of these functions that CUDA leaves undefined are errors here: a mask that names lanes that have
// ended or wait elsewhere, a barrier that only some threads reach, and a shuffle from a lane outside the mask.
//
// Blocks run one after the other, so a race between blocks shows only as a result that depends on the seed.
#pragma once
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>

#ifndef __x86_64__
#error "the switch between fibers is written for x86-64"
#endif

struct uint3 {
  unsigned x, y, z;
};
typedef uint3 dim3;

// These variables are not static, so that the compiler reads them again after a fiber has waited: each fiber has a
// different threadIdx.
dim3 gridDim, blockDim;
uint3 blockIdx, threadIdx;

namespace simulator {

constexpr int warp_size = 32, max_threads = 1024;
constexpr size_t stack_bytes = 64 << 10;

enum class State { ready, at_barrier, at_collective, done };

struct Fiber {
  void* stack_pointer;
  uint3 thread;
  State state;
  unsigned mask;       // mask of the collective at which it waits
  int line;            // line of the kernel's source at which it waits
  uint64_t given;      // value that the lane gives to the collective
  uint64_t exchanged;  // copy of `given`, made when all lanes have arrived; afterwards `given` may change
};

static Fiber fibers[max_threads];
static int threads, current;
static void* scheduler_stack_pointer;
static char* stacks;
static void (*kernel_body)();
static char error[256];
static uint64_t random_state;  // 0 means the natural order
static uint64_t exchanges;     // number of values given to warp collectives in this launch

// Shared variables are in one section of the library, so that they can be filled with NaN before each block.
#define __shared__ static __attribute__((section("simulated_shared")))
extern "C" {
extern char __start_simulated_shared[] __attribute__((weak));
extern char __stop_simulated_shared[] __attribute__((weak));
}

// Saves the registers that a function must preserve, changes to the stack of the other fiber, and returns into it.
extern "C" void simulator_switch(void** save, void* to);
asm(R"(
.text
.hidden simulator_switch
.globl simulator_switch
.type simulator_switch, @function
simulator_switch:
  pushq %rbp
  pushq %rbx
  pushq %r12
  pushq %r13
  pushq %r14
  pushq %r15
  movq %rsp, (%rdi)
  movq %rsi, %rsp
  popq %r15
  popq %r14
  popq %r13
  popq %r12
  popq %rbx
  popq %rbp
  ret
.size simulator_switch, .-simulator_switch
)");

static void to_scheduler() { simulator_switch(&fibers[current].stack_pointer, scheduler_stack_pointer); }

static void resume(int thread) {
  current = thread;
  threadIdx = fibers[thread].thread;
  simulator_switch(&scheduler_stack_pointer, fibers[thread].stack_pointer);
}

static void fiber_main() {
  kernel_body();
  fibers[current].state = State::done;
  to_scheduler();
  abort();  // never reached, because the scheduler does not resume a fiber that has ended
}

static void prepare(int thread) {
  Fiber& fiber = fibers[thread];
  const unsigned t = thread;
  fiber.thread = {t % blockDim.x, t / blockDim.x % blockDim.y, t / (blockDim.x * blockDim.y)};
  fiber.state = State::ready;
  void** top = reinterpret_cast<void**>(stacks + (thread + 1) * stack_bytes);
  *--top = nullptr;  // return address of fiber_main, which never returns; it also aligns the stack for the ABI
  *--top = reinterpret_cast<void*>(fiber_main);
  for (int i = 0; i < 6; ++i) *--top = nullptr;  // the registers that simulator_switch restores
  fiber.stack_pointer = top;
}

static bool failure(const char* what, int line, int other_line = 0) {
  char lines[48];
  snprintf(lines, sizeof lines, other_line ? "lines %d and %d" : "line %d", line, other_line);
  snprintf(error, sizeof error, "%s (%s, block %u %u %u)", what, lines, blockIdx.x, blockIdx.y, blockIdx.z);
  return false;
}

// Records an error in the code that a fiber runs. The fiber does not run again, and the scheduler ends.
[[noreturn]] static void fail(const char* what, int line) {
  failure(what, line);
  fibers[current].state = State::done;
  to_scheduler();
  abort();
}

static void wait(State state, unsigned mask, int line) {
  fibers[current].state = state;
  fibers[current].mask = mask;
  fibers[current].line = line;
  to_scheduler();
}

static unsigned lane() { return current % warp_size; }

// Gives a value to the lanes of `mask`, and waits until all of them have given theirs.
template <class T>
static void exchange(T value, unsigned mask, int line) {
  ++exchanges;
  static_assert(sizeof(T) <= sizeof(uint64_t));
  if (!(mask >> lane() & 1)) fail("the calling lane is not in the mask", line);
  fibers[current].given = 0;
  memcpy(&fibers[current].given, &value, sizeof(T));
  wait(State::at_collective, mask, line);
}

template <class T>
static T shuffle(T value, unsigned mask, unsigned source, int line) {
  exchange(value, mask, line);
  if (source >= warp_size) return value;  // the lane's own value, as in shuffles up and down at the ends of a warp
  if (!(mask >> source & 1)) fail("a shuffle reads from a lane outside the mask", line);
  T result;
  memcpy(&result, &fibers[current - lane() + source].exchanged, sizeof(T));
  return result;
}

static unsigned ballot(bool predicate, unsigned mask, int line) {
  exchange<int>(predicate, mask, line);
  unsigned result = 0;
  for (unsigned l = 0; l < warp_size; ++l)
    if (mask >> l & 1) result |= unsigned(fibers[current - lane() + l].exchanged & 1) << l;
  return result;
}

static unsigned random_number() {
  if (!random_state) return 0;
  random_state = random_state * 6364136223846793005ull + 1442695040888963407ull;
  return unsigned(random_state >> 33);
}

// Runs every ready lane of a warp once. Returns the number of lanes that ran, or -1 after an error.
static int run_lanes(int first, int count) {
  const unsigned order = random_number(), start = order % warp_size, backwards = order >> 8 & 1;
  int ran = 0;
  for (unsigned i = 0; i < warp_size; ++i) {
    const int l = (start + (backwards ? warp_size - 1 - i : i)) % warp_size;
    if (l >= count || fibers[first + l].state != State::ready) continue;
    resume(first + l);
    if (error[0]) return -1;
    ++ran;
  }
  return ran;
}

// Makes the lanes of each complete collective ready to run. Returns their number, or -1 after an error.
static int release_collectives(int first, int count) {
  unsigned waiting = 0, ended = 0;
  for (int l = 0; l < count; ++l) {
    waiting |= unsigned(fibers[first + l].state == State::at_collective) << l;
    ended |= unsigned(fibers[first + l].state == State::done) << l;
  }
  if (count < warp_size) ended |= ~0u << count;
  int released = 0;
  for (int l = 0; l < count; ++l) {
    if (!(waiting >> l & 1)) continue;
    const Fiber& one = fibers[first + l];
    if (one.mask & ended) return failure("the mask of a warp collective names lanes that have ended", one.line), -1;
    if ((waiting & one.mask) != one.mask) continue;  // some lanes have not arrived yet
    for (int m = 0; m < count; ++m) {
      const Fiber& other = fibers[first + m];
      if (one.mask >> m & 1 && (other.mask != one.mask || other.line != one.line))
        return failure("lanes of one mask meet at different warp collectives", one.line, other.line), -1;
    }
    for (int m = 0; m < count; ++m) {
      if (!(one.mask >> m & 1)) continue;
      fibers[first + m].exchanged = fibers[first + m].given;
      fibers[first + m].state = State::ready;
      ++released;
    }
    waiting &= ~one.mask;
  }
  return released;
}

static bool run_warp(int first) {
  const int count = threads - first < warp_size ? threads - first : warp_size;
  for (;;) {
    const int ran = run_lanes(first, count);
    const int released = ran < 0 ? -1 : release_collectives(first, count);
    if (released < 0) return false;
    if (ran + released == 0) return true;
  }
}

static bool run_block() {
  if (!stacks) stacks = static_cast<char*>(aligned_alloc(4096, max_threads * stack_bytes));
  if (__start_simulated_shared)
    memset(__start_simulated_shared, 0xFF, __stop_simulated_shared - __start_simulated_shared);
  for (int t = 0; t < threads; ++t) prepare(t);
  const int warps = (threads + warp_size - 1) / warp_size;
  for (;;) {
    const int start = random_number() % warps;
    for (int w = 0; w < warps; ++w)
      if (!run_warp((start + w) % warps * warp_size)) return false;
    int done = 0, at_barrier = 0, line = 0;
    for (int t = 0; t < threads; ++t) {
      const Fiber& fiber = fibers[t];
      done += fiber.state == State::done;
      at_barrier += fiber.state == State::at_barrier;
      if (fiber.state == State::at_collective)
        return failure("a warp collective waits for lanes that never come", fiber.line);
      if (fiber.state == State::at_barrier && line && line != fiber.line)
        return failure("threads of a block meet at different barriers", line, fiber.line);
      if (fiber.state == State::at_barrier) line = fiber.line;
    }
    if (done == threads) return true;
    if (at_barrier < threads) return failure("a barrier waits for threads that have ended", line);
    for (int t = 0; t < threads; ++t) fibers[t].state = State::ready;
  }
}

// Runs `body` for every thread of the grid, or only of the block `only`. If `body` breaks a rule of CUDA, the function
// sets `error` and returns false.
static bool launch(void (*body)(), dim3 grid, dim3 block, uint64_t seed, const unsigned* only) {
  kernel_body = body, gridDim = grid, blockDim = block, random_state = seed, exchanges = 0, error[0] = 0;
  threads = block.x * block.y * block.z;
  if (only) {
    blockIdx = {only[0], only[1], only[2]};
    return run_block();
  }
  const size_t blocks = size_t(grid.x) * grid.y * grid.z, start = random_number() % blocks;
  for (size_t i = 0; i < blocks; ++i) {
    const size_t b = (start + (seed & 1 ? blocks - 1 - i : i)) % blocks;
    blockIdx = {unsigned(b % grid.x), unsigned(b / grid.x % grid.y), unsigned(b / grid.x / grid.y)};
    if (!run_block()) return false;
  }
  return true;
}

}  // namespace simulator
