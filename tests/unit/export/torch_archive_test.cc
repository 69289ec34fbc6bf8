#include "export/torch_archive.h"

#include <filesystem>
#include <fstream>

#include <gtest/gtest.h>

#include "base/error.h"
#include "support/expect_throw.h"
#include "support/golden_paths.h"
#include "support/temp_folder.h"

namespace molora {
namespace {

using testing::TempFolder;

// Made by the real torch.save() (tests/golden/make_torch_archives.py).
std::filesystem::path archive(const std::string& name) {
  return std::filesystem::path("tests/assets/torch_archives") / (name + ".bin");
}

Tensor counted() { return at::arange(24, at::kFloat).view({4, 6}); }

TEST(TorchArchive, ReadsViewsTypesAndParametersOfTorchSave) {
  const auto tensors = read_torch_archive(archive("views"));
  EXPECT_EQ(tensors.size(), 10u);
  EXPECT_TRUE(tensors.at("whole").equal(counted()));
  EXPECT_TRUE(tensors.at("transposed").equal(counted().t()));
  EXPECT_TRUE(tensors.at("transposed").is_contiguous());
  EXPECT_TRUE(tensors.at("row").equal(counted()[2]));
  EXPECT_TRUE(tensors.at("columns").equal(counted().slice(1, 1, 3)));
  EXPECT_TRUE(tensors.at("bf16").equal((counted() / 8).to(at::kBFloat16)));
  EXPECT_TRUE(tensors.at("half").equal((counted() / 8).to(at::kHalf)));
  EXPECT_EQ(tensors.at("long")[1].item<int64_t>(), int64_t{1} << 40);
  EXPECT_EQ(tensors.at("scalar").item<float>(), 2.5f);
  EXPECT_EQ(tensors.at("empty").sizes(), (at::IntArrayRef{0, 3}));
  EXPECT_TRUE(tensors.at("parameter").equal(counted().slice(0, 0, 1)));
}

TEST(TorchArchive, ReadsStateDictsOfModulesAndNewerProtocols) {
  const auto module = read_torch_archive(archive("module"));
  EXPECT_TRUE(module.at("weight").equal(counted()[0].view({3, 2})));
  EXPECT_EQ(module.at("bias").count_nonzero().item<int64_t>(), 0);
  EXPECT_TRUE(read_torch_archive(archive("dict")).at("a").equal(counted()));
  EXPECT_TRUE(read_torch_archive(archive("protocol4")).at("a").equal(counted()));
}

TEST(TorchArchive, RefusesHarmAndLeavesNoTraceOfIt) {
  EXPECT_THROW_WITH(read_torch_archive(archive("harm")), DataError, "harm.bin", "posix.mkdir",
                    "nothing was executed");
  EXPECT_FALSE(std::filesystem::exists("harm-was-done"));
}

TEST(TorchArchive, RefusesWhatIsNoDictionaryOfTensors) {
  EXPECT_THROW_WITH(read_torch_archive(archive("number")), DataError, "number.bin", "\"steps\"");
  EXPECT_THROW_WITH(read_torch_archive(archive("no_dict")), DataError, "expected a dictionary");
  EXPECT_THROW_WITH(read_torch_archive(archive("legacy")), DataError, "legacy.bin", "1.6");
  EXPECT_THROW_WITH(read_torch_archive(archive("absent")), IoError, "absent.bin");
}

TEST(TorchArchive, WhatIsWrittenIsRead) {
  const TempFolder folder;
  const Tensor transposed = counted().t();
  write_torch_archive(folder / "a.bin", {{"x", transposed},
                                         {"y.weight", (counted() / 8).to(at::kBFloat16)},
                                         {"empty", at::zeros({0, 2})}});
  const auto tensors = read_torch_archive(folder / "a.bin");
  EXPECT_EQ(tensors.size(), 3u);
  EXPECT_TRUE(tensors.at("x").equal(transposed));
  EXPECT_TRUE(tensors.at("y.weight").equal((counted() / 8).to(at::kBFloat16)));
  EXPECT_EQ(tensors.at("empty").sizes(), (at::IntArrayRef{0, 2}));
}

TEST(TorchArchive, CutAnywhereItIsRefused) {
  const TempFolder folder;
  const std::string whole = testing::read_text(archive("views"));
  const auto path = folder / "cut.bin";
  for (size_t length = 0; length < whole.size(); length += 61) {
    std::ofstream(path, std::ios::binary | std::ios::trunc) << whole.substr(0, length);
    EXPECT_THROW_WITH(read_torch_archive(path), DataError, "cut.bin");
  }
}

TEST(TorchArchive, ADiskThatFailsIsAnIoError) {
  EXPECT_THROW(write_torch_archive("/dev/full", {{"x", counted()}}), IoError);
}

}  // namespace
}  // namespace molora
