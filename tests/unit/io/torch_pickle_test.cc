#include "io/torch_pickle.h"

#include <string>
#include <string_view>

#include <gtest/gtest.h>

#include "base/error.h"
#include "support/expect_throw.h"

namespace molora {
namespace {

using namespace std::string_literals;

std::vector<PickledTensor> parse(const std::string& pickle) {
  return parse_torch_pickle(std::as_bytes(std::span(pickle)), "a.bin");
}

// A dictionary with one tensor "w" in protocol 2; `middle` stands for its value.
std::string dict_of(const std::string& middle) { return "\x80\x02}(X\x01\0\0\0w"s + middle + "u."; }

std::string text(const std::string& value) {
  return "X"s + static_cast<char>(value.size()) + "\0\0\0"s + value;
}
std::string number(int value) { return "K"s + static_cast<char>(value); }

// What torch.save() writes for a tensor; each part can be replaced.
struct TensorText {
  std::string function = "ctorch._utils\n_rebuild_tensor_v2\n";
  std::string storage_type = "ctorch\nFloatStorage\n";
  std::string elements = number(6);
  std::string offset = number(0);
  std::string sizes = number(2) + number(3) + "\x86";
  std::string strides = number(3) + number(1) + "\x86";

  std::string pickle() const {
    return function + "((" + text("storage") + storage_type + text("0") + text("cpu") + elements +
           "tQ" + offset + sizes + strides + "\x89" + "ccollections\nOrderedDict\n)RtR";
  }
};

TEST(TorchPickle, ReadsWhatItWrites) {
  const std::string pickle = torch_pickle({{"a", DType::kBF16, {2, 3}},
                                           {"b", DType::kF32, {}},
                                           {"c", DType::kI64, {0, 4}},
                                           {"d", DType::kF16, {int64_t{1} << 31, 3}}});
  const auto tensors = parse(pickle);
  ASSERT_EQ(tensors.size(), 4u);
  EXPECT_EQ(tensors[0].name, "a");
  EXPECT_EQ(tensors[0].dtype, DType::kBF16);
  EXPECT_EQ(tensors[0].strides, (Shape{3, 1}));
  EXPECT_EQ(tensors[1].storage, "1");
  EXPECT_EQ(tensors[1].storage_elements, 1);
  EXPECT_EQ(tensors[2].storage_elements, 0);
  EXPECT_EQ(tensors[3].storage_elements, (int64_t{3} << 31));
  for (const auto& tensor : tensors) EXPECT_TRUE(tensor.is_contiguous()) << tensor.name;
}

TEST(TorchPickle, ReadsViewsOfStorages) {
  TensorText view;
  view.sizes = number(2) + number(2) + "\x86";
  view.strides = number(1) + number(3) + "\x86";
  view.offset = number(1);
  const auto tensors = parse(dict_of(view.pickle()));
  ASSERT_EQ(tensors.size(), 1u);
  EXPECT_EQ(tensors[0].offset, 1);
  EXPECT_FALSE(tensors[0].is_contiguous());
}

TEST(TorchPickle, NeverCallsAndNamesWhatItWasAskedTo) {
  // The classic: pickle.loads(...) would run `id`.
  EXPECT_THROW_WITH(parse("cposix\nsystem\n(X\x02\0\0\0idtR."s), DataError, "a.bin", "posix.system",
                    "nothing was executed");
  EXPECT_THROW_WITH(parse(dict_of("cbuiltins\neval\n" + text("1") + "\x85R")), DataError,
                    "builtins.eval");
  // By the instruction of protocol 4, which takes the name from the stack.
  EXPECT_THROW_WITH(parse("\x80\x04\x8c\x02os\x8c\x06system\x93."s), DataError, "os.system");
  // Objects by other instructions: INST, OBJ, NEWOBJ, extension codes, persistent ids as text.
  for (const std::string& opcode : {"i"s, "o"s, "\x81"s, "\x92"s, "\x82\x01"s, "P"s, "I"s, "V"s}) {
    EXPECT_THROW_WITH(parse(dict_of(opcode)), DataError, "instruction");
  }
  // A known name in the place of a function that it is not.
  TensorText wrong;
  wrong.function = "ctorch\nFloatStorage\n";
  EXPECT_THROW_WITH(parse(dict_of(wrong.pickle())), DataError, "torch.FloatStorage",
                    "cannot be called");
}

TEST(TorchPickle, RefusesTensorsOutsideTheirStorage) {
  TensorText far;
  far.offset = number(1);
  EXPECT_THROW_WITH(parse(dict_of(far.pickle())), DataError, "[2, 3]", "element 6", "storage of 6");
  TensorText wide;
  wide.strides = number(200) + number(1) + "\x86";
  EXPECT_THROW_WITH(parse(dict_of(wide.pickle())), DataError, "element 202");
  TensorText huge;
  huge.sizes =
      "J\xff\xff\xff\x7f"
      "J\xff\xff\xff\x7f"
      "J\xff\xff\xff\x7f\x87"s;
  huge.strides = number(0) + number(0) + number(0) + "\x87";
  EXPECT_THROW_WITH(parse(dict_of(huge.pickle())), DataError, "larger than any memory");
  TensorText negative;
  negative.strides = "J\xff\xff\xff\xff" + number(1) + "\x86";
  EXPECT_THROW_WITH(parse(dict_of(negative.pickle())), DataError, "strides");
  TensorText ragged;
  ragged.strides = number(1) + "\x85";
  EXPECT_THROW_WITH(parse(dict_of(ragged.pickle())), DataError, "do not go together");
}

TEST(TorchPickle, RefusesWhatIsNoDictionaryOfTensors) {
  EXPECT_THROW_WITH(parse(dict_of(number(7))), DataError, "\"w\"", "no tensor");
  EXPECT_THROW_WITH(parse("\x80\x02" + TensorText().pickle() + "."), DataError,
                    "expected a dictionary");
  const std::string tensor = TensorText().pickle();
  EXPECT_THROW_WITH(parse(dict_of(tensor + "X\x01\0\0\0w"s + tensor)), DataError, "there twice");
  EXPECT_THROW_WITH(parse("\x80\x02}(K\x01K\x02u."s), DataError, "no text");
  EXPECT_THROW_WITH(parse("\x80\x01}."s), DataError, "protocol 2 to 5, got 1");
}

TEST(TorchPickle, RefusesWhatEndsTooEarlyAtEveryByte) {
  const std::string whole = dict_of(TensorText().pickle());
  ASSERT_EQ(parse(whole).size(), 1u);
  for (size_t length = 0; length < whole.size(); ++length) {
    EXPECT_THROW(parse(whole.substr(0, length)), DataError) << length;
  }
}

TEST(TorchPickle, StackAndMemoAreLookedAfter) {
  EXPECT_THROW_WITH(parse("."s), DataError, "a value is missing");
  EXPECT_THROW_WITH(parse("u."s), DataError, "a mark is missing");
  EXPECT_THROW_WITH(parse("h\x07."s), DataError, "value 7 of the memo");
  EXPECT_THROW_WITH(parse("q\x07."s), DataError, "a value is missing");
  EXPECT_THROW_WITH(parse("}(X\x01\0\0\0wu."s), DataError, "a key has no value");
  // A list that holds itself does no harm.
  EXPECT_THROW_WITH(parse("]q\x01h\x01"
                          "a."s),
                    DataError, "expected a dictionary");
}

}  // namespace
}  // namespace molora
