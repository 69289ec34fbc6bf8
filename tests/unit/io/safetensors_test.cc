#include "io/safetensors.h"

#include <cstring>

#include <gtest/gtest.h>

#include "base/error.h"
#include "support/expect_throw.h"
#include "support/temp_folder.h"

namespace molora {
namespace {

using testing::read_text;
using testing::TempFolder;

std::string file_of(const std::string& header, const std::string& data) {
  std::string length(8, '\0');
  const uint64_t size = header.size();
  std::memcpy(length.data(), &size, 8);
  return length + header + data;
}

std::filesystem::path write_two(const TempFolder& folder) {
  const auto path = folder / "two.safetensors";
  SafetensorsWriter writer(path, {{"b", DType::kI32, {2}}, {"a", DType::kF32, {1, 2}}},
                           {{"format", "pt"}});
  const std::vector<int32_t> b = {1, 2};
  const std::vector<float> a = {0.5f, -1.0f};
  writer.write_next(std::as_bytes(std::span(b)));
  writer.write_next(std::as_bytes(std::span(a)));
  writer.finish();
  return path;
}

TEST(Safetensors, WhatIsWrittenIsRead) {
  const TempFolder folder;
  const SafetensorsFile file(write_two(folder));
  ASSERT_EQ(file.entries().size(), 2u);
  EXPECT_EQ(file.entries()[0].name, "b");
  EXPECT_EQ(file.metadata().at("format"), "pt");
  const TensorEntry& a = file.at("a");
  EXPECT_EQ(a.shape, (Shape{1, 2}));
  EXPECT_EQ(a.dtype, DType::kF32);
  float values[2];
  std::memcpy(values, file.bytes(a).data(), sizeof values);
  EXPECT_EQ(values[1], -1.0f);
  EXPECT_EQ(a.offset % 4, 0u);
}

TEST(Safetensors, PartsOfATensorAreReadAndNothingBeside) {
  const TempFolder folder;
  const SafetensorsFile file(write_two(folder));
  const TensorEntry& a = file.at("a");
  float value = 0.0f;
  const auto into = std::as_writable_bytes(std::span(&value, 1));
  file.read(a, 4, into);
  EXPECT_EQ(value, -1.0f);
  file.read(a, 0, into);
  EXPECT_EQ(value, 0.5f);
  EXPECT_THROW_WITH(file.read(a, 5, into), InternalError, "a: 5 + 4 of 8");
  EXPECT_THROW_WITH(file.read(a, 9, {}), InternalError, "a: 9 + 0 of 8");
}

TEST(Safetensors, EmptyAndScalarTensorsAreLegal) {
  const TempFolder folder;
  const auto path =
      folder.write("x", file_of(R"({"e":{"dtype":"F32","shape":[0,3],"data_offsets":[0,0]},)"
                                R"("s":{"dtype":"F64","shape":[],"data_offsets":[0,8]}})",
                                std::string(8, '\0')));
  const SafetensorsFile file(path);
  EXPECT_EQ(file.at("e").bytes, 0u);
  EXPECT_EQ(shape_elements(file.at("s").shape), 1);
}

TEST(Safetensors, MissingTensorNamesTheNearest) {
  const TempFolder folder;
  const auto path = folder.write(
      "x",
      file_of(R"({"model.norm.weight":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}})", "1234"));
  const SafetensorsFile file(path);
  EXPECT_THROW_WITH((void)file.at("model.nrom.weight"), DataError, path.string(),
                    "model.norm.weight");
}

// Every way a file can be wrong, with a word of the message that must name it.
struct Damage {
  const char* what;
  std::string content;
  const char* message;
};

class SafetensorsDamage : public ::testing::TestWithParam<Damage> {};

TEST_P(SafetensorsDamage, IsRefusedWithTheReason) {
  const TempFolder folder;
  const auto path = folder.write("bad.safetensors", GetParam().content);
  EXPECT_THROW_WITH(SafetensorsFile{path}, DataError, path.string(), GetParam().message);
}

INSTANTIATE_TEST_SUITE_P(
    All, SafetensorsDamage,
    ::testing::Values(
        Damage{"empty", "", "too few"}, Damage{"short", "abc", "too few"},
        Damage{"header_length", std::string("\xff\xff\xff\xff\xff\xff\xff\x7f{}", 10),
               "claims a header"},
        Damage{"not_json", file_of("{\"a\":", ""), "header: expected JSON"},
        Damage{"not_object", file_of("[]", ""), "header: is not a JSON object"},
        Damage{"truncated",
               file_of(R"({"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}})", "1234"),
               "truncated"},
        Damage{"trailing",
               file_of(R"({"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}})", "12345"),
               "1 bytes follow"},
        Damage{"gap", file_of(R"({"a":{"dtype":"U8","shape":[1],"data_offsets":[1,2]}})", "12"),
               "begins at byte 1"},
        Damage{"overlap",
               file_of(R"({"a":{"dtype":"U8","shape":[2],"data_offsets":[0,2]},)"
                       R"("b":{"dtype":"U8","shape":[2],"data_offsets":[1,3]}})",
                       "123"),
               "tensor b: begins at byte 1"},
        Damage{"shape",
               file_of(R"({"a":{"dtype":"F32","shape":[3],"data_offsets":[0,8]}})", "12345678"),
               "needs 12 bytes"},
        Damage{
            "overflow",
            file_of(R"({"a":{"dtype":"F32","shape":[4294967296,4294967296],"data_offsets":[0,0]}})",
                    ""),
            "too many"},
        Damage{"negative",
               file_of(R"({"a":{"dtype":"F32","shape":[-1],"data_offsets":[0,4]}})", "1234"),
               "not a size"},
        Damage{"dtype",
               file_of(R"({"a":{"dtype":"F8_E4M3","shape":[1],"data_offsets":[0,1]}})", "1"),
               "F8_E4M3"},
        Damage{"offsets", file_of(R"({"a":{"dtype":"U8","shape":[1],"data_offsets":[0]}})", "1"),
               "data_offsets"},
        Damage{"lacks", file_of(R"({"a":{"dtype":"U8","shape":[1]}})", "1"), "lacks"},
        Damage{"extra_key",
               file_of(R"({"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1],"x":1}})", "1"),
               "unknown header key 'x'"},
        Damage{"deep",
               file_of(R"({"a":{"dtype":"U8","shape":[)" + std::string(1'000'000, '[') +
                           std::string(1'000'000, ']') + R"(],"data_offsets":[0,1]}})",
                       "1"),
               "levels of nesting"},
        Damage{"twice",
               file_of(R"({"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]},)"
                       R"("a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]}})",
                       "1"),
               "expected each key once, got \"a\" twice"},
        Damage{"metadata", file_of(R"({"__metadata__":{"a":1}})", ""), "more than strings"}),
    [](const auto& damage) { return damage.param.what; });

TEST(SafetensorsWriter, RefusesWrongSizesAndForgottenTensors) {
  const TempFolder folder;
  SafetensorsWriter writer(folder / "x", {{"a", DType::kF32, {2}}}, {});
  EXPECT_THROW(writer.finish(), InternalError);
  EXPECT_THROW(writer.write_next({}), InternalError);
}

}  // namespace
}  // namespace molora
