// Writes a model of a published shape with random weights in bf16, to measure how fast it trains.
//
// usage: write_model SHAPE-FOLDER TOKENIZER-FOLDER FOLDER
#include <cstdio>
#include <filesystem>
#include <vector>

#include "base/error.h"
#include "io/safetensors.h"
#include "model/architecture.h"
#include "model/expected_tensors.h"
#include "tensor/philox_tensor.h"
#include "tensor/tensor_bytes.h"

namespace {

namespace fs = std::filesystem;

// As initialised models have it, so that losses are those of a model that knows nothing.
constexpr double kBound = 0.035;

at::Tensor random_weight(const molora::ExpectedTensor& expected, uint64_t key) {
  const bool is_norm = expected.name.find("norm") != std::string::npos;
  at::Tensor value = at::ones(expected.shape, at::kFloat);
  if (!is_norm) molora::fill_uniform(value, kBound, key, 0);
  return value.to(at::kBFloat16);
}

void write_model(const fs::path& shape, const fs::path& tokenizer, const fs::path& folder) {
  fs::create_directories(folder);
  fs::copy(shape / "config.json", folder, fs::copy_options::overwrite_existing);
  for (const char* name : {"tokenizer.json", "tokenizer_config.json"}) {
    fs::copy(tokenizer / name, folder, fs::copy_options::overwrite_existing);
  }
  const auto expected = molora::expected_tensors(molora::read_architecture(folder, {}));
  std::vector<molora::SafetensorsWriter::Declaration> declarations;
  for (const auto& tensor : expected) {
    declarations.push_back({tensor.name, molora::DType::kBF16, tensor.shape});
  }
  molora::SafetensorsWriter writer(folder / "model.safetensors", declarations, {});
  uint64_t key = 1;
  for (const auto& tensor : expected) {
    writer.write_next(molora::tensor_bytes(random_weight(tensor, key++)));
  }
  writer.finish();
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 4) {
    std::fprintf(stderr, "usage: write_model SHAPE-FOLDER TOKENIZER-FOLDER FOLDER\n");
    return 64;
  }
  try {
    write_model(argv[1], argv[2], argv[3]);
    return 0;
  } catch (const std::exception& error) {
    std::fprintf(stderr, "write_model: %s\n", error.what());
    return 1;
  }
}
