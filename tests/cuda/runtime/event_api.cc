// cudaEvent*.
#include <cuda_runtime_api.h>
#include <fmt/format.h>

#include "api_call.h"
#include "event.h"
#include "report.h"
#include "stream_table.h"

namespace molora::fake_cuda {

namespace {

template <typename Body>
cudaError_t on_event(const char* name, cudaEvent_t handle, Body&& body) {
  return call(name, [&] {
    Event event;
    if (events().find(handle, event)) return body(event);
    report("dead-event", fmt::format("{} on an event that was destroyed or never made", name));
    return cudaErrorInvalidResourceHandle;
  });
}

cudaError_t create(cudaEvent_t* out, unsigned flags) {
  constexpr unsigned kKnown = cudaEventBlockingSync | cudaEventDisableTiming;
  if ((flags & cudaEventInterprocess) != 0) stop("events between processes are not supported");
  if (out == nullptr || (flags & ~kKnown) != 0) return cudaErrorInvalidValue;
  *out = events().create(current_device(), (flags & cudaEventDisableTiming) == 0);
  return cudaSuccess;
}

cudaError_t record(const Event& event, cudaEvent_t handle, cudaStream_t stream_handle) {
  const auto stream = streams().find(stream_handle, current_device());
  if (!stream) {
    report("dead-stream", "cudaEventRecord on a stream that was destroyed or never made");
    return cudaErrorInvalidResourceHandle;
  }
  if (stream->device() != event.device) {
    report("event-device", fmt::format("cudaEventRecord of an event of device {} on a stream of "
                                       "device {}",
                                       event.device, stream->device()));
    return cudaErrorInvalidResourceHandle;
  }
  auto mark = std::make_shared<Mark>();
  streams().submit(*stream, [mark] { mark->set(); });
  mark->set_order(stream->order());
  events().set_latest(handle, mark);
  return cudaSuccess;
}

}  // namespace

extern "C" {

cudaError_t cudaEventCreate(cudaEvent_t* event) {
  return call("cudaEventCreate", [&] { return create(event, cudaEventDefault); });
}

cudaError_t cudaEventCreateWithFlags(cudaEvent_t* event, unsigned int flags) {
  return call("cudaEventCreateWithFlags", [&] { return create(event, flags); });
}

cudaError_t cudaEventDestroy(cudaEvent_t event) {
  return on_event("cudaEventDestroy", event, [&](const Event&) {
    events().destroy(event);
    return cudaSuccess;
  });
}

cudaError_t cudaEventRecord(cudaEvent_t event, cudaStream_t stream) {
  return on_event("cudaEventRecord", event,
                  [&](const Event& known) { return record(known, event, stream); });
}

cudaError_t cudaEventQuery(cudaEvent_t event) {
  return on_event("cudaEventQuery", event, [](const Event& known) {
    return !known.latest || known.latest->is_set() ? cudaSuccess : cudaErrorNotReady;
  });
}

cudaError_t cudaEventSynchronize(cudaEvent_t event) {
  const cudaError_t error = on_event("cudaEventSynchronize", event, [](const Event& known) {
    if (known.latest) known.latest->wait();
    return cudaSuccess;
  });
  return error == cudaSuccess ? latest_error_that_stays() : error;
}

cudaError_t cudaEventElapsedTime(float* ms, cudaEvent_t start, cudaEvent_t end) {
  return on_event("cudaEventElapsedTime", start, [&](const Event& first) {
    Event second;
    if (ms == nullptr) return cudaErrorInvalidValue;
    if (!events().find(end, second) || !first.latest || !second.latest || !first.has_timing ||
        !second.has_timing) {
      return cudaErrorInvalidResourceHandle;
    }
    if (!first.latest->is_set() || !second.latest->is_set()) return cudaErrorNotReady;
    const auto between = second.latest->set_at() - first.latest->set_at();
    *ms = std::chrono::duration<float, std::milli>(between).count();
    return cudaSuccess;
  });
}

}  // extern "C"

}  // namespace molora::fake_cuda
