// Memory of the fake device and page-locked memory of the host, for LibTorch.
//
// Every tensor has memory of its own from the runtime, so that the runtime's registry knows where
// it ends. As with LibTorch's caching allocators, memory may be given up while work that uses it is
// still queued: on the stream that it was allocated for this is safe; any other stream must have
// been named by record_stream(). It goes back to the runtime once those streams have come so far.
#pragma once

#include <c10/core/Allocator.h>
#include <c10/core/Stream.h>

namespace molora::fake_torch {

c10::Allocator* device_allocator();
c10::Allocator* pinned_allocator();

// The memory at `data`, of either kind, is used by `stream` as well.
void record_stream(const void* data, c10::Stream stream);

bool is_pinned(const void* data);

// The device of `data`. Throws: c10::Error when it is not device memory.
c10::Device device_of(const void* data);

}  // namespace molora::fake_torch
