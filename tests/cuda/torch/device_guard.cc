// What LibTorch asks of a device type: which device and stream are current, and events.

#include <c10/core/impl/DeviceGuardImplInterface.h>

#include "device_memory.h"
#include "host_syncs.h"
#include "runtime_call.h"
#include "streams.h"

namespace molora::fake_torch {

namespace {

// Makes a device current for the calls on its streams and events, and puts the one before back.
class DeviceSwitch {
 public:
  explicit DeviceSwitch(c10::DeviceIndex device) : before_(current_device()) {
    if (device >= 0 && device != before_) FAKE_TORCH_CHECK(cudaSetDevice(device));
  }
  ~DeviceSwitch() { cudaSetDevice(before_); }
  DeviceSwitch(const DeviceSwitch&) = delete;
  DeviceSwitch& operator=(const DeviceSwitch&) = delete;

 private:
  int before_;
};

class Guard final : public c10::impl::DeviceGuardImplInterface {
 public:
  c10::DeviceType type() const override { return c10::DeviceType::CUDA; }

  c10::Device exchangeDevice(c10::Device device) const override {
    const c10::Device before = getDevice();
    setDevice(device);
    return before;
  }
  c10::Device getDevice() const override { return {c10::kCUDA, current_device()}; }
  void setDevice(c10::Device device) const override {
    TORCH_INTERNAL_ASSERT(device.is_cuda());
    if (device.has_index()) FAKE_TORCH_CHECK(cudaSetDevice(device.index()));
  }
  void uncheckedSetDevice(c10::Device device) const noexcept override {
    if (device.has_index()) cudaSetDevice(device.index());
  }
  c10::DeviceIndex deviceCount() const noexcept override { return device_count(); }
  void synchronizeDevice(c10::DeviceIndex device) const override {
    note_host_sync("synchronizing a device");
    const DeviceSwitch on(device);
    FAKE_TORCH_CHECK(cudaDeviceSynchronize());
  }

  c10::Stream getStream(c10::Device device) const override {
    return current_stream(device.index());
  }
  c10::Stream getDefaultStream(c10::Device device) const override {
    return default_stream(with_index(device).index());
  }
  c10::Stream getStreamFromGlobalPool(c10::Device device, bool) const override {
    return pool_stream(device.index());
  }
  c10::Stream getNewStream(c10::Device device, int) const override {
    return pool_stream(device.index());
  }
  c10::Stream exchangeStream(c10::Stream stream) const override { return exchange_stream(stream); }
  void* getStreamNativeHandle(const c10::Stream stream) const override { return handle_of(stream); }
  bool queryStream(const c10::Stream& stream) const override {
    const DeviceSwitch on(stream.device_index());
    return is_done_yet(cudaStreamQuery(handle_of(stream)), "cudaStreamQuery");
  }
  void synchronizeStream(const c10::Stream& stream) const override {
    note_host_sync("synchronizing a stream");
    const DeviceSwitch on(stream.device_index());
    FAKE_TORCH_CHECK(cudaStreamSynchronize(handle_of(stream)));
  }

  void record(void** event, const c10::Stream& stream, const c10::DeviceIndex device,
              const c10::EventFlag flag) const override {
    TORCH_CHECK(device == -1 || device == stream.device_index(), "Event device index ",
                static_cast<int>(device), " does not match recording stream's device index ",
                static_cast<int>(stream.device_index()), ".");
    const DeviceSwitch on(stream.device_index());
    if (*event == nullptr) *event = create_event(flag);
    FAKE_TORCH_CHECK(cudaEventRecord(static_cast<cudaEvent_t>(*event), handle_of(stream)));
  }
  void block(void* event, const c10::Stream& stream) const override {
    if (event == nullptr) return;
    const DeviceSwitch on(stream.device_index());
    FAKE_TORCH_CHECK(cudaStreamWaitEvent(handle_of(stream), static_cast<cudaEvent_t>(event), 0));
  }
  bool queryEvent(void* event) const override {
    if (event == nullptr) return true;
    return is_done_yet(cudaEventQuery(static_cast<cudaEvent_t>(event)), "cudaEventQuery");
  }
  void synchronizeEvent(void* event) const override {
    if (event == nullptr) return;
    note_host_sync("synchronizing an event");
    FAKE_TORCH_CHECK(cudaEventSynchronize(static_cast<cudaEvent_t>(event)));
  }
  void destroyEvent(void* event, const c10::DeviceIndex device) const noexcept override {
    if (event == nullptr) return;
    const DeviceSwitch on(device);
    cudaEventDestroy(static_cast<cudaEvent_t>(event));
  }
  void recordDataPtrOnStream(const c10::DataPtr& data, const c10::Stream& stream) const override {
    record_stream(data.get(), stream);
  }

 private:
  static cudaEvent_t create_event(c10::EventFlag flag) {
    cudaEvent_t event = nullptr;
    const unsigned flags = flag == c10::EventFlag::BACKEND_DEFAULT
                               ? unsigned{cudaEventDefault}
                               : unsigned{cudaEventDisableTiming};
    FAKE_TORCH_CHECK(cudaEventCreateWithFlags(&event, flags));
    return event;
  }
};

C10_REGISTER_GUARD_IMPL(CUDA, Guard)

}  // namespace

}  // namespace molora::fake_torch
