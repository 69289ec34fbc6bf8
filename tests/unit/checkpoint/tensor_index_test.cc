#include "checkpoint/tensor_index.h"

#include <functional>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "support/stored_checkpoint.h"
#include "support/temp_folder.h"

namespace molora {
namespace {

using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::SizeIs;
using testing::StoredCheckpoint;
using testing::TempFolder;
using testing::two_rank_checkpoint;

constexpr char kA[] = "adapter/layers.0.mlp.up_proj.lora_A";

CheckpointManifest written_manifest() {
  const TempFolder folder;
  StoredCheckpoint checkpoint = two_rank_checkpoint(7);
  checkpoint.write(folder.path());
  return checkpoint.manifest;
}

TensorRecord& record_of(CheckpointManifest& manifest, const std::string& name) {
  for (TensorRecord& record : *manifest.mutable_tensors()) {
    if (record.name() == name) return record;
  }
  throw std::runtime_error("no record of " + name);
}

// The only fault of the manifest after `change` to the first slice of lora_A.
std::string fault_after(const std::function<void(TensorRecord&)>& change) {
  CheckpointManifest manifest = written_manifest();
  change(record_of(manifest, kA));
  const std::vector<Damage> faults = index_tensors(manifest).faults;
  if (faults.size() != 1) return fmt::format("{} faults", faults.size());
  return damage_text("step", faults.front());
}

TEST(TensorIndex, HasEveryTensorWithItsSlicesAndTheirBytes) {
  const TensorIndex index = index_tensors(written_manifest());
  EXPECT_THAT(index.faults, IsEmpty());
  EXPECT_THAT(index.tensors, SizeIs(15));
  const SavedTensor& tensor = index.tensors.at(kA);
  EXPECT_EQ(tensor.global_shape, (Shape{4, 2, 8}));
  EXPECT_EQ(tensor.bytes(), 256u);
  ASSERT_THAT(tensor.slices, SizeIs(2));
  EXPECT_EQ(tensor.slices[1].file, "adapter-00001.safetensors");
  EXPECT_EQ(tensor.slices[1].offset, (Shape{2, 0, 0}));
  EXPECT_EQ(tensor.slices[1].end - tensor.slices[1].begin, 128u);
  EXPECT_TRUE(tensor.slices[1].crc32c.has_value());
}

TEST(TensorIndex, SlicesThatLeaveAGapOrOverlapAreNamed) {
  EXPECT_THAT(fault_after([](TensorRecord& record) {
                record.set_shape(0, 1);
                record.set_bytes(64);
              }),
              HasSubstr("step/manifest.pb: tensor adapter/layers.0.mlp.up_proj.lora_A: its slices "
                        "leave a gap: they hold 48 of 64 elements of [4, 2, 8]"));
  EXPECT_THAT(fault_after([](TensorRecord& record) { record.set_offset(0, 1); }),
              HasSubstr("its slices overlap: [2, 2, 8] at [1, 0, 0] in adapter-00000.safetensors "
                        "and [2, 2, 8] at [2, 0, 0] in adapter-00001.safetensors"));
}

TEST(TensorIndex, RecordsThatDoNotFitAreNamed) {
  EXPECT_THAT(fault_after([](TensorRecord& record) { record.set_dtype("F31"); }),
              HasSubstr("in adapter-00000.safetensors has no clear place: F31"));
  EXPECT_THAT(fault_after([](TensorRecord& record) { record.set_offset(0, 3); }),
              HasSubstr("has no clear place: F32 [2, 2, 8] of [4, 2, 8] at [3, 0, 0]"));
  EXPECT_THAT(fault_after([](TensorRecord& record) { record.set_offset(0, -1); }),
              HasSubstr("has no clear place"));
  EXPECT_THAT(fault_after([](TensorRecord& record) { record.add_offset(0); }),
              HasSubstr("has no clear place"));
  EXPECT_THAT(fault_after([](TensorRecord& record) { record.set_shape(0, int64_t{1} << 62); }),
              HasSubstr("has no clear place"));
  EXPECT_THAT(fault_after([](TensorRecord& record) { record.set_file("else"); }),
              HasSubstr("lies in 'else', which is not among the manifest's files"));
  EXPECT_THAT(
      fault_after([](TensorRecord& record) { record.set_bytes(127); }),
      HasSubstr("says 127 bytes for F32 [2, 2, 8] of [4, 2, 8] at [0, 0, 0], which are 128"));
  EXPECT_THAT(fault_after([](TensorRecord& record) { record.clear_crc32c(); }),
              HasSubstr("lacks a place or a CRC-32C"));
  EXPECT_THAT(fault_after([](TensorRecord& record) { record.set_file_offset(~uint64_t{0}); }),
              HasSubstr("128 bytes from byte 18446744073709551615 of adapter-00000"));
  EXPECT_THAT(fault_after([](TensorRecord& record) { record.set_global_shape(0, 5); }),
              HasSubstr("belongs to F32 [5, 2, 8]"));
}

TEST(TensorIndex, EveryFaultIsReported) {
  CheckpointManifest manifest = written_manifest();
  record_of(manifest, kA).set_dtype("?");
  record_of(manifest, "adapter/layers.0.mlp.up_proj.router.weight").set_shape(0, 3);
  record_of(manifest, "adamw.first/layers.0.mlp.up_proj.lora_B").set_offset(2, 1);
  EXPECT_THAT(index_tensors(manifest).faults, SizeIs(3));
}

// Slices of one tensor that never existed: boxes by offset and shape.
SavedTensor tiled(const Shape& global_shape, const std::vector<std::pair<Shape, Shape>>& boxes) {
  SavedTensor tensor{"t", DType::kF32, global_shape, {}};
  for (const auto& [offset, shape] : boxes) tensor.slices.push_back({"f", offset, shape});
  return tensor;
}

TEST(TensorIndex, TilesMayBeCutInAnyWay) {
  EXPECT_EQ(tiling_fault(tiled({}, {{{}, {}}})), "");
  EXPECT_EQ(tiling_fault(tiled({0, 3}, {{{0, 0}, {0, 3}}})), "");
  EXPECT_EQ(tiling_fault(tiled({4, 4}, {{{0, 0}, {2, 4}}, {{2, 2}, {2, 2}}, {{2, 0}, {2, 2}}})),
            "");
  EXPECT_EQ(tiling_fault(tiled({3, 3}, {{{0, 0}, {1, 2}},
                                        {{0, 2}, {2, 1}},
                                        {{2, 1}, {1, 2}},
                                        {{1, 0}, {2, 1}},
                                        {{1, 1}, {1, 1}}})),
            "");
  EXPECT_THAT(tiling_fault(tiled({}, {{{}, {}}, {{}, {}}})), HasSubstr("overlap"));
  EXPECT_THAT(tiling_fault(tiled({4, 4}, {{{0, 0}, {3, 4}}, {{2, 3}, {2, 1}}})),
              HasSubstr("overlap"));
  // As many elements as there are, but one twice and one not at all.
  EXPECT_THAT(tiling_fault(tiled({2, 2}, {{{0, 0}, {2, 1}}, {{1, 0}, {1, 2}}})),
              HasSubstr("overlap"));
  EXPECT_THAT(tiling_fault(tiled({2, 2}, {{{0, 0}, {2, 1}}})), HasSubstr("gap"));
}

}  // namespace
}  // namespace molora
