// Kernels compiled by nvcc, launched with <<<>>>, run as host functions.
#include "child.h"
#include "cuda/runtime/test/kernels.h"
#include "fake_cuda.h"

namespace molora::testing {
namespace {

using ::testing::HasSubstr;

TEST(FakeCudaLaunch, RunsTheHostFunctionOfTheKernel) {
  expect_quiet([] {
    float* const y = device_floats(100, 1.0f);
    float* const x = device_floats(100, 2.0f);
    const cudaStream_t stream = new_stream();
    expect_ok(launch_add_scaled({y, x, 3.0f, 100}, {}, stream));
    expect_ok(cudaStreamSynchronize(stream));
    EXPECT_EQ(first_of(y + 99), 7.0f);
    EXPECT_EQ(fake_cuda_num_launches(), 1u);
  });
}

TEST(FakeCudaLaunch, CopiesArgumentsWhenItIsLaunched) {
  expect_quiet([] {
    float* const y = device_floats(100, 1.0f);
    const cudaStream_t stream = new_stream();
    Gate gate(stream);
    {
      FillRequest request{y, 100, 4.0f};
      expect_ok(launch_fill_struct(request, stream));
      request.value = 5.0f;
    }
    gate.open();
    expect_ok(cudaStreamSynchronize(stream));
    EXPECT_EQ(first_of(y), 4.0f);
  });
}

void expect_refused(Geometry geometry, cudaError_t error) {
  EXPECT_THAT(
      said_by([&] {
        float* const y = device_floats(1, 1.0f);
        EXPECT_EQ(launch_add_scaled({y, y, 1.0f, 1}, geometry, new_stream()), error);
      }),
      HasSubstr("fake cuda: RULE launch: kernel _ZN6molora7testing10add_scaledEPfPKffl: grid ["));
}

TEST(FakeCudaLaunch, HasAtMost1024Threads) {
  expect_refused({.block = dim3(1025)}, cudaErrorInvalidConfiguration);
  expect_refused({.block = dim3(32, 33)}, cudaErrorInvalidConfiguration);
  expect_refused({.block = dim3(1, 1, 65)}, cudaErrorInvalidConfiguration);
}

TEST(FakeCudaLaunch, HasAGridOfTheRightSize) {
  expect_refused({.grid = dim3(0)}, cudaErrorInvalidConfiguration);
  expect_refused({.grid = dim3(2147483648u)}, cudaErrorInvalidConfiguration);
  expect_refused({.grid = dim3(1, 65536)}, cudaErrorInvalidConfiguration);
  expect_refused({.grid = dim3(1, 1, 65536)}, cudaErrorInvalidConfiguration);
}

TEST(FakeCudaLaunch, AsksBeforeItUsesMuchSharedMemory) {
  expect_refused({.shared_bytes = (48 << 10) + 1}, cudaErrorInvalidValue);
  expect_quiet([] {
    float* const y = device_floats(1, 1.0f);
    expect_ok(allow_shared_memory(100 << 10));
    EXPECT_EQ(allow_shared_memory(228 << 10), cudaErrorInvalidValue);
    (void)cudaGetLastError();
    expect_ok(launch_add_scaled({y, y, 1.0f, 1}, {.shared_bytes = 100 << 10}, new_stream()));
    expect_ok(cudaDeviceSynchronize());
  });
}

TEST(FakeCudaLaunch, GoesToAStreamOfTheCurrentDevice) {
  EXPECT_THAT(
      said_by([] {
        float* const y = device_floats(1, 1.0f);
        const cudaStream_t stream = new_stream();
        expect_ok(cudaSetDevice(1));
        EXPECT_EQ(launch_add_scaled({y, y, 1.0f, 1}, {}, stream), cudaErrorInvalidResourceHandle);
      }),
      HasSubstr(
          "RULE stream-device: kernel _ZN6molora7testing10add_scaledEPfPKffl is launched with "
          "device 1 current on a stream of device 0"));
}

TEST(FakeCudaLaunch, ReportsWhatAHostFunctionThrows) {
  EXPECT_THAT(said_by([] {
                const cudaStream_t stream = new_stream();
                expect_ok(launch_fails_on_the_host(stream));
                EXPECT_EQ(cudaStreamSynchronize(stream), cudaErrorLaunchFailure);
                EXPECT_EQ(cudaGetLastError(), cudaErrorLaunchFailure);
              }),
              HasSubstr("RULE kernel: _ZN6molora7testing17fails_on_the_hostEv: two of 32 threads"));
}

TEST(FakeCudaLaunch, NamesKernelsThatNobodyStandsFor) {
  const EndOfChild end = run_in_child({}, [] { (void)launch_is_not_on_the_host(new_stream()); });
  EXPECT_EQ(end.signal, SIGABRT);
  EXPECT_THAT(end.output,
              HasSubstr("no host function stands for kernel "
                        "_ZN6molora7testing18is_not_on_the_hostEv; libmolora_emulated_kernels"));
}

TEST(FakeCudaPlan, FailsTheCallThatItNames) {
  expect_quiet(
      [] {
        void* memory = nullptr;
        expect_ok(cudaMalloc(&memory, 8));
        EXPECT_EQ(cudaMalloc(&memory, 8), cudaErrorMemoryAllocation);
        EXPECT_EQ(cudaPeekAtLastError(), cudaErrorMemoryAllocation);
        expect_ok(cudaMalloc(&memory, 8));
      },
      {{"FAKE_CUDA_FAIL", "cudaMalloc:2:2"}});
}

TEST(FakeCudaPlan, BreaksAKernelForGood) {
  expect_quiet(
      [] {
        float* const y = device_floats(1, 1.0f);
        const cudaStream_t stream = new_stream();
        expect_ok(launch_add_scaled({y, y, 1.0f, 1}, {}, stream));
        EXPECT_EQ(cudaStreamSynchronize(stream), cudaErrorIllegalAddress);
        EXPECT_EQ(cudaSetDevice(0), cudaErrorIllegalAddress);
      },
      {{"FAKE_CUDA_FAIL", "kernel:1"}});
}

TEST(FakeCudaPlan, MustBeUnderstood) {
  const EndOfChild end = run_in_child({{"FAKE_CUDA_FAIL", "cudaMalloc"}}, [] { new_stream(); });
  EXPECT_EQ(end.signal, SIGABRT);
  EXPECT_THAT(end.output, HasSubstr("FAKE_CUDA_FAIL=cudaMalloc is not name:n or name:n:code"));
}

TEST(FakeCudaDevices, AreThoseThatTheEnvironmentGives) {
  expect_quiet(
      [] {
        int count = 0;
        expect_ok(cudaGetDeviceCount(&count));
        EXPECT_EQ(count, 3);
        EXPECT_EQ(cudaSetDevice(3), cudaErrorInvalidDevice);
        cudaDeviceProp prop{};
        expect_ok(cudaGetDeviceProperties(&prop, 2));
        EXPECT_STREQ(prop.name, "fake GPU in host memory");
        EXPECT_EQ(prop.major, 9);
        EXPECT_EQ(prop.pciBusID, 3);
      },
      {{"FAKE_CUDA_DEVICES", "3"}});
}

TEST(FakeCudaDevices, MayBeNone) {
  expect_quiet(
      [] {
        int count = 1;
        EXPECT_EQ(cudaGetDeviceCount(&count), cudaErrorNoDevice);
        EXPECT_EQ(count, 0);
      },
      {{"FAKE_CUDA_DEVICES", "0"}});
}

TEST(FakeCudaDevices, AreANumber) {
  const EndOfChild end = run_in_child({{"FAKE_CUDA_DEVICES", "many"}}, [] { new_stream(); });
  EXPECT_EQ(end.signal, SIGABRT);
  EXPECT_THAT(end.output, HasSubstr("FAKE_CUDA_DEVICES='many' is not a number of 0 or more"));
}

TEST(FakeCudaRest, IsRefusedByName) {
  const EndOfChild end = run_in_child({}, [] {
    cudaGraph_t graph = nullptr;
    (void)cudaGraphCreate(&graph, 0);
  });
  EXPECT_EQ(end.signal, SIGABRT);
  EXPECT_THAT(end.output,
              HasSubstr("fake cuda: cudaGraphCreate is not part of the fake run time: do "
                        "without it, or add it to tests/cuda/runtime"));
}

}  // namespace
}  // namespace molora::testing
