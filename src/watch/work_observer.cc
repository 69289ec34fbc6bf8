#include "watch/work_observer.h"

namespace molora {

namespace {

thread_local WorkObserver* observer = nullptr;

}  // namespace

WorkObserver* thread_observer() { return observer; }

void observe_thread(WorkObserver* next) { observer = next; }

CollectiveScope::CollectiveScope(const std::string& group, const char* operation,
                                 uint64_t bytes_sent)
    : observer_(thread_observer()) {
  if (observer_ != nullptr) observer_->enter_collective(group, operation, bytes_sent);
}

CollectiveScope::~CollectiveScope() {
  if (observer_ != nullptr && observer_ == thread_observer()) observer_->leave_collective();
}

}  // namespace molora
