// Signals as something to wait for with poll(), in place of handlers.
#pragma once

#include <signal.h>

#include <optional>
#include <span>

#include "launcher/system/file_descriptor.h"

namespace molora {

class SignalQueue {
 public:
  // Blocks the signals for this thread and those that it starts from now on, until destruction.
  // Throws: IoError.
  explicit SignalQueue(std::span<const int> signals);
  ~SignalQueue();
  SignalQueue(const SignalQueue&) = delete;
  SignalQueue& operator=(const SignalQueue&) = delete;
  SignalQueue(SignalQueue&&) = delete;
  SignalQueue& operator=(SignalQueue&&) = delete;

  // Readable when next() has something.
  int descriptor() const { return descriptor_.get(); }
  // The next signal that has arrived; several of one kind may count as one.
  std::optional<int> next();
  // The mask of before, for children.
  const sigset_t& mask_before() const { return before_; }

 private:
  sigset_t before_{};
  FileDescriptor descriptor_;
};

}  // namespace molora
