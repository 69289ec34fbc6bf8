#include "checkpoint/saved_tensors.h"

#include <fstream>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/error.h"
#include "support/expect_throw.h"
#include "support/stored_checkpoint.h"
#include "support/temp_folder.h"

namespace molora {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;
using ::testing::SizeIs;
using testing::StoredCheckpoint;
using testing::TempFolder;
using testing::two_rank_checkpoint;

constexpr char kA[] = "adapter/layers.0.mlp.up_proj.lora_A";  // [4, 2, 8], cut along its first
constexpr char kB[] = "adapter/layers.0.mlp.up_proj.lora_B";  // [4, 2, 6], cut along its last
constexpr char kFormat1[] = "tests/assets/checkpoints/format-1/step-00000003";

SavedTensors opened(const std::filesystem::path& folder) {
  return {local_files(), folder, read_manifest(local_files(), folder)};
}

// Forwards to the local files and notes how many bytes were read and files opened.
class CountingFiles final : public FileSystem {
 public:
  std::unique_ptr<WritableFile> create(const std::filesystem::path& path) override {
    return local_files().create(path);
  }
  std::unique_ptr<ReadableFile> open(const std::filesystem::path& path) override {
    opened.push_back(path.filename().string());
    return std::make_unique<File>(local_files().open(path), bytes);
  }
  void make_folder(const std::filesystem::path& path) override { local_files().make_folder(path); }
  void sync_folder(const std::filesystem::path& path) override { local_files().sync_folder(path); }
  void rename(const std::filesystem::path& from, const std::filesystem::path& to) override {
    local_files().rename(from, to);
  }
  void remove(const std::filesystem::path& path) override { local_files().remove(path); }
  std::vector<Entry> list(const std::filesystem::path& path) override {
    return local_files().list(path);
  }
  bool exists(const std::filesystem::path& path) override { return local_files().exists(path); }

  std::vector<std::string> opened;
  uint64_t bytes = 0;

 private:
  class File final : public ReadableFile {
   public:
    File(std::unique_ptr<ReadableFile> file, uint64_t& bytes)
        : file_(std::move(file)), bytes_(bytes) {}
    uint64_t size() const override { return file_->size(); }
    void read_at(uint64_t offset, std::span<std::byte> into) const override {
      bytes_ += into.size();
      file_->read_at(offset, into);
    }

