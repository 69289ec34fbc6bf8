// Debian's libsentencepiece.so exports a protobuf of its own (3.14), libprotobuf is 3.21. A program
// where they mix crashes before main() or when a model is read. Here both are used in one program,
// as molora does.
#include <dlfcn.h>

#include <filesystem>
#include <string>
#include <vector>

#include <google/protobuf/generated_message_util.h>
#include <google/protobuf/stubs/common.h>
#include <gtest/gtest.h>

#include "run_config.pb.h"
#include "support/temp_folder.h"
#include "tokenizer/tokenizer.h"

namespace molora {
namespace {

TEST(TwoProtobufs, ASentencePieceModelIsReadBesideOurOwnMessages) {
  const testing::TempFolder folder;
  std::filesystem::copy_file("tests/assets/models/stories260k/tokenizer.model",
                             folder / "tokenizer.model");
  const auto tokenizer = load_tokenizer(folder.path());
  EXPECT_EQ(tokenizer->encode("Once upon a time"), (std::vector<TokenId>{403, 407, 261, 378}));

  DataConfig config;
  config.add_train()->set_path("a.jsonl");
  DataConfig copy;
  ASSERT_TRUE(copy.ParseFromString(config.SerializeAsString()));
  EXPECT_EQ(copy.ShortDebugString(), config.ShortDebugString());
  EXPECT_EQ(copy.train(0).path(), "a.jsonl");
}

// The file that holds the code at an address.
std::string file_of(const void* address) {
  Dl_info info{};
  EXPECT_NE(::dladdr(address, &info), 0);
  return info.dli_fname == nullptr ? "" : info.dli_fname;
}

TEST(TwoProtobufs, OursIsPartOfTheProgram) {
  // Members of both versions, one of a class and one function.
  const auto ours = reinterpret_cast<const void*>(&file_of);
  EXPECT_EQ(file_of(reinterpret_cast<const void*>(&google::protobuf::ShutdownProtobufLibrary)),
            file_of(ours));
  EXPECT_EQ(
      file_of(reinterpret_cast<const void*>(&google::protobuf::internal::InitProtobufDefaults)),
      file_of(ours));
}

}  // namespace
}  // namespace molora
