#include "cuda/emulator/emulated_launch.h"

#include "cuda/emulator/emulate.h"
#include "kernels/bodies/all_bodies.h"
#include "kernels/cuda/launch.h"

namespace molora {

namespace testing {

namespace {
int64_t launches = 0;
uint64_t order = 0;
int error = 0;
}  // namespace

int64_t emulated_launches() { return launches; }
void set_emulated_order(uint64_t seed) { order = seed; }
void set_emulated_error(int code) { error = code; }

}  // namespace testing

template <typename Body>
int launch(const Body& body, CUstream_st* /*stream*/) {
  if (testing::error != 0) return testing::error;
  if (body.num_blocks() == 0) return 0;
  ++testing::launches;
  testing::emulate(body, testing::order);
  return 0;
}

const char* launch_error_name(int) { return "cudaErrorOfTheTest"; }
const char* launch_error_words(int) { return "words of the test"; }

#define MOLORA_EMULATED_INSTANCE(...) template int launch(const __VA_ARGS__&, CUstream_st*);
MOLORA_ALL_BODIES(MOLORA_EMULATED_INSTANCE)

}  // namespace molora
