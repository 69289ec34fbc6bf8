// The model sizes in configs/shapes are those that were published.
#include <filesystem>
#include <map>
#include <string>

#include <gtest/gtest.h>

#include "model/architecture.h"

namespace molora {
namespace {

TEST(Shapes, HaveThePublishedNumbersOfParameters) {
  const std::map<std::string, int64_t> published = {
      {"qwen1.5-0.5b", 463'987'712},   {"qwen1.5-1.8b", 1'836'828'672},
      {"qwen1.5-4b", 3'950'369'280},   {"qwen1.5-7b", 7'721'324'544},
      {"qwen1.5-14b", 14'167'290'880}, {"qwen1.5-32b", 32'512'218'112},
      {"qwen1.5-72b", 72'287'920'128}, {"qwen2.5-72b", 72'706'203'648},
      {"llama-3-8b", 8'030'261'248},   {"llama-3-70b", 70'553'706'496}};
  size_t found = 0;
  for (const auto& entry : std::filesystem::directory_iterator("configs/shapes")) {
    if (!entry.is_directory()) continue;
    const std::string name = entry.path().filename().string();
    EXPECT_EQ(count_base_parameters(read_architecture(entry.path(), {})), published.at(name))
        << name;
    ++found;
  }
  EXPECT_EQ(found, published.size());
}

}  // namespace
}  // namespace molora