   private:
    std::unique_ptr<ReadableFile> file_;
    uint64_t& bytes_;
  };
};

void flip_bit(const std::filesystem::path& path, uint64_t byte) {
  std::string content = testing::read_text(path);
  content.at(byte) = static_cast<char>(content[byte] ^ 0x10);
  testing::write_bytes(path, content);
}

TEST(SavedTensors, EveryTensorIsWholeAgain) {
  for (const auto type : {at::kFloat, at::kDouble, at::kBFloat16}) {
    const TempFolder folder;
    StoredCheckpoint checkpoint = two_rank_checkpoint(7, type);
    SavedTensors stored = opened(checkpoint.write(folder.path()));
    EXPECT_THAT(stored.names(), SizeIs(checkpoint.wholes().size()));
    for (const auto& [name, value] : checkpoint.wholes()) {
      EXPECT_EQ(stored.at(name).global_shape, value.sizes().vec()) << name;
      EXPECT_TRUE(stored.whole(name).equal(value)) << name << " " << at::toString(type);
    }
  }
}

TEST(SavedTensors, EveryBoxOfATensorCanBeRead) {
  const TempFolder folder;
  StoredCheckpoint checkpoint = two_rank_checkpoint(7);
  SavedTensors stored = opened(checkpoint.write(folder.path()));
  for (const char* name : {kA, kB}) {
    const Tensor whole = checkpoint.wholes().at(name);
    for (int64_t e = 0; e < 4; ++e) {
      for (int64_t end = e; end <= 4; ++end) {
        for (int64_t c = 0; c < 6; ++c) {
          const Tensor wanted =
              whole.narrow(0, e, end - e).narrow(1, c % 2, 2 - c % 2).narrow(2, c, 6 - c);
          Tensor box = at::zeros(wanted.sizes(), at::kFloat);
          stored.read_into(name, {e, c % 2, c}, box);
          EXPECT_TRUE(box.equal(wanted)) << name << " " << e << " " << end << " " << c;
        }
      }
    }
  }
}

TEST(SavedTensors, ADestinationMayBeAViewAndAParameter) {
  const TempFolder folder;
  StoredCheckpoint checkpoint = two_rank_checkpoint(7);
  SavedTensors stored = opened(checkpoint.write(folder.path()));
  Tensor around = at::zeros({8, 2, 4}, at::kFloat).requires_grad_();
  const Tensor view = around.detach().permute({2, 1, 0});
  stored.read_into(kA, {0, 0, 0}, view);
  EXPECT_TRUE(view.equal(checkpoint.wholes().at(kA)));
  stored.read_into(kA, {0, 0, 4}, around.narrow(0, 0, 4).narrow(1, 0, 2));
  EXPECT_TRUE(around.detach().narrow(0, 0, 4).equal(checkpoint.wholes().at(kA).narrow(2, 4, 4)));
}

TEST(SavedTensors, SlicesAreFoundWhateverTheCut) {
  const TempFolder folder;
  StoredCheckpoint checkpoint(3);
  const Tensor plane = testing::step_numbers(3, {3, 3});
  checkpoint.add("a", "plane", plane, {0, 0}, {1, 2});
  checkpoint.add("b", "plane", plane, {0, 2}, {2, 1});
  checkpoint.add("c", "plane", plane, {2, 1}, {1, 2});
  checkpoint.add("d", "plane", plane, {1, 0}, {2, 1});
  checkpoint.add("e", "plane", plane, {1, 1}, {1, 1});
  checkpoint.add_whole("a", "number", at::full({}, 5.0F));
  checkpoint.add_whole("a", "nothing", at::empty({0, 4}));
  SavedTensors stored = opened(checkpoint.write(folder.path()));
  EXPECT_TRUE(stored.whole("plane").equal(plane));
  EXPECT_EQ(stored.whole("number").item<float>(), 5.0F);
  EXPECT_EQ(stored.whole("nothing").sizes().vec(), (Shape{0, 4}));
}

TEST(SavedTensors, OnlyWhatIsNeededIsRead) {
  const TempFolder folder;
  StoredCheckpoint checkpoint = two_rank_checkpoint(7);
  const auto path = checkpoint.write(folder.path());
  CountingFiles files;
  SavedTensors stored(files, path, checkpoint.manifest);
  EXPECT_THAT(files.opened, IsEmpty());
  Tensor expert = at::empty({1, 2, 8}, at::kFloat);
  stored.read_into(kA, {2, 0, 0}, expert);
  EXPECT_THAT(files.opened, ElementsAre("adapter-00001.safetensors"));
  EXPECT_EQ(files.bytes, expert.nbytes());
  // Of each row 4 of 8 numbers: from the first to the last of them in one go.
  Tensor columns = at::empty({1, 2, 4}, at::kFloat);
  stored.read_into(kA, {3, 0, 2}, columns);
  EXPECT_TRUE(columns.equal(checkpoint.wholes().at(kA).narrow(0, 3, 1).narrow(2, 2, 4)));
  EXPECT_EQ(files.bytes, expert.nbytes() + 12 * sizeof(float));
  EXPECT_THAT(files.opened, SizeIs(1));  // it stayed open
}

TEST(SavedTensors, MoreFilesThanMayBeOpenAreReadInTurn) {
  const TempFolder folder;
  StoredCheckpoint checkpoint(1);
  const int parts = static_cast<int>(OpenFiles::kMostOpen) + 6;
  const Tensor value = testing::step_numbers(1, {parts, 2});
  checkpoint.add_parts("adapter", "adapter/x", value, 0, parts);
  const auto path = checkpoint.write(folder.path());
  CountingFiles files;
  SavedTensors stored(files, path, checkpoint.manifest);
  EXPECT_TRUE(stored.whole("adapter/x").equal(value));
  EXPECT_THAT(files.opened, SizeIs(parts));
  EXPECT_TRUE(stored.whole("adapter/x").equal(value));
}

TEST(SavedTensors, FormatOneIsReadThroughTheHeadersOfItsFiles) {
  SavedTensors stored = opened(kFormat1);
  EXPECT_THAT(stored.names(), SizeIs(72));
  const SavedTensor& tensor = stored.at(kB);
  EXPECT_EQ(tensor.global_shape, (Shape{2, 1, 384}));
  ASSERT_THAT(tensor.slices, SizeIs(1));
  EXPECT_EQ(tensor.slices[0].begin, 8u + 2488u + 2048u);
  EXPECT_FALSE(tensor.slices[0].crc32c.has_value());
  const SafetensorsFile file(std::filesystem::path(kFormat1) / "adapter-00000.safetensors");
  for (const TensorEntry& entry : file.entries()) {
    const Tensor value = stored.whole(entry.name);
    const auto read = tensor_bytes(value);
    const auto expected = file.bytes(entry);
    EXPECT_TRUE(std::equal(read.begin(), read.end(), expected.begin(), expected.end()))
        << entry.name;
  }
}

TEST(SavedTensors, AChangedBitIsNamedWithFileTensorAndBytes) {
  const TempFolder folder;
  StoredCheckpoint checkpoint = two_rank_checkpoint(7);
  const auto path = checkpoint.write(folder.path());
  SavedTensors before = opened(path);
  const SavedSlice slice = before.at(kB).slices[1];
  flip_bit(path / slice.file, slice.begin + 5);
  SavedTensors stored = opened(path);
  EXPECT_THROW_WITH((void)stored.whole(kB), CheckpointError, slice.file, kB,
                    fmt::format("bytes {} to {}: CRC-32C is", slice.begin, slice.end));
  EXPECT_NO_THROW((void)stored.whole(kA));
}

TEST(SavedTensors, AFileThatEndsTooEarlyIsNamed) {
  const TempFolder folder;
  StoredCheckpoint checkpoint = two_rank_checkpoint(7);
  const auto path = checkpoint.write(folder.path());
  SavedTensors stored = opened(path);
  const SavedSlice slice = stored.at(kA).slices[0];
  std::filesystem::resize_file(path / slice.file, slice.begin + 10);
  EXPECT_THROW_WITH((void)stored.whole(kA), CheckpointError, slice.file, kA,
                    fmt::format("bytes {} to {}: cannot be read", slice.begin, slice.end));
  std::filesystem::remove(path / slice.file);
  SavedTensors gone = opened(path);
  EXPECT_THROW_WITH((void)gone.whole(kA), CheckpointError, slice.file, kA, "cannot open");
}

TEST(SavedTensors, AManifestWithGapsIsRefused) {
  const TempFolder folder;
  StoredCheckpoint checkpoint = two_rank_checkpoint(7);
  const auto path = checkpoint.write(folder.path());
  checkpoint.manifest.mutable_tensors()->DeleteSubrange(0, 1);
  EXPECT_THROW_WITH(SavedTensors(local_files(), path, checkpoint.manifest), CheckpointError,
                    "step-00000007/manifest.pb", "leave a gap");
}

TEST(SavedTensors, AFormatOneFileThatIsNotTheManifestsIsRefused) {
  const TempFolder folder;
  const auto path = folder / "step-00000003";
  std::filesystem::copy(kFormat1, path);
  CheckpointManifest manifest = read_manifest(local_files(), path);
  const std::string name = manifest.tensors(0).name();
  CheckpointManifest other = manifest;
  other.mutable_tensors(0)->set_dtype("I32");
  EXPECT_THROW_WITH(SavedTensors(local_files(), path, other), CheckpointError, name,
                    "the manifest says I32 [1, 1, 128], the file holds F32 [1, 1, 128]");
  other = manifest;
  other.mutable_tensors(0)->set_name("x");
  EXPECT_THROW_WITH(SavedTensors(local_files(), path, other), CheckpointError, "tensor x",
                    "is not in the file");
  std::filesystem::resize_file(path / "adapter-00000.safetensors", 100);
  EXPECT_THROW_WITH(SavedTensors(local_files(), path, manifest), CheckpointError,
                    "adapter-00000.safetensors: claims a header of 2488 bytes");
  std::filesystem::resize_file(path / "adapter-00000.safetensors", 5);
  EXPECT_THROW_WITH(SavedTensors(local_files(), path, manifest), CheckpointError,
                    "adapter-00000.safetensors: 5 bytes are too few");
}

TEST(SavedTensors, AnUnknownNameIsAnsweredWithTheNearest) {
  const TempFolder folder;
  SavedTensors stored = opened(two_rank_checkpoint(7).write(folder.path()));
  EXPECT_EQ(stored.find("x"), nullptr);
  EXPECT_THROW_WITH((void)stored.whole("adapter/layers.0.mlp.up_proj.lora_C"), CheckpointError,
                    "step-00000007: there is no tensor adapter/layers.0.mlp.up_proj.lora_C",
                    "nearest: adapter/layers.0.mlp.up_proj.lora_");
}

TEST(SavedTensors, ABoxThatDoesNotFitIsAFaultOfTheCaller) {
  const TempFolder folder;
  SavedTensors stored = opened(two_rank_checkpoint(7).write(folder.path()));
  EXPECT_THROW_WITH(stored.read_into(kA, {3, 0, 0}, at::empty({2, 2, 8})), InternalError,
                    "3 to 5 of dimension 0 [4, 2, 8]");
  EXPECT_THROW_WITH(stored.read_into(kA, {0, 0}, at::empty({2, 2})), InternalError,
                    "dimensions of adapter/layers.0.mlp.up_proj.lora_A");
  EXPECT_THROW_WITH(stored.read_into(kA, {0, 0, 0}, at::empty({4, 2, 8}, at::kDouble)),
                    InternalError, "is F32, wanted Double");
}

}  // namespace
}  // namespace molora
