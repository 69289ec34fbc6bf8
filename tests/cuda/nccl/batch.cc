#include "batch.h"

#include <array>
#include <cstring>
#include <utility>

#include <fmt/format.h>

#include "collective.h"
#include "device_use.h"
#include "fake_cuda.h"
#include "peer_transfer.h"

namespace molora::fake_nccl {

namespace {

void fill_with_nan(const Batch& batch) {
  const Communicator& communicator = *batch.communicator;
  for (const Operation& operation : batch.operations) {
    for (const Span& part : parts_to_fill(operation, communicator.rank(), communicator.size())) {
      std::memset(part.begin, 0xff, part.bytes);
    }
  }
}

// Whether the buffers are still what they were when the call was made: memory may be freed in
// between by a stream (cudaFreeAsync).
bool buffers_are_alive(const Batch& batch) {
  Communicator& communicator = *batch.communicator;
  std::array<char, 512> why{};
  for (const Operation& operation : batch.operations) {
    const size_t send = send_bytes(operation, communicator.rank(), communicator.size());
    const size_t recv = recv_bytes(operation, communicator.rank(), communicator.size());
    const bool is_bad =
        (send > 0 && fake_cuda_check_device_memory(operation.send, send, communicator.device(),
                                                   why.data(), why.size()) != 0) ||
        (recv > 0 && fake_cuda_check_device_memory(operation.recv, recv, communicator.device(),
                                                   why.data(), why.size()) != 0);
    if (!is_bad) continue;
    communicator.breach(
        communicator.rank(), "buffer",
        fmt::format("{}, when the stream comes to it: {}", text_of(operation), why.data()));
    return false;
  }
  return true;
}

void fail_as_planned(Batch& batch) {
  Communicator& communicator = *batch.communicator;
  if (batch.failure == FailureKind::kAsync) {
    communicator.fail_here(ncclSystemError, "fails as FAKE_NCCL_FAIL plans (async)");
  } else if (batch.failure == FailureKind::kRemote) {
    communicator.fail_here(ncclRemoteError, "fails as FAKE_NCCL_FAIL plans (remote)");
  }
  communicator.stay_until_aborted();
}

bool carry_out(Batch& batch) {
  Communicator& communicator = *batch.communicator;
  std::vector<Operation> between_peers;
  for (const Operation& operation : batch.operations) {
    if (is_between_peers(operation.kind)) {
      between_peers.push_back(operation);
    } else if (!run_collective(communicator, operation)) {
      return false;
    }
  }
  return run_peer_transfers(communicator, between_peers);
}

void run(Batch& batch, uint64_t ticket) {
  Communicator& communicator = *batch.communicator;
  if (communicator.start_operation(ticket)) {
    communicator.dawdle();
    if (batch.failure == FailureKind::kNone) {
      const bool may_go_on = communicator.error() == ncclSuccess && buffers_are_alive(batch);
      if (may_go_on) fill_with_nan(batch);
      if (!may_go_on || !carry_out(batch)) communicator.stay_until_aborted();
    } else {
      fail_as_planned(batch);
    }
  }
  communicator.finish_operation();
}

struct Task {
  Batch batch;
  uint64_t ticket = 0;
};

ncclResult_t enqueue(Batch batch) {
  const std::shared_ptr<Communicator> communicator = batch.communicator;
  if (communicator->error() != ncclSuccess) return communicator->error();
  const cudaStream_t stream = batch.operations.front().stream;
  if (!note_use(*communicator, stream)) return ncclInvalidUsage;
  if (fake_cuda_device_is_idle(communicator->device()) != 0 &&
      batch.failure == FailureKind::kNone) {
    fill_with_nan(batch);
  }
  auto* task = new Task{std::move(batch), communicator->issue()};
  const auto run_task = [](void* context) {
    const std::unique_ptr<Task> mine(static_cast<Task*>(context));
    run(mine->batch, mine->ticket);
  };
  const uint64_t position = fake_cuda_enqueue(stream, run_task, task);
  if (position == 0) {
    delete task;
    communicator->finish_operation();
    return communicator->breach(communicator->rank(), "stream-device",
                                "the stream was destroyed before the operation got onto it");
  }
  communicator->latest_stream = stream;
  communicator->latest_position = position;
  return ncclSuccess;
}

}  // namespace

ncclResult_t launch(Batch batch) {
  Communicator& communicator = *batch.communicator;
  if (batch.failure == FailureKind::kInProgressForever && !communicator.is_blocking()) {
    communicator.progress().stay_for_ever();
    return ncclInProgress;
  }
  if (communicator.is_blocking() || communicator.random() % 2 == 0)
    return enqueue(std::move(batch));
  const int polls = static_cast<int>(communicator.random() % 3);
  auto waiting = std::make_shared<Batch>(std::move(batch));
  communicator.progress().begin(polls, [waiting] { return enqueue(std::move(*waiting)); });
  return ncclInProgress;
}

}  // namespace molora::fake_nccl
