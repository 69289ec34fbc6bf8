// One rank's work on two threads: LibTorch runs the backward pass of GPU tensors on a thread of its
// own while the rank's thread waits for it. What that thread does is noted as the rank's.
#pragma once

namespace molora {

class BlackBox;
class WorkObserver;

// What a thread notes its work in (watch/black_box.h), who observes it (watch/work_observer.h), and
// the collective that it is to leave out (watch/fault_injection.h).
class ThreadTies {
 public:
  static ThreadTies of_this_thread();

 private:
  friend class TiedScope;
  BlackBox* box_ = nullptr;
  WorkObserver* observer_ = nullptr;
  bool* skip_ = nullptr;
};

// This thread works in the place of the one that the ties are of, while the scope lives. That
// thread must wait meanwhile.
class TiedScope {
 public:
  explicit TiedScope(const ThreadTies& ties);
  ~TiedScope();
  TiedScope(const TiedScope&) = delete;
  TiedScope& operator=(const TiedScope&) = delete;
  TiedScope(TiedScope&&) = delete;
  TiedScope& operator=(TiedScope&&) = delete;

 private:
  static void tie(const ThreadTies& ties);

  ThreadTies before_;
};

}  // namespace molora
