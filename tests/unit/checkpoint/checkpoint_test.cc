#include <gtest/gtest.h>

#include "base/error.h"
#include "checkpoint/checkpoint_reader.h"
#include "checkpoint/checkpoint_writer.h"
#include "checkpoint/step_folder.h"
#include "comm/thread_communicator.h"
#include "io/digest.h"
#include "io/file.h"
#include "support/expect_throw.h"
#include "support/temp_folder.h"

namespace molora {
namespace {

using testing::TempFolder;

TrainingState state_of(double value) {
  TrainingState state;
  state.adapter.push_back(whole_tensor("adapter/a", at::full({2, 3}, value)));
  state.adapter.push_back(whole_tensor("adapter/b", at::full({4}, value + 1)));
  state.optimizer.push_back(whole_tensor("adamw.first/a", at::full({2, 3}, value + 2)));
  state.progress.set_step(7);
  state.progress.set_epoch(1);
  return state;
}

CheckpointIdentity identity() {
  CheckpointIdentity id;
  id.config.set_seed(99);
  id.base_fingerprint = "base";
  id.data_fingerprint = "data";
  return id;
}

std::filesystem::path write(const TempFolder& folder, const TrainingState& state) {
  const auto comm = make_single_communicator("world");
  return write_checkpoint(*comm, folder.path(), state, identity());
}

TEST(StepFolder, NamesAreReadBack) {
  EXPECT_EQ(step_of_folder(step_folder_name(100)), 100);
  EXPECT_EQ(step_of_folder(step_folder_name(123456789)), 123456789);
  EXPECT_EQ(step_of_folder(attempt_folder_name(100, 3)), std::nullopt);
  EXPECT_TRUE(is_attempt_folder(attempt_folder_name(100, 3)));
  for (const char* name : {"step-", "step-12", "step-0000010x", "latest", "step--0000001"}) {
    EXPECT_EQ(step_of_folder(name), std::nullopt) << name;
  }
}

TEST(Checkpoint, WhatIsWrittenIsLoaded) {
  const TempFolder folder;
  const auto path = write(folder, state_of(5));
  EXPECT_EQ(path.filename(), "step-00000007");
  EXPECT_EQ(find_damage(path), "");
  TrainingState loaded = state_of(0);
  loaded.progress.Clear();
  load_checkpoint(path, LoadScope::kAll, loaded);
  EXPECT_TRUE(loaded.adapter[0].value.equal(at::full({2, 3}, 5.0)));
  EXPECT_TRUE(loaded.adapter[1].value.equal(at::full({4}, 6.0)));
  EXPECT_TRUE(loaded.optimizer[0].value.equal(at::full({2, 3}, 7.0)));
  EXPECT_EQ(loaded.progress.step(), 7);
  const CheckpointManifest manifest = read_manifest(path);
  EXPECT_EQ(manifest.config().seed(), 99u);
  EXPECT_EQ(manifest.base_fingerprint(), "base");
}

TEST(Checkpoint, AdapterAloneCanBeLoaded) {
  const TempFolder folder;
  const auto path = write(folder, state_of(5));
  TrainingState adapter_only = state_of(0);
  adapter_only.optimizer.clear();
  load_checkpoint(path, LoadScope::kAdapter, adapter_only);
  EXPECT_TRUE(adapter_only.adapter[1].value.equal(at::full({4}, 6.0)));
}

// Slices of a global tensor are filled from the overlap, whatever the cut was.
TEST(Checkpoint, SlicesAreFilledFromTheWhole) {
  const TempFolder folder;
  TrainingState whole;
  whole.adapter.push_back(whole_tensor("adapter/a", at::arange(12, at::kFloat).view({4, 3})));
  whole.progress.set_step(1);
  const auto path = write(folder, whole);
  TrainingState slice;
  slice.adapter.push_back({"adapter/a", at::zeros({2, 3}), {4, 3}, {1, 0}});
  load_checkpoint(path, LoadScope::kAdapter, slice);
  EXPECT_TRUE(slice.adapter[0].value.equal(at::arange(3, 9, at::kFloat).view({2, 3})));
}

TEST(Checkpoint, DifferentTensorsAreRefusedAndChangeNothing) {
  const TempFolder folder;
  const auto path = write(folder, state_of(5));
  const auto expect_refused = [&](TrainingState state, const std::string& word) {
    EXPECT_THROW_WITH(load_checkpoint(path, LoadScope::kAll, state), CheckpointError, path.string(),
                      word);
    EXPECT_TRUE(state.adapter[0].value.equal(at::zeros_like(state.adapter[0].value)));
  };
  TrainingState missing = state_of(0);
  missing.adapter.push_back(whole_tensor("adapter/bb", at::zeros(4)));
  expect_refused(missing, "adapter/bb is missing (nearest: adapter/b)");
  TrainingState fewer = state_of(0);
  fewer.adapter.pop_back();
  expect_refused(fewer, "adapter/b has no place");
  TrainingState shape = state_of(0);
  shape.adapter[1] = whole_tensor("adapter/b", at::zeros(5));
  expect_refused(shape, "[4]");
  TrainingState type = state_of(0);
  type.adapter[1] = whole_tensor("adapter/b", at::zeros(4, at::kDouble));
  expect_refused(type, "F64");
}

TEST(Checkpoint, EveryKindOfDamageIsFound) {
  for (const char* name :
       {"manifest.pb", "adapter-00000.safetensors", "optimizer-00000.safetensors"}) {
    const auto damaged = [&](const auto& damage) {
      const TempFolder folder;
      const auto path = write(folder, state_of(5));
      damage(path / name);
      return find_damage(path);
    };
    EXPECT_THAT(damaged([](const auto& file) { std::filesystem::remove(file); }),
                ::testing::HasSubstr(name));
    EXPECT_NE(damaged([](const auto& file) {
                std::filesystem::resize_file(file, std::filesystem::file_size(file) - 1);
              }),
              "")
        << name;
    EXPECT_THAT(damaged([](const auto& file) {
                  std::string bytes = testing::read_text(file);
                  bytes[bytes.size() / 2] ^= 1;
                  std::ofstream(file, std::ios::binary) << bytes;
                }),
                ::testing::HasSubstr(name));
  }
}

TEST(Checkpoint, OtherFormatVersionIsRefusedByName) {
  const TempFolder folder;
  const auto path = write(folder, state_of(5));
  CheckpointManifest manifest = read_manifest(path);
  manifest.set_format_version(77);
  ManifestFile file;
  file.set_manifest(manifest.SerializeAsString());
  file.set_sha256(sha256_hex(file.manifest()));
  write_file_atomic(path / kManifestName, file.SerializeAsString());
  EXPECT_THROW_WITH((void)read_manifest(path), CheckpointError, "format 77", "formats 1 to 2");
}

TEST(Checkpoint, SavingAStepAgainKeepsTheValidOneAndReplacesADamagedOne) {
  const TempFolder folder;
  const auto path = write(folder, state_of(5));
  const auto written = std::filesystem::last_write_time(path / kManifestName);
  EXPECT_EQ(write(folder, state_of(5)), path);
  EXPECT_EQ(std::filesystem::last_write_time(path / kManifestName), written);
  std::filesystem::remove(path / "adapter-00000.safetensors");
  write(folder, state_of(5));
  EXPECT_EQ(find_damage(path), "");
}

TEST(Checkpoint, FailureIsTheSameErrorOnEveryRank) {
  const TempFolder folder;
  const auto blocked = folder.write("file", "not a folder");
  std::atomic<int> failed{0};
  EXPECT_THROW(run_rank_threads(3,
                                [&](Communicator& comm) {
                                  try {
                                    write_checkpoint(comm, blocked, state_of(1), identity());
                                  } catch (const CheckpointError& error) {
                                    EXPECT_THAT(error.what(), ::testing::HasSubstr("step 7"));
                                    ++failed;
                                    throw;
                                  }
                                }),
               CheckpointError);
  EXPECT_EQ(failed, 3);
}

TEST(Checkpoint, AttemptsOfADeadProcessAreNotCheckpointsAndAreRemoved) {
  const TempFolder folder;
  write(folder, state_of(5));
  std::filesystem::create_directories(folder / attempt_folder_name(9, 1));
  EXPECT_EQ(committed_steps(folder.path()), (std::vector<int64_t>{7}));
  remove_stale_attempts(folder.path());
  EXPECT_FALSE(std::filesystem::exists(folder / attempt_folder_name(9, 1)));
  EXPECT_EQ(committed_steps(folder.path()), (std::vector<int64_t>{7}));
  EXPECT_TRUE(committed_steps(folder / "nowhere").empty());
}

}  // namespace
}  // namespace molora
