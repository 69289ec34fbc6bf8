// Rules about several communicators on one device of a process: one thread at a time, and
// operations of two communicators in an order that streams or events give.
#pragma once

#include "communicator.h"

namespace molora::fake_nccl {

// Which communicators a process has on a device is known while these are registered.
void register_use(Communicator& communicator);
void unregister_use(Communicator& communicator);

// Before an operation goes onto `stream`: false, and a breach, when another communicator of the
// device has unfinished operations that `stream` does not come after.
bool note_use(Communicator& communicator, cudaStream_t stream);

// While it lives, the calling thread is inside a call on the communicator. Two threads inside one
// communicator, or inside two of one device, are a breach of the later.
class Inside {
 public:
  explicit Inside(Communicator& communicator);
  ~Inside();
  Inside(const Inside&) = delete;
  Inside& operator=(const Inside&) = delete;
  Inside(Inside&&) = delete;
  Inside& operator=(Inside&&) = delete;

  bool is_allowed() const { return is_allowed_; }

 private:
  Communicator& communicator_;
  bool is_first_ = false;  // of this thread: calls inside calls count once
  bool is_allowed_ = true;
};

}  // namespace molora::fake_nccl
