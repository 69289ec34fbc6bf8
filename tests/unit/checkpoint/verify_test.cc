#include "checkpoint/verify.h"

#include <algorithm>
#include <filesystem>
#include <functional>
#include <set>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/philox.h"
#include "checkpoint/saved_tensors.h"
#include "support/stored_checkpoint.h"
#include "support/temp_folder.h"

namespace molora {
namespace {

using ::testing::Contains;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using testing::read_text;
using ::testing::SizeIs;
using ::testing::StartsWith;
using testing::StoredCheckpoint;
using testing::TempFolder;
using testing::two_rank_checkpoint;
using testing::write_bytes;

constexpr char kFormat1[] = "tests/assets/checkpoints/format-1/step-00000003";
constexpr char kAdapter0[] = "adapter-00000.safetensors";
constexpr char kOptimizer1[] = "optimizer-00001.safetensors";

// A whole checkpoint whose files tests damage and put back.
class Victim {
 public:
  explicit Victim(int64_t step = 7) : checkpoint_(two_rank_checkpoint(step)) {
    folder_ = checkpoint_.write(temp_.path());
  }
  const std::filesystem::path& folder() const { return folder_; }
  std::filesystem::path operator/(const std::string& name) const { return folder_ / name; }
  CheckpointManifest& manifest() { return checkpoint_.manifest; }
  void write_manifest() const { checkpoint_.write_manifest(folder_); }

  // The damages as texts without the folder.
  std::vector<std::string> texts() const {
    std::vector<std::string> texts;
    for (const Damage& damage : find_damages(local_files(), folder_)) {
      texts.push_back(damage_text("", damage));
    }
    return texts;
  }

