// The threads of one block on the host: fibers that meet where the kernel says so.
//
// One fiber runs at a time, until its thread has to wait for others. Between two meetings the
// threads run in an order drawn from a seed. What real hardware leaves undefined is refused by
// name: threads that miss a meeting of their block or warp, or come to different ones.
#pragma once

#include <ucontext.h>

#include <csetjmp>
#include <cstdint>
#include <functional>
#include <memory>
#include <stdexcept>
#include <string>
#include <vector>

namespace molora::testing {

// What a kernel did that no kernel may do.
class KernelFault : public std::runtime_error {
  using std::runtime_error::runtime_error;
};

// 0 ... count - 1 in an order that depends on the seed alone: ascending for 0, descending for 1.
std::vector<int64_t> shuffled_order(int64_t count, uint64_t seed);

class FiberBlock {
 public:
  static constexpr int kLanes = 32;

  explicit FiberBlock(int num_threads);
  FiberBlock(const FiberBlock&) = delete;
  FiberBlock& operator=(const FiberBlock&) = delete;

  // Runs thread_main(i) for each thread. Throws: KernelFault.
  void run(const std::function<void(int)>& thread_main, uint64_t seed);

  // The following are called by the running thread.
  int running() const { return running_; }
  void sync();
  // Returns what the lanes of this warp gave, by lane, once all have come. `what` names the
  // operation and its arguments: it is the same in all lanes.
  const uint64_t* exchange(uint64_t value, int64_t what);
  [[noreturn]] void fail(const std::string& message);

 private:
#if defined(__SANITIZE_ADDRESS__)
  using Place = ucontext_t;  // AddressSanitizer takes a jump for the end of all frames
#else
  using Place = jmp_buf;
#endif
  enum class State { kReady, kAtSync, kAtExchange, kDone };
  // Begins on a context of its own, once; after that it comes and goes by jumps, which, unlike
  // swapcontext(), do not call the kernel of the system.
  struct Fiber {
    std::unique_ptr<char[]> stack;
    Place place;
    bool has_begun = false;
    State state = State::kDone;
    int64_t what = 0;
    uint64_t given = 0;
    void* fake_stack = nullptr;  // AddressSanitizer's
  };

  static void enter();
  void begin_fiber(Fiber& fiber);
  void resume(int thread);
  void leave_fiber();
  bool run_ready(uint64_t seed);
  bool release_warps();
  bool release_block();
  bool all_in(State state, int begin, int end) const;
  [[noreturn]] void report_stuck() const;

  std::vector<Fiber> fibers_;
  std::vector<uint64_t> given_;  // by thread, as of the last exchange of its warp
  const std::function<void(int)>* thread_main_ = nullptr;
  Place scheduler_;
  void* scheduler_fake_stack_ = nullptr;
  const void* scheduler_stack_ = nullptr;
  size_t scheduler_stack_bytes_ = 0;
  int running_ = -1;
  std::string failure_;
};

// The calling thread's block of this size, made once: stacks are large.
FiberBlock& fibers_of_thread(int num_threads);

}  // namespace molora::testing
