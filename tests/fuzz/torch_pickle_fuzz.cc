// Fuzz target: the pickle of a torch.save() archive, out of arbitrary bytes.
//
// Whatever is accepted must keep the promises of PickledTensor; anything thrown but DataError is a
// finding.
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <set>
#include <span>
#include <string>

#include "base/error.h"
#include "io/torch_pickle.h"

namespace {

void require(bool promise, const char* what) {
  if (promise) return;
  std::fprintf(stderr, "broken promise: %s\n", what);
  std::abort();
}

void check(const std::vector<molora::PickledTensor>& tensors) {
  std::set<std::string> names;
  for (const molora::PickledTensor& tensor : tensors) {
    require(names.insert(tensor.name).second, "names are unique");
    require(tensor.shape.size() == tensor.strides.size(), "a stride for each dimension");
    // The farthest element, in numbers that cannot overflow.
    long double last = static_cast<long double>(tensor.offset);
    bool is_empty = false;
    for (size_t i = 0; i < tensor.shape.size(); ++i) {
      require(tensor.shape[i] >= 0 && tensor.strides[i] >= 0, "no negative sizes");
      is_empty = is_empty || tensor.shape[i] == 0;
      last += static_cast<long double>(tensor.shape[i] - 1) *
              static_cast<long double>(tensor.strides[i]);
    }
    require(is_empty || last < static_cast<long double>(tensor.storage_elements),
            "within the storage");
    static_cast<void>(tensor.is_contiguous());
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  try {
    check(molora::parse_torch_pickle(std::as_bytes(std::span(data, size)), "input"));
  } catch (const molora::DataError&) {
  }
  return 0;
}
