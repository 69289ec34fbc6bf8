#include "cuda/emulator/fiber_block.h"

#include <algorithm>
#include <cstdlib>
#include <map>
#include <numeric>
#include <utility>

#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/asan_interface.h>
#include <sanitizer/common_interface_defs.h>
#endif

namespace molora::testing {

namespace {

constexpr size_t kStackBytes = size_t{128} << 10;

// The block whose fibers run on this thread of the host: makecontext() passes no pointers.
thread_local FiberBlock* entering = nullptr;

// AddressSanitizer follows one stack at a time and is told of every change.
void before_switch([[maybe_unused]] void** fake_stack, [[maybe_unused]] const void* stack,
                   [[maybe_unused]] size_t bytes) {
#if defined(__SANITIZE_ADDRESS__)
  __sanitizer_start_switch_fiber(fake_stack, stack, bytes);
#endif
}
void after_switch([[maybe_unused]] void* fake_stack, [[maybe_unused]] const void** from_stack,
                  [[maybe_unused]] size_t* from_bytes) {
#if defined(__SANITIZE_ADDRESS__)
  __sanitizer_finish_switch_fiber(fake_stack, from_stack, from_bytes);
#endif
}
// A stack that is used anew may have marks of frames that were never left.
void clean_stack([[maybe_unused]] char* stack) {
#if defined(__SANITIZE_ADDRESS__)
  ASAN_UNPOISON_MEMORY_REGION(stack, kStackBytes);
#endif
}

uint64_t next_random(uint64_t& state) {  // splitmix64
  uint64_t z = (state += 0x9e3779b97f4a7c15);
  z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9;
  z = (z ^ (z >> 27)) * 0x94d049bb133111eb;
  return z ^ (z >> 31);
}

}  // namespace

std::vector<int64_t> shuffled_order(int64_t count, uint64_t seed) {
  std::vector<int64_t> order(static_cast<size_t>(count));
  std::iota(order.begin(), order.end(), 0);
  if (seed == 1) std::reverse(order.begin(), order.end());
  if (seed < 2) return order;
  uint64_t state = seed;
  for (size_t i = order.size(); i > 1; --i) std::swap(order[i - 1], order[next_random(state) % i]);
  return order;
}

FiberBlock::FiberBlock(int num_threads)
    : fibers_(static_cast<size_t>(num_threads)), given_(static_cast<size_t>(num_threads)) {
  // Not initialized: most of a stack is never touched.
  for (Fiber& fiber : fibers_) fiber.stack.reset(new char[kStackBytes]);
}

void FiberBlock::run(const std::function<void(int)>& thread_main, uint64_t seed) {
  thread_main_ = &thread_main;
  failure_.clear();
  for (Fiber& fiber : fibers_) {
    // One that a fault has left in the middle is of no more use.
    fiber.has_begun = fiber.has_begun && fiber.state == State::kDone;
    fiber.state = State::kReady;
  }
  uint64_t round = 0;
  while (!all_in(State::kDone, 0, static_cast<int>(fibers_.size()))) {
    // A seed above 1 gives every stretch between two meetings another order.
    if (run_ready(seed < 2 ? seed : seed + 1000 * round++)) continue;
    if (release_warps()) continue;
    if (!release_block()) report_stuck();
  }
}

void FiberBlock::begin_fiber(Fiber& fiber) {
  fiber.has_begun = true;
  fiber.fake_stack = nullptr;
  clean_stack(fiber.stack.get());
  ucontext_t begin;
  getcontext(&begin);
  begin.uc_stack.ss_sp = fiber.stack.get();
  begin.uc_stack.ss_size = kStackBytes;
  begin.uc_link = nullptr;
  makecontext(&begin, &FiberBlock::enter, 0);
#if defined(__SANITIZE_ADDRESS__)
  swapcontext(&scheduler_, &begin);
#else
  if (_setjmp(scheduler_) == 0) setcontext(&begin);
#endif
}

// Runs one thread after the other, each of another block.
void FiberBlock::enter() {
  FiberBlock& block = *entering;
  after_switch(nullptr, &block.scheduler_stack_, &block.scheduler_stack_bytes_);
  for (;;) {
    const int thread = block.running_;
    (*block.thread_main_)(thread);
    block.fibers_[static_cast<size_t>(thread)].state = State::kDone;
    block.leave_fiber();
  }
}

void FiberBlock::resume(int thread) {
  Fiber& fiber = fibers_[static_cast<size_t>(thread)];
  running_ = thread;
  entering = this;
  before_switch(&scheduler_fake_stack_, fiber.stack.get(), kStackBytes);
  if (!fiber.has_begun) {
    begin_fiber(fiber);
  } else {
#if defined(__SANITIZE_ADDRESS__)
    swapcontext(&scheduler_, &fiber.place);
#else
    if (_setjmp(scheduler_) == 0) _longjmp(fiber.place, 1);
#endif
  }
  after_switch(scheduler_fake_stack_, nullptr, nullptr);
  running_ = -1;
}

void FiberBlock::leave_fiber() {
  Fiber& fiber = fibers_[static_cast<size_t>(running_)];
  before_switch(&fiber.fake_stack, scheduler_stack_, scheduler_stack_bytes_);
#if defined(__SANITIZE_ADDRESS__)
  swapcontext(&fiber.place, &scheduler_);
#else
  if (_setjmp(fiber.place) == 0) _longjmp(scheduler_, 1);
#endif
  after_switch(fiber.fake_stack, &scheduler_stack_, &scheduler_stack_bytes_);
}

bool FiberBlock::run_ready(uint64_t seed) {
  bool has_run = false;
  for (const int64_t thread : shuffled_order(static_cast<int64_t>(fibers_.size()), seed)) {
    if (fibers_[static_cast<size_t>(thread)].state != State::kReady) continue;
    resume(static_cast<int>(thread));
    if (!failure_.empty()) throw KernelFault(failure_);
    has_run = true;
  }
  return has_run;
}

bool FiberBlock::all_in(State state, int begin, int end) const {
  return std::all_of(fibers_.begin() + begin, fibers_.begin() + end,
                     [state](const Fiber& fiber) { return fiber.state == state; });
}

bool FiberBlock::release_warps() {
  const int num_threads = static_cast<int>(fibers_.size());
  bool has_released = false;
  for (int begin = 0; begin < num_threads; begin += kLanes) {
    const int end = std::min(begin + kLanes, num_threads);
    if (!all_in(State::kAtExchange, begin, end)) continue;
    for (int i = begin; i < end; ++i) {
      Fiber& fiber = fibers_[static_cast<size_t>(i)];
      if (fiber.what != fibers_[static_cast<size_t>(begin)].what) {
        throw KernelFault("lanes " + std::to_string(begin) + " and " + std::to_string(i) +
                          " exchange different things");
      }
      given_[static_cast<size_t>(i)] = fiber.given;
      fiber.state = State::kReady;
    }
    has_released = true;
  }
  return has_released;
}

bool FiberBlock::release_block() {
  if (!all_in(State::kAtSync, 0, static_cast<int>(fibers_.size()))) return false;
  for (Fiber& fiber : fibers_) fiber.state = State::kReady;
  return true;
}

void FiberBlock::report_stuck() const {
  std::string message = "threads wait for one another and never meet:";
  const char* const names[] = {"ready", "at sync", "at a warp's exchange", "done"};
  for (size_t i = 0; i < fibers_.size(); ++i) {
    const State state = fibers_[i].state;
    if (i > 0 && fibers_[i - 1].state == state) continue;
    message += " from " + std::to_string(i) + " on " + names[static_cast<int>(state)] + ";";
  }
  throw KernelFault(message);
}

void FiberBlock::sync() {
  fibers_[static_cast<size_t>(running_)].state = State::kAtSync;
  leave_fiber();
}

const uint64_t* FiberBlock::exchange(uint64_t value, int64_t what) {
  Fiber& fiber = fibers_[static_cast<size_t>(running_)];
  const int warp_begin = running_ - running_ % kLanes;
  fiber.state = State::kAtExchange;
  fiber.given = value;
  fiber.what = what;
  leave_fiber();
  return given_.data() + warp_begin;
}

void FiberBlock::fail(const std::string& message) {
  failure_ = "thread " + std::to_string(running_) + ": " + message;
  leave_fiber();
  std::abort();  // the block is over
}

FiberBlock& fibers_of_thread(int num_threads) {
  static thread_local std::map<int, FiberBlock> blocks;
  return blocks.try_emplace(num_threads, num_threads).first->second;
}

}  // namespace molora::testing