 private:
  TempFolder temp_;
  StoredCheckpoint checkpoint_;
  std::filesystem::path folder_;
};

// The slice of the manifest that holds this byte of the file; nullptr in the header.
const TensorRecord* record_at(const CheckpointManifest& manifest, const std::string& file,
                              uint64_t byte) {
  for (const TensorRecord& record : manifest.tensors()) {
    if (record.file() == file && record.file_offset() <= byte &&
        byte < record.file_offset() + record.bytes()) {
      return &record;
    }
  }
  return nullptr;
}

uint64_t header_end(const CheckpointManifest& manifest, const std::string& file) {
  uint64_t end = ~uint64_t{0};
  for (const TensorRecord& record : manifest.tensors()) {
    if (record.file() == file) end = std::min(end, record.file_offset());
  }
  return end;
}

TEST(Verify, AWholeCheckpointHasNoDamage) {
  const Victim victim;
  const Verification result = verify_checkpoint(local_files(), victim.folder());
  EXPECT_TRUE(result.is_whole());
  EXPECT_THAT(result.notes, IsEmpty());
  EXPECT_EQ(result.step, 7);
  EXPECT_EQ(result.num_files, 4);
  EXPECT_EQ(result.num_tensors, 15);
  uint64_t bytes = 0;
  for (const auto& entry : std::filesystem::directory_iterator(victim.folder())) {
    if (entry.path().filename() != kManifestName) bytes += entry.file_size();
  }
  EXPECT_EQ(result.bytes, bytes);
}

TEST(Verify, FormatOneIsCheckedByItsDigests) {
  const Verification result = verify_checkpoint(local_files(), kFormat1);
  EXPECT_TRUE(result.is_whole());
  EXPECT_EQ(result.num_files, 2);
  EXPECT_EQ(result.num_tensors, 72);
}

// Twenty places over the length of each file, the manifest among them.
TEST(Verify, OneFlippedBitAnywhereIsNamedWithFileTensorAndBytes) {
  Victim victim;
  int in_tensors = 0;
  for (const FileRecord& file : victim.manifest().files()) {
    const std::string content = read_text(victim / file.name());
    for (uint64_t i = 0; i < 20; ++i) {
      const uint64_t byte = i * (content.size() - 1) / 19;
      std::string changed = content;
      changed[byte] = static_cast<char>(changed[byte] ^ (1 << philox_below(1, i, 8)));
      write_bytes(victim / file.name(), changed);
      const std::vector<Damage> damages = find_damages(local_files(), victim.folder());
      ASSERT_THAT(damages, ::testing::Not(IsEmpty())) << file.name() << " byte " << byte;
      for (const Damage& damage : damages) {
        EXPECT_EQ(damage.file, file.name());
        EXPECT_LE(damage.begin, byte) << damage_text("", damage);
        EXPECT_GT(damage.end, byte) << damage_text("", damage);
      }
      if (const TensorRecord* record = record_at(victim.manifest(), file.name(), byte)) {
        ++in_tensors;
        ASSERT_THAT(damages, SizeIs(1));
        EXPECT_EQ(damages[0].tensor, record->name());
        EXPECT_EQ(damages[0].begin, record->file_offset());
        EXPECT_EQ(damages[0].end, record->file_offset() + record->bytes());
      } else {
        EXPECT_EQ(damages[0].end, header_end(victim.manifest(), file.name()))
            << damage_text("", damages[0]);
      }
    }
    write_bytes(victim / file.name(), content);
  }
  EXPECT_GT(in_tensors, 10);
  EXPECT_THAT(victim.texts(), IsEmpty());
}

TEST(Verify, OneFlippedBitOfTheManifestIsNamed) {
  const Victim victim;
  const std::string content = read_text(victim / kManifestName);
  for (uint64_t i = 0; i < 20; ++i) {
    std::string changed = content;
    const uint64_t byte = i * (content.size() - 1) / 19;
    changed[byte] = static_cast<char>(changed[byte] ^ (1 << philox_below(2, i, 8)));
    write_bytes(victim / kManifestName, changed);
    EXPECT_THAT(victim.texts(), ElementsAre(StartsWith(fmt::format(
                                    "manifest.pb: bytes 0 to {}: is damaged", content.size()))))
        << byte;
  }
}

TEST(Verify, ATruncatedFileIsNamedWithTheTensorsThatAreLost) {
  Victim victim;
  for (const FileRecord& file : victim.manifest().files()) {
    const std::string content = read_text(victim / file.name());
    for (uint64_t i = 0; i < 10; ++i) {
      const uint64_t length = i * (content.size() - 1) / 9;
      write_bytes(victim / file.name(), content.substr(0, length));
      const std::vector<Damage> damages = find_damages(local_files(), victim.folder());
      ASSERT_THAT(damages, ::testing::Not(IsEmpty()));
      EXPECT_EQ(damages[0].begin, length);
      EXPECT_EQ(damages[0].end, content.size());
      EXPECT_THAT(damages[0].what, HasSubstr("it is truncated"));
      size_t lost = 0;
      for (const TensorRecord& record : victim.manifest().tensors()) {
        if (record.file() != file.name()) continue;
        const bool is_lost = record.file_offset() + record.bytes() > length;
        const auto found = std::find_if(damages.begin(), damages.end(), [&](const Damage& damage) {
          return damage.tensor == record.name();
        });
        EXPECT_EQ(found != damages.end(), is_lost) << record.name() << " of " << length;
        if (is_lost && found != damages.end()) {
          ++lost;
          EXPECT_EQ(found->begin, std::max(record.file_offset(), length));
          EXPECT_EQ(found->end, record.file_offset() + record.bytes());
        }
      }
      for (const Damage& damage : damages) EXPECT_EQ(damage.file, file.name());
      const bool is_header_cut = length < header_end(victim.manifest(), file.name());
      EXPECT_EQ(damages.size(), 1 + lost + (is_header_cut ? 1 : 0)) << length;
    }
    write_bytes(victim / file.name(), content);
  }
}

TEST(Verify, ATruncatedManifestIsNamed) {
  const Victim victim;
  const std::string content = read_text(victim / kManifestName);
  for (uint64_t i = 0; i < 10; ++i) {
    write_bytes(victim / kManifestName, content.substr(0, i * (content.size() - 1) / 9));
    EXPECT_THAT(victim.texts(), ElementsAre(HasSubstr("is damaged"))) << i;
  }
}

TEST(Verify, AMissingFileIsNamedWithItsTensors) {
  Victim victim;
  std::filesystem::remove(victim / kAdapter0);
  const std::vector<std::string> texts = victim.texts();
  ASSERT_THAT(texts, SizeIs(5));
  EXPECT_THAT(texts[0], StartsWith("adapter-00000.safetensors: bytes 0 to "));
  EXPECT_THAT(texts[0], HasSubstr("is missing"));
  EXPECT_THAT(texts, Contains(StartsWith("adapter-00000.safetensors: tensor "
                                         "adapter/layers.1.self_attn.q_proj.lora_A: bytes ")));
  std::filesystem::remove(victim / kManifestName);
  EXPECT_THAT(victim.texts(), ElementsAre(HasSubstr("manifest.pb: cannot open")));
}

TEST(Verify, AFileOfAnotherStepIsNamed) {
  // Step 12 has as many digits as 10, so that the files are of the same length, and 7 has not.
  for (const int64_t other : {12, 7}) {
    Victim victim(10);
    const Victim stranger(other);
    for (const FileRecord& file : victim.manifest().files()) {
      const std::string content = read_text(victim / file.name());
      const std::string foreign = read_text(stranger / file.name());
      write_bytes(victim / file.name(), foreign);
      EXPECT_THAT(victim.texts(),
                  ElementsAre(fmt::format("{}: bytes 0 to {}: is a file of step {}, the manifest "
                                          "is that of step 10",
                                          file.name(), foreign.size(), other)));
      write_bytes(victim / file.name(), content);
    }
  }
}

TEST(Verify, AManifestOfAnotherStepIsNamed) {
  const Victim victim(10);
  const Victim stranger(12);
  write_bytes(victim / kManifestName, read_text(stranger / kManifestName));
  const std::vector<std::string> texts = victim.texts();
  ASSERT_THAT(texts, SizeIs(5));
  EXPECT_EQ(texts[0], "manifest.pb: is that of step 12, in the folder of step 10");
  EXPECT_THAT(texts[1], HasSubstr("is a file of step 10, the manifest is that of step 12"));
}

TEST(Verify, FilesThatChangedPlacesAreNamed) {
  const Victim victim;
  const std::string first = read_text(victim / kAdapter0);
  write_bytes(victim / kAdapter0, read_text(victim / "adapter-00001.safetensors"));
  write_bytes(victim / "adapter-00001.safetensors", first);
  const std::vector<std::string> texts = victim.texts();
  EXPECT_THAT(texts, Contains(AllOf(StartsWith(kAdapter0), HasSubstr("router.bias"),
                                    HasSubstr("a tensor that the manifest does not"))));
  EXPECT_THAT(texts, Contains(AllOf(StartsWith(kAdapter0), HasSubstr("router.weight"),
                                    HasSubstr("does not name the tensor"))));
  EXPECT_THAT(texts, Contains(StartsWith("adapter-00001.safetensors: ")));
}

// A file that is another run's of the same step and shape: nothing but its numbers tells.
TEST(Verify, AFileOfAnotherRunIsNamedByItsTensors) {
  Victim victim;
  std::string content = read_text(victim / kOptimizer1);
  const uint64_t data = header_end(victim.manifest(), kOptimizer1);
  for (uint64_t i = data; i < content.size(); i += 4)
    content[i] = static_cast<char>(content[i] + 1);
  write_bytes(victim / kOptimizer1, content);
  const std::vector<std::string> texts = victim.texts();
  EXPECT_THAT(texts, SizeIs(6));
  for (const std::string& text : texts) EXPECT_THAT(text, HasSubstr("CRC-32C is "));
}

TEST(Verify, BytesBehindTheEndAreNamed) {
  const Victim victim;
  const std::string content = read_text(victim / kAdapter0);
  write_bytes(victim / kAdapter0, content + "xyz");
  EXPECT_THAT(victim.texts(),
              ElementsAre(fmt::format(
                  "adapter-00000.safetensors: bytes {} to {}: has {} bytes, the "
                  "manifest says {}: these were added",
                  content.size(), content.size() + 3, content.size() + 3, content.size())));
}

TEST(Verify, EveryDamageIsFound) {
  const Victim victim;
  std::string content = read_text(victim / kAdapter0);
  content[content.size() - 1] ^= 1;
  content[content.size() - 200] ^= 1;
  write_bytes(victim / kAdapter0, content);
  std::filesystem::remove(victim / "adapter-00001.safetensors");
  std::filesystem::resize_file(victim / kOptimizer1, 3);
  int in_adapter0 = 0;
  std::set<std::string> files;
  for (const Damage& damage : find_damages(local_files(), victim.folder())) {
    files.insert(damage.file);
    if (damage.file == kAdapter0) ++in_adapter0;
  }
  EXPECT_EQ(in_adapter0, 2);
  EXPECT_THAT(files, ElementsAre(kAdapter0, "adapter-00001.safetensors", kOptimizer1));
}

TEST(Verify, AHeaderThatDisagreesWithTheManifestIsNamed) {
  Victim victim;
  const auto changed_digest = [&](const std::string& name, const std::string& content) {
    for (FileRecord& file : *victim.manifest().mutable_files()) {
      if (file.name() == name) file.set_sha256(sha256_hex(content));
    }
    write_bytes(victim / name, content);
    victim.write_manifest();
  };
  const std::string content = read_text(victim / kAdapter0);
  const auto with = [&](const std::string& from, const std::string& to) {
    std::string changed = content;
    changed.replace(changed.find(from), from.size(), to);
    return changed;
  };
  // The digest is right, so that only the comparison can tell.
  changed_digest(kAdapter0, with("4,2,8@0,0,0", "4,2,8@2,0,0"));
  EXPECT_THAT(victim.texts(), ElementsAre(HasSubstr("header says slice 4,2,8@2,0,0, the manifest "
                                                    "4,2,8@0,0,0")));
  changed_digest(kAdapter0, with("\"shape\":[2,2,8]", "\"shape\":[8,2,2]"));
  EXPECT_THAT(victim.texts(), ElementsAre(HasSubstr("its header says F32 [8, 2, 2] at byte")));
  changed_digest(kAdapter0, with("\"step\":\"7\"", "\"step\":\"8\""));
  EXPECT_THAT(victim.texts(), ElementsAre(HasSubstr("its header says step 8, the manifest is that "
                                                    "of step 7")));
}

TEST(Verify, FaultsOfTheManifestsRecordsAreNamed) {
  const auto texts_after = [](const std::function<void(CheckpointManifest&)>& change) {
    Victim victim;
    change(victim.manifest());
    victim.write_manifest();
    return victim.texts();
  };
  EXPECT_THAT(texts_after([](CheckpointManifest& m) { m.mutable_tensors(0)->set_offset(0, 1); }),
              Contains(AllOf(StartsWith("manifest.pb: tensor "), HasSubstr("overlap"))));
  EXPECT_THAT(texts_after([](CheckpointManifest& m) { m.mutable_tensors()->DeleteSubrange(0, 1); }),
              Contains(AllOf(StartsWith("manifest.pb: tensor "), HasSubstr("leave a gap"))));
  EXPECT_THAT(texts_after([](CheckpointManifest& m) { m.clear_files(); }),
              Contains("manifest.pb: names no file"));
  EXPECT_THAT(texts_after([](CheckpointManifest& m) { *m.add_files() = m.files(0); }),
              Contains("manifest.pb: names adapter-00000.safetensors twice"));
  EXPECT_THAT(texts_after([](CheckpointManifest& m) { m.add_files()->set_name("../x"); }),
              Contains("manifest.pb: names a file outside of the folder: '../x'"));
  EXPECT_THAT(texts_after([](CheckpointManifest& m) { m.set_format_version(3); }),
              ElementsAre(HasSubstr("has checkpoint format 3")));
  EXPECT_THAT(texts_after([](CheckpointManifest& m) { m.mutable_tensors(0)->set_crc32c(5); }),
              ElementsAre(HasSubstr("CRC-32C is")));
}

TEST(Verify, AFileThatTheManifestDoesNotNameIsNoDamage) {
  const Victim victim;
  write_bytes(victim / "notes.txt", "mine");
  const Verification result = verify_checkpoint(local_files(), victim.folder());
  EXPECT_TRUE(result.is_whole());
  ASSERT_THAT(result.notes, SizeIs(1));
  EXPECT_EQ(damage_text("", result.notes[0]), "notes.txt: is not named by the manifest");
}

TEST(Verify, AFileThatCannotBeReadIsNamed) {
  const Victim victim;
  std::filesystem::remove(victim / kAdapter0);
  std::filesystem::create_directory(victim / kAdapter0);
  EXPECT_THAT(victim.texts(), ElementsAre(AllOf(StartsWith(kAdapter0), HasSubstr("cannot be read"),
                                                HasSubstr("found a folder"))));
}

TEST(Verify, FormatOneDamageIsNamedWithItsFile) {
  const TempFolder temp;
  const auto folder = temp / "step-00000003";
  std::filesystem::copy(kFormat1, folder);
  const auto file = folder / kAdapter0;
  const std::string content = read_text(file);
  const auto texts = [&](const std::string& changed) {
    write_bytes(file, changed);
    std::vector<std::string> all;
    for (const Damage& damage : find_damages(local_files(), folder)) {
      all.push_back(damage_text("", damage));
    }
    return all;
  };
  for (uint64_t i = 0; i < 20; ++i) {
    std::string changed = content;
    changed[i * (content.size() - 1) / 19] ^= 4;
    EXPECT_THAT(texts(changed), Contains(StartsWith(kAdapter0))) << i;
  }
  // Where the tensors lie is known from the file's own header.
  EXPECT_THAT(
      texts(content.substr(0, content.size() - 5)),
      ElementsAre(HasSubstr("it is truncated"), AllOf(HasSubstr("layers.3.mlp.up_proj.router.bias"),
                                                      HasSubstr("its end is lost"))));
  EXPECT_THAT(texts(read_text(folder / "optimizer-00000.safetensors")),
              Contains(StartsWith(kAdapter0)));
}

TEST(Verify, SharesTogetherCheckEveryFile) {
  const Victim victim;
  const CheckpointManifest manifest = read_manifest(local_files(), victim.folder());
  for (const int shares : {1, 2, 3, 7}) {
    for (const FileRecord& file : manifest.files()) {
      const std::string content = read_text(victim / file.name());
      std::string changed = content;
      changed.back() ^= 1;
      write_bytes(victim / file.name(), changed);
      std::vector<std::string> found;
      for (int share = 0; share < shares; ++share) {
        const std::string text =
            check_files(local_files(), victim.folder(), manifest, share, shares);
        if (!text.empty()) found.push_back(text);
      }
      EXPECT_THAT(found, ElementsAre(AllOf(StartsWith((victim / file.name()).string()),
                                           HasSubstr(": tensor "), HasSubstr("CRC-32C"))));
      write_bytes(victim / file.name(), content);
      for (int share = 0; share < shares; ++share) {
        EXPECT_EQ(check_files(local_files(), victim.folder(), manifest, share, shares), "");
      }
    }
  }
}

TEST(Verify, ShareZeroChecksTheManifestsRecords) {
  Victim victim;
  victim.manifest().mutable_tensors(0)->set_dtype("?");
  EXPECT_THAT(check_files(local_files(), victim.folder(), victim.manifest(), 0, 2),
              HasSubstr("manifest.pb: tensor "));
}

}  // namespace
}  // namespace molora
