// The streams of the fake device: LibTorch's stream ids against the runtime's handles, and which
// stream is current in which thread.
//
// Id 0 is the default stream of a device, ids from 1 on are nonblocking streams that are never
// destroyed, as in LibTorch.
#pragma once

#include <c10/core/Stream.h>
#include <cuda_runtime_api.h>

namespace molora::fake_torch {

// How many devices the runtime has; 0 when it has none or fails.
c10::DeviceIndex device_count() noexcept;

// The calling thread's device.
c10::DeviceIndex current_device();

// `device` with the calling thread's index when it has none.
c10::Device with_index(c10::Device device);

c10::Stream default_stream(c10::DeviceIndex device);
c10::Stream current_stream(c10::DeviceIndex device);

// Makes `stream` the calling thread's stream on its device and returns the one before.
c10::Stream exchange_stream(c10::Stream stream);

// One of 32 streams of the device, in turn.
c10::Stream pool_stream(c10::DeviceIndex device);

cudaStream_t handle_of(c10::Stream stream);

// Polls until all work given to `stream` so far is done.
void wait_for(c10::Stream stream);

}  // namespace molora::fake_torch
