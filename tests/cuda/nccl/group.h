// ncclGroupStart and ncclGroupEnd: what a thread calls in between is kept and goes off together.
#pragma once

#include <functional>
#include <memory>
#include <vector>

#include <nccl.h>

#include "batch.h"

namespace molora::fake_nccl {

class Group {
 public:
  // Of the calling thread.
  static Group& current();
  // A thread that ends inside a group is reported.
  ~Group();

  bool is_open() const { return depth_ > 0; }
  bool holds(const Communicator& communicator) const;
  void start() { ++depth_; }
  // Launches all when the outermost group ends; nothing when a call of the group has failed.
  ncclResult_t end();

  // REQUIRES: is_open().
  void add(const std::shared_ptr<Communicator>& communicator, const Operation& operation,
           FailureKind failure);
  // A start or end of a communicator, which waits for others: run beside its like.
  void add(std::function<ncclResult_t()> job) { jobs_.push_back(std::move(job)); }
  void fail(ncclResult_t error);

 private:
  ncclResult_t run_jobs();

  int depth_ = 0;
  ncclResult_t error_ = ncclSuccess;
  std::vector<Batch> batches_;
  std::vector<std::function<ncclResult_t()>> jobs_;
};

}  // namespace molora::fake_nccl
