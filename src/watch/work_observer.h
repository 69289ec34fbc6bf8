// Who wants to know, besides the black box, where a thread is and which collectives it is in: the
// recorder of a profile (profile/work_recorder.h). Without one nothing is noted.
#pragma once

#include <cstdint>
#include <string>

#include "watch/place.h"

namespace molora {

// Called by the thread that it observes, in pairs that nest.
class WorkObserver {
 public:
  virtual ~WorkObserver() = default;
  WorkObserver(const WorkObserver&) = delete;
  WorkObserver& operator=(const WorkObserver&) = delete;
  WorkObserver(WorkObserver&&) = delete;
  WorkObserver& operator=(WorkObserver&&) = delete;

  virtual void enter_place(const WorkPlace& place) = 0;
  virtual void leave_place() = 0;
  // `group`: of the communicator. An exchange that goes on beside other work is entered twice: to
  // start it and, as "wait for all_to_all" with no bytes, to wait for it.
  virtual void enter_collective(const std::string& group, const char* operation,
                                uint64_t bytes_sent) = 0;
  virtual void leave_collective() = 0;

 protected:
  WorkObserver() = default;
};

// That of this thread; nullptr: none.
WorkObserver* thread_observer();
void observe_thread(WorkObserver* observer);

// A collective that this thread is in, while it lives.
class CollectiveScope {
 public:
  CollectiveScope(const std::string& group, const char* operation, uint64_t bytes_sent);
  ~CollectiveScope();
  CollectiveScope(const CollectiveScope&) = delete;
  CollectiveScope& operator=(const CollectiveScope&) = delete;
  CollectiveScope(CollectiveScope&&) = delete;
  CollectiveScope& operator=(CollectiveScope&&) = delete;

 private:
  WorkObserver* observer_;
};

}  // namespace molora
