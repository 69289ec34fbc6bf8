#include "checkpoint/checkpoint_listing.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/error.h"
#include "support/expect_throw.h"
#include "support/temp_folder.h"

namespace molora {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;
using testing::TempFolder;

CheckpointListing list(const std::filesystem::path& path) {
  return list_checkpoints(local_files(), path);
}

// A run folder with everything that may lie in its checkpoints.
void make_run(const TempFolder& folder) {
  for (const char* name :
       {"step-00000009", "step-100000000", "step-00000020", "step-00000030.tmp-12-1",
        "step-00000030.damaged", "step-00000030.damaged-2", "stepping", "x.damaged"}) {
    std::filesystem::create_directories(folder / "checkpoints" / name);
  }
  folder.write("checkpoints/step-00000040", "a file");
  folder.write("checkpoints/latest", "step-00000020\n");
}

TEST(CheckpointListing, ARunHasItsStepsNewestFirst) {
  const TempFolder folder;
  make_run(folder);
  const std::filesystem::path root = folder / "checkpoints";
  for (const std::filesystem::path& path : {folder.path(), folder / "", root, root / ""}) {
    const CheckpointListing listing = list(path);
    EXPECT_FALSE(listing.is_one_step());
    EXPECT_EQ(listing.root, root) << path;
    EXPECT_THAT(listing.steps, ElementsAre(root / "step-100000000", root / "step-00000020",
                                           root / "step-00000009"));
    EXPECT_THAT(listing.attempts, ElementsAre("step-00000030.tmp-12-1"));
    EXPECT_THAT(listing.put_aside, ElementsAre("step-00000030.damaged", "step-00000030.damaged-2"));
    EXPECT_EQ(listing.latest, "step-00000020");
  }
}

TEST(CheckpointListing, AStepFolderIsOneStepWhateverItsName) {
  const TempFolder folder;
  make_run(folder);
  folder.write("copy/manifest.pb", "");
  const std::filesystem::path root = folder / "checkpoints";
  for (const std::filesystem::path& path : {root / "step-00000020", root / "step-00000030.tmp-12-1",
                                            root / "step-00000030.damaged", folder / "copy"}) {
    const CheckpointListing listing = list(path);
    EXPECT_TRUE(listing.is_one_step());
    EXPECT_THAT(listing.steps, ElementsAre(path));
    EXPECT_THAT(listing.attempts, IsEmpty());
  }
  EXPECT_THAT(list(root / "step-00000020" / "").steps, ElementsAre(root / "step-00000020"));
}

TEST(CheckpointListing, AFolderWithoutCheckpointsIsSaidToBeNone) {
  const TempFolder folder;
  EXPECT_THROW_WITH((void)list(folder.path()), CheckpointError, folder.path().string(),
                    "there is no checkpoint here; expected a run folder");
  EXPECT_THROW_WITH((void)list(folder / "nowhere"), CheckpointError, "nowhere: is not there");
}

}  // namespace
}  // namespace molora
