// What tests ask of the fake LibTorch device (libtorch_cuda.so of this folder). A test finds these
// with dlsym() after load_cuda(), as the program itself must know nothing of them.
//
// Environment, read once:
//   FAKE_TORCH_SYNC=warn|error  each place where the host waits for the device is printed with its
//                               stack, or is refused with an exception
//   FAKE_TORCH_MIXED=warn       each place where an operator has tensors of the CPU beside those of
//   the
//                               device is printed with its stack, and the operator is computed all
//                               the same
//   FAKE_TORCH_LATE=0           results are in place as soon as an operator returns; without it
//   they
//                               appear only when the operator's stream has come so far, and until
//                               then whoever looks without an event sees NaN
#pragma once

#include <cstddef>
#include <cstdint>

extern "C" {

// How often an operator made the host wait for the device: blocking copies in either direction,
// item(), sizes that depend on data (nonzero, masks), and synchronize() of a stream or an event.
uint64_t fake_torch_host_syncs();

// How many copies to the host did not wait (non_blocking into page-locked memory). Whoever reads
// them waits for an event later.
uint64_t fake_torch_host_reads();

// Device memory that LibTorch holds on `device`, in bytes, after what is no longer used was freed.
size_t fake_torch_device_bytes(int device);

}  // extern "C"
