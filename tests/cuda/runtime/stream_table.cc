#include "stream_table.h"

#include <utility>

#include "report.h"

// What a stream handle points to: a number of its own, never freed.
struct CUstream_st {
  uint64_t number;
};

namespace molora::fake_cuda {

StreamTable& streams() {
  static StreamTable& once = *new StreamTable;
  return once;
}

int& current_device() {
  thread_local int device = 0;
  return device;
}

cudaStream_t StreamTable::create(int device, Stream::With with, int priority) {
  auto stream = std::make_shared<Stream>(device, with, priority);
  auto* handle = new CUstream_st{stream->number()};
  const std::lock_guard lock(mutex_);
  streams_[handle] = std::move(stream);
  return handle;
}

bool StreamTable::destroy(cudaStream_t handle) {
  const std::lock_guard lock(mutex_);
  const auto found = streams_.find(handle);
  if (found == streams_.end()) return false;
  found->second->close();
  std::erase_if(leaving_, [](const auto& stream) { return stream->is_idle(); });
  leaving_.push_back(std::move(found->second));
  streams_.erase(found);
  return true;
}

std::shared_ptr<Stream> StreamTable::find(cudaStream_t handle, int device) {
  if (handle == cudaStreamPerThread) {
    stop("cudaStreamPerThread is not part of the fake run time: make a stream");
  }
  const std::lock_guard lock(mutex_);
  if (handle == nullptr || handle == cudaStreamLegacy) return default_stream(device);
  const auto found = streams_.find(handle);
  return found == streams_.end() ? nullptr : found->second;
}

std::shared_ptr<Stream> StreamTable::default_stream(int device) {
  std::shared_ptr<Stream>& stream = defaults_[device];
  if (!stream) stream = std::make_shared<Stream>(device, Stream::With::kDefault, 0);
  return stream;
}

std::vector<std::shared_ptr<Stream>> StreamTable::streams_of(int device) {
  const std::lock_guard lock(mutex_);
  std::vector<std::shared_ptr<Stream>> found;
  for (const auto& [handle, stream] : streams_) {
    if (stream->device() == device) found.push_back(stream);
  }
  for (const auto& stream : leaving_) {
    if (stream->device() == device) found.push_back(stream);
  }
  if (const auto entry = defaults_.find(device); entry != defaults_.end()) {
    found.push_back(entry->second);
  }
  return found;
}

void StreamTable::order_after(Stream& later, const std::shared_ptr<Stream>& earlier) {
  if (&later == earlier.get() || !earlier->keeps_order_with_default()) return;
  later.comes_after(earlier->order());
  if (earlier->is_idle()) return;
  later.enqueue([earlier, position = earlier->end()] { earlier->wait(position); });
}

uint64_t StreamTable::submit(Stream& stream, Stream::Work work) {
  const std::lock_guard lock(submit_mutex_);
  if (stream.keeps_order_with_default()) {
    std::shared_ptr<Stream> by_default;
    {
      const std::lock_guard members(mutex_);
      by_default = default_stream(stream.device());
    }
    if (by_default.get() == &stream) {
      for (const auto& other : streams_of(stream.device())) order_after(stream, other);
    } else {
      order_after(stream, by_default);
    }
  }
  return stream.enqueue(std::move(work));
}

bool StreamTable::is_idle(int device) {
  for (const auto& stream : streams_of(device)) {
    if (!stream->is_idle()) return false;
  }
  return true;
}

void StreamTable::wait_for_device(int device) {
  for (const auto& stream : streams_of(device)) stream->wait(stream->end());
}

}  // namespace molora::fake_cuda
