// cudaStream*: streams, and waits for them and for devices.
#include <cuda_runtime_api.h>
#include <fmt/format.h>

#include "api_call.h"
#include "event.h"
#include "report.h"
#include "stream_table.h"

namespace molora::fake_cuda {

namespace {

cudaError_t not_a_stream(const char* call) {
  report("dead-stream", fmt::format("{} on a stream that was destroyed or never made", call));
  return cudaErrorInvalidResourceHandle;
}

template <typename Body>
cudaError_t on_stream(const char* name, cudaStream_t handle, Body&& body) {
  return call(name, [&] {
    const auto stream = streams().find(handle, current_device());
    return stream ? body(*stream) : not_a_stream(name);
  });
}

cudaError_t create(cudaStream_t* out, unsigned flags, int priority) {
  if (out == nullptr || (flags & ~unsigned{cudaStreamNonBlocking}) != 0) {
    return cudaErrorInvalidValue;
  }
  const auto with =
      flags == cudaStreamNonBlocking ? Stream::With::kNotDefault : Stream::With::kDefault;
  *out = streams().create(current_device(), with, priority);
  return cudaSuccess;
}

}  // namespace

extern "C" {

cudaError_t cudaStreamCreate(cudaStream_t* stream) {
  return call("cudaStreamCreate", [&] { return create(stream, cudaStreamDefault, 0); });
}

cudaError_t cudaStreamCreateWithFlags(cudaStream_t* stream, unsigned int flags) {
  return call("cudaStreamCreateWithFlags", [&] { return create(stream, flags, 0); });
}

cudaError_t cudaStreamCreateWithPriority(cudaStream_t* stream, unsigned int flags, int priority) {
  return call("cudaStreamCreateWithPriority", [&] { return create(stream, flags, priority); });
}

cudaError_t cudaStreamDestroy(cudaStream_t stream) {
  return call("cudaStreamDestroy", [&] {
    return streams().destroy(stream) ? cudaSuccess : not_a_stream("cudaStreamDestroy");
  });
}

cudaError_t cudaStreamQuery(cudaStream_t stream) {
  return on_stream("cudaStreamQuery", stream,
                   [](Stream& s) { return s.is_idle() ? cudaSuccess : cudaErrorNotReady; });
}

cudaError_t cudaStreamSynchronize(cudaStream_t stream) {
  const cudaError_t error = on_stream("cudaStreamSynchronize", stream, [](Stream& s) {
    s.wait(s.end());
    return cudaSuccess;
  });
  return error == cudaSuccess ? latest_error_that_stays() : error;
}

cudaError_t cudaStreamWaitEvent(cudaStream_t stream, cudaEvent_t event, unsigned int flags) {
  return on_stream("cudaStreamWaitEvent", stream, [&](Stream& s) {
    Event known;
    if (!events().find(event, known)) {
      report("dead-event", "cudaStreamWaitEvent for an event that was destroyed or never made");
      return cudaErrorInvalidResourceHandle;
    }
    if (flags != cudaEventWaitDefault) stop("cudaStreamWaitEvent: flags are not supported");
    if (!known.latest) return cudaSuccess;
    s.comes_after(known.latest->order());
    if (!known.latest->is_set()) streams().submit(s, [mark = known.latest] { mark->wait(); });
    return cudaSuccess;
  });
}

cudaError_t cudaStreamGetFlags(cudaStream_t stream, unsigned int* flags) {
  return on_stream("cudaStreamGetFlags", stream, [&](const Stream& s) {
    *flags = s.keeps_order_with_default() ? cudaStreamDefault : cudaStreamNonBlocking;
    return cudaSuccess;
  });
}

cudaError_t cudaStreamGetPriority(cudaStream_t stream, int* priority) {
  return on_stream("cudaStreamGetPriority", stream, [&](const Stream& s) {
    *priority = s.priority();
    return cudaSuccess;
  });
}

cudaError_t cudaStreamGetDevice(cudaStream_t stream, int* device) {
  return on_stream("cudaStreamGetDevice", stream, [&](const Stream& s) {
    *device = s.device();
    return cudaSuccess;
  });
}

cudaError_t cudaStreamGetId(cudaStream_t stream, unsigned long long* id) {
  return on_stream("cudaStreamGetId", stream, [&](const Stream& s) {
    *id = s.number();
    return cudaSuccess;
  });
}

cudaError_t cudaLaunchHostFunc(cudaStream_t stream, cudaHostFn_t run, void* context) {
  return on_stream("cudaLaunchHostFunc", stream, [&](Stream& s) {
    if (run == nullptr) return cudaErrorInvalidValue;
    streams().submit(s, [run, context] {
      const InHostFunction in_host_function;
      run(context);
    });
    return cudaSuccess;
  });
}

// Graphs are not supported, so no stream is ever captured.
cudaError_t cudaStreamIsCapturing(cudaStream_t stream, enum cudaStreamCaptureStatus* status) {
  return on_stream("cudaStreamIsCapturing", stream, [&](const Stream&) {
    *status = cudaStreamCaptureStatusNone;
    return cudaSuccess;
  });
}

cudaError_t cudaThreadExchangeStreamCaptureMode(enum cudaStreamCaptureMode* mode) {
  return call("cudaThreadExchangeStreamCaptureMode", [&] {
    thread_local cudaStreamCaptureMode latest = cudaStreamCaptureModeGlobal;
    std::swap(latest, *mode);
    return cudaSuccess;
  });
}

cudaError_t cudaDeviceSynchronize(void) {
  const cudaError_t error = call("cudaDeviceSynchronize", [] {
    streams().wait_for_device(current_device());
    return cudaSuccess;
  });
  return error == cudaSuccess ? latest_error_that_stays() : error;
}

}  // extern "C"

}  // namespace molora::fake_cuda
