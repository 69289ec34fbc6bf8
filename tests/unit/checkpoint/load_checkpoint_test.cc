#include "checkpoint/load_checkpoint.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/error.h"
#include "checkpoint/check_checkpoint.h"
#include "checkpoint/manifest.h"
#include "support/expect_throw.h"
#include "support/saving_ranks.h"
#include "support/simulated_disk.h"
#include "support/temp_folder.h"

namespace molora {
namespace {

using testing::SimulatedDisk;

const std::filesystem::path kStep = std::filesystem::path(testing::kRunRoot) / "step-00000007";

// A disk with step 7 of four ranks.
std::unique_ptr<SimulatedDisk> saved_disk() {
  auto disk = std::make_unique<SimulatedDisk>();
  testing::run_saving({.files = *disk, .shape = mesh_shape(4, 2, 4)},
                      [](testing::SavingRank& rank, int) { rank.save(7); });
  return disk;
}

TrainingState empty_state() {
  TrainingState state = testing::sliced_state(Mesh::single());
  testing::set_step(state, 0);
  return state;
}

TEST(LoadCheckpoint, EveryLayoutReadsWhatAnyOtherWrote) {
  const std::vector<MeshShape> shapes = {mesh_shape(1, 1, 1), mesh_shape(2, 1, 1),
                                         mesh_shape(2, 2, 1), mesh_shape(4, 2, 2),
                                         mesh_shape(4, 1, 4), mesh_shape(8, 4, 8)};
  for (const MeshShape& writer : shapes) {
    SimulatedDisk disk;
    testing::run_saving({.files = disk, .shape = writer},
                        [](testing::SavingRank& rank, int) { rank.save(7); });
    for (const MeshShape& reader : shapes) {
      EXPECT_EQ(testing::load_newest(disk, reader), 7)
          << mesh_text(writer) << " read by " << mesh_text(reader);
    }
  }
}

TEST(LoadCheckpoint, AdapterAloneCanBeLoaded) {
  const auto disk = saved_disk();
  TrainingState state = empty_state();
  state.optimizer.clear();
  load_checkpoint(*disk, kStep, LoadScope::kAdapter, state);
  EXPECT_TRUE(state.adapter[2].value.equal(testing::numbered({5}, at::kFloat, 7)));
  EXPECT_EQ(state.progress.step(), 0) << "the progress is not the adapter's";
}

TEST(LoadCheckpoint, DifferentTensorsAreRefusedAndChangeNothing) {
  const auto disk = saved_disk();
  const auto expect_refused = [&](TrainingState state, const std::string& word) {
    EXPECT_THROW_WITH(load_checkpoint(*disk, kStep, LoadScope::kAll, state), CheckpointError,
                      kStep.string(), word);
    EXPECT_TRUE(state.adapter[0].value.equal(empty_state().adapter[0].value));
    EXPECT_EQ(state.progress.step(), 0);
  };
  TrainingState missing = empty_state();
  missing.adapter.push_back(whole_tensor("adapter/wholes", at::zeros(4)));
  expect_refused(missing, "adapter/wholes is missing (nearest: adapter/whole)");
  TrainingState fewer = empty_state();
  fewer.adapter.pop_back();
  expect_refused(fewer, "adapter/whole has no place");
  TrainingState shape = empty_state();
  shape.adapter[2] = whole_tensor("adapter/whole", at::zeros(6));
  expect_refused(shape, "adapter/whole is F32 [5], this run has F32 [6]");
  TrainingState type = empty_state();
  type.adapter[2] = whole_tensor("adapter/whole", at::zeros(5, at::kDouble));
  expect_refused(type, "adapter/whole is F32 [5], this run has F64 [5]");
}

// What changes between the check and the reading is found by who reads it.
TEST(LoadCheckpoint, AChangedByteIsFoundByTheTensorsOwnDigest) {
  const auto disk = saved_disk();
  const auto file = kStep / "adapter-00000.safetensors";
  std::string bytes = read_file(*disk, file);
  bytes.back() = static_cast<char>(bytes.back() ^ 1);
  disk->create(file)->write(bytes);
  TrainingState state = empty_state();
  EXPECT_THROW_WITH(load_checkpoint(*disk, kStep, LoadScope::kAll, state), CheckpointError,
                    "adapter-00000.safetensors", "CRC-32C");
}

TEST(LoadCheckpoint, OtherFormatVersionsAreRefusedByName) {
  const auto disk = saved_disk();
  CheckpointManifest manifest = read_manifest(*disk, kStep);
  for (const uint32_t version : {0u, 77u}) {
    manifest.set_format_version(version);
    write_file_atomic(*disk, kStep / "manifest.pb", manifest_bytes(manifest));
    EXPECT_THROW_WITH((void)read_manifest(*disk, kStep), CheckpointError,
                      "has checkpoint format " + std::to_string(version), "formats 1 to 2",
                      "use the version of molora that wrote it");
  }
}

TEST(CheckCheckpoint, DamageInTheShareOfOneRankIsKnownToAll) {
  const auto disk = saved_disk();
  const auto victim = kStep / "adapter-00003.safetensors";
  ASSERT_TRUE(disk->exists(victim));
  disk->remove(victim);
  run_rank_threads(3, [&](Communicator& world) {
    EXPECT_THAT(find_damage(world, *disk, kStep),
                ::testing::HasSubstr("adapter-00003.safetensors"));
  });
}

TEST(CheckCheckpoint, TheNewestValidStepIsFoundPastDamagedOnes) {
  SimulatedDisk disk;
  CheckpointConfig config;
  config.set_keep_last(10);
  testing::run_saving({.files = disk, .shape = mesh_shape(2, 2, 1), .config = config},
                      [](testing::SavingRank& rank, int) {
                        for (int64_t step = 1; step <= 4; ++step) rank.save(step);
                      });
  const std::filesystem::path root = testing::kRunRoot;
  disk.rename(root / "step-00000001", root / "step-00000005");
  disk.remove(root / "step-00000004" / "manifest.pb");
  disk.create(root / "step-00000003" / "adapter-00001.safetensors")->write("short");
  run_rank_threads(2, [&](Communicator& world) {
    const NewestValid found = find_newest_valid(world, disk, root, {2, 3, 4, 5});
    EXPECT_EQ(found.step, 2);
    ASSERT_EQ(found.passed_over.size(), 3u);
    EXPECT_EQ(found.passed_over[0].step, 5);
    EXPECT_THAT(found.passed_over[0].damage,
                ::testing::HasSubstr("manifest.pb: is that of step 1, in the folder of step 5"));
    EXPECT_EQ(found.passed_over[1].step, 4);
    EXPECT_THAT(found.passed_over[1].damage, ::testing::HasSubstr("manifest.pb"));
    EXPECT_EQ(found.passed_over[2].step, 3);
    EXPECT_THAT(found.passed_over[2].damage, ::testing::HasSubstr("adapter-00001"));
  });
}

// Written by molora 0.1.0 (tests/assets/SOURCES.md).
TEST(CheckCheckpoint, AFileOfFormatOneIsReadAndItsDamageFound) {
  const std::filesystem::path stored = "tests/assets/checkpoints/format-1/step-00000003";
  const auto world = make_single_communicator("world");
  EXPECT_EQ(find_damage(*world, local_files(), stored), "");
  TrainingState state;
  const CheckpointManifest manifest = read_manifest(local_files(), stored);
  EXPECT_EQ(manifest.format_version(), 1u);
  for (const TensorRecord& record : manifest.tensors()) {
    auto& slices = record.name().starts_with("adapter/") ? state.adapter : state.optimizer;
    slices.push_back(whole_tensor(
        record.name(),
        at::full(Shape(record.shape().begin(), record.shape().end()), -77.0, at::kFloat)));
  }
  load_checkpoint(local_files(), stored, LoadScope::kAll, state);
  EXPECT_EQ(state.progress.step(), 3);
  EXPECT_EQ(state.progress.optimizer_updates(), 3);
  for (const TensorSlice& slice : state.adapter) {
    EXPECT_TRUE(slice.value.abs().max().item<float>() < 10.0F) << slice.name;
  }
  const testing::TempFolder folder;
  std::filesystem::copy(stored, folder / "step-00000003");
  std::filesystem::resize_file(folder / "step-00000003/optimizer-00000.safetensors", 1000);
  EXPECT_THAT(find_damage(*world, local_files(), folder / "step-00000003"),
              ::testing::HasSubstr("optimizer-00000.safetensors"));
}

}  // namespace
}  // namespace molora
