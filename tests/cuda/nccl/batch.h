// Operations of one communicator that go onto a stream together: one call, or its part of a group.
#pragma once

#include <memory>
#include <vector>

#include "communicator.h"
#include "failure_plan.h"
#include "operation.h"

namespace molora::fake_nccl {

struct Batch {
  std::shared_ptr<Communicator> communicator;
  std::vector<Operation> operations;  // all on one stream
  FailureKind failure = FailureKind::kNone;
};

// Puts the batch on its stream, now or (a nonblocking communicator) when the program has polled
// often enough: ncclInProgress. Fills the destinations with NaN where no work that is under way can
// still read them; the stream fills them again when it comes to the batch.
ncclResult_t launch(Batch batch);

}  // namespace molora::fake_nccl
