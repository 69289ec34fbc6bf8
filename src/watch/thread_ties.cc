#include "watch/thread_ties.h"

#include "watch/black_box.h"
#include "watch/fault_injection.h"
#include "watch/work_observer.h"

namespace molora {

ThreadTies ThreadTies::of_this_thread() {
  ThreadTies ties;
  ties.box_ = thread_black_box();
  ties.observer_ = thread_observer();
  ties.skip_ = thread_skip();
  return ties;
}

void TiedScope::tie(const ThreadTies& ties) {
  bind_black_box(ties.box_);
  observe_thread(ties.observer_);
  bind_skip(ties.skip_);
}

TiedScope::TiedScope(const ThreadTies& ties) : before_(ThreadTies::of_this_thread()) { tie(ties); }

TiedScope::~TiedScope() { tie(before_); }

}  // namespace molora
