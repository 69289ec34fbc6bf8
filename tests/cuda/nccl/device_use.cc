#include "device_use.h"

#include <unistd.h>

#include <mutex>
#include <set>

#include <fmt/format.h>

#include "fake_cuda.h"
#include "report.h"

namespace molora::fake_nccl {

namespace {

struct Uses {
  std::mutex mutex;
  std::set<Communicator*> communicators;
};

Uses& uses() {
  static Uses& once = *new Uses;
  return once;
}

}  // namespace

void register_use(Communicator& communicator) {
  const std::lock_guard lock(uses().mutex);
  uses().communicators.insert(&communicator);
}

void unregister_use(Communicator& communicator) {
  const std::lock_guard lock(uses().mutex);
  uses().communicators.erase(&communicator);
}

bool note_use(Communicator& communicator, cudaStream_t stream) {
  std::string other_name;
  {
    const std::lock_guard lock(uses().mutex);
    for (Communicator* other : uses().communicators) {
      const bool is_rival = other != &communicator && other->device() == communicator.device() &&
                            !other->is_aborted() && other->has_unfinished();
      if (is_rival &&
          fake_cuda_is_ordered(stream, other->latest_stream, other->latest_position) == 0) {
        other_name = other->name();
      }
    }
  }
  if (other_name.empty()) return true;
  communicator.breach(
      communicator.rank(), "unordered",
      fmt::format(
          "{} goes onto a stream while comm {} of the same device has unfinished operations "
          "on another; expected one stream for both, or an event that orders them",
          current_call(), other_name));
  return false;
}

Inside::Inside(Communicator& communicator) : communicator_(communicator) {
  const int me = gettid();
  std::string what;
  {
    const std::lock_guard lock(uses().mutex);
    int nobody = 0;
    if (communicator.thread_inside.compare_exchange_strong(nobody, me)) {
      is_first_ = true;
    } else if (nobody != me) {
      what = fmt::format("{} is called while another thread is inside this communicator",
                         current_call());
    }
    for (Communicator* other : uses().communicators) {
      const int inside = other->thread_inside.load();
      if (other == &communicator || other->device() != communicator.device() || inside == 0 ||
          inside == me || !what.empty()) {
        continue;
      }
      what = fmt::format("{} is called while another thread is inside comm {} of the same device",
                         current_call(), other->name());
    }
  }
  if (!what.empty()) {
    is_allowed_ = false;
    communicator.breach(communicator.rank(), "threads", what);
  }
  if (is_first_) communicator.dawdle();  // so that threads that may meet do meet
}

Inside::~Inside() {
  if (is_first_) communicator_.thread_inside.store(0);
}

}  // namespace molora::fake_nccl
