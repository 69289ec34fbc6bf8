#include "io/torch_pickle.h"

#include <algorithm>
#include <array>
#include <deque>
#include <limits>
#include <map>
#include <optional>
#include <set>
#include <string_view>
#include <utility>

#include <fmt/format.h>

#include "base/check.h"
#include "base/error.h"
#include "io/strict_json.h"

namespace molora {

namespace {

// PyTorch's names of storages.
struct StorageType {
  std::string_view name;
  DType dtype;
};
constexpr std::array<StorageType, 10> kStorageTypes = {{{"DoubleStorage", DType::kF64},
                                                        {"FloatStorage", DType::kF32},
                                                        {"HalfStorage", DType::kF16},
                                                        {"BFloat16Storage", DType::kBF16},
                                                        {"LongStorage", DType::kI64},
                                                        {"IntStorage", DType::kI32},
                                                        {"ShortStorage", DType::kI16},
                                                        {"CharStorage", DType::kI8},
                                                        {"ByteStorage", DType::kU8},
                                                        {"BoolStorage", DType::kBool}}};

constexpr std::string_view kRebuildTensor = "torch._utils._rebuild_tensor_v2";
constexpr std::string_view kRebuildParameter = "torch._utils._rebuild_parameter";
constexpr std::string_view kOrderedDict = "collections.OrderedDict";

std::optional<DType> storage_dtype(std::string_view global) {
  constexpr std::string_view kModule = "torch.";
  if (!global.starts_with(kModule)) return std::nullopt;
  for (const StorageType& type : kStorageTypes) {
    if (global.substr(kModule.size()) == type.name) return type.dtype;
  }
  return std::nullopt;
}

std::string_view storage_name(DType dtype) {
  for (const StorageType& type : kStorageTypes) {
    if (type.dtype == dtype) return type.name;
  }
  return "?";
}

// The instructions that torch.save() writes, of protocols 2 to 4.
enum Opcode : uint8_t {
  kMark = '(',
  kStop = '.',
  kPop = '0',
  kBinInt = 'J',
  kBinInt1 = 'K',
  kBinInt2 = 'M',
  kNone = 'N',
  kBinPersId = 'Q',
  kReduce = 'R',
  kBinUnicode = 'X',
  kAppend = 'a',
  kBuild = 'b',
  kGlobal = 'c',
  kAppends = 'e',
  kBinGet = 'h',
  kLongBinGet = 'j',
  kBinPut = 'q',
  kLongBinPut = 'r',
  kSetItem = 's',
  kTuple = 't',
  kSetItems = 'u',
  kEmptyTuple = ')',
  kEmptyList = ']',
  kEmptyDict = '}',
  kBinFloat = 'G',
  kProto = 0x80,
  kTuple1 = 0x85,
  kTuple2 = 0x86,
  kTuple3 = 0x87,
  kNewTrue = 0x88,
  kNewFalse = 0x89,
  kLong1 = 0x8a,
  kShortBinUnicode = 0x8c,
  kStackGlobal = 0x93,
  kMemoize = 0x94,
  kFrame = 0x95,
};

struct Value;
using Ref = Value*;

struct Value {
  enum class Kind {
    kMark,
    kNone,
    kBool,
    kInt,
    kFloat,
    kText,
    kItems,
    kDict,
    kGlobal,
    kStorage,
    kTensor
  };
  Kind kind = Kind::kNone;
  int64_t number = 0;                        // kBool, kInt
  std::string text;                          // kText, kGlobal ("module.name")
  std::vector<Ref> items;                    // kItems: a tuple or a list
  std::vector<std::pair<Ref, Ref>> entries;  // kDict
  PickledTensor tensor;                      // kTensor; kStorage: without shape
};

class Interpreter {
 public:
  Interpreter(std::span<const std::byte> bytes, const std::string& origin)
      : bytes_(bytes), origin_(origin) {}

  std::vector<PickledTensor> run() {
    while (true) {
      at_ = next_;
      const auto opcode = static_cast<uint8_t>(take(1)[0]);
      if (opcode == kStop) break;
      step(opcode);
    }
    const Ref top = pop();
    if (top->kind != Value::Kind::kDict) fail("expected a dictionary of tensors");
    return tensors_of(*top);
  }

 private:
  [[noreturn]] void fail(const std::string& what) const {
    throw DataError(
        fmt::format("{}: {} (byte {} of the pickle; nothing was executed)", origin_, what, at_));
  }

  std::span<const std::byte> take(size_t count) {
    if (count > bytes_.size() - next_) fail("the pickle ends in the middle of an instruction");
    const auto part = bytes_.subspan(next_, count);
    next_ += count;
    return part;
  }

  // Little-endian, unsigned.
  uint64_t take_number(size_t bytes) {
    uint64_t value = 0;
    const auto part = take(bytes);
    for (size_t i = 0; i < bytes; ++i) value |= std::to_integer<uint64_t>(part[i]) << (8 * i);
    return value;
  }

  std::string take_text(uint64_t bytes) {
    const auto part = take(static_cast<size_t>(bytes));
    return {reinterpret_cast<const char*>(part.data()), part.size()};
  }

  std::string take_line() {
    const auto rest = bytes_.subspan(next_);
    const auto end = std::find(rest.begin(), rest.end(), std::byte{'\n'});
    if (end == rest.end()) fail("the pickle ends in the middle of a name");
    std::string line = take_text(static_cast<uint64_t>(end - rest.begin()));
    take(1);
    return line;
  }

  Value& make(Value::Kind kind) {
    Value& value = values_.emplace_back();
    value.kind = kind;
    return value;
  }
  void push(Ref value) { stack_.push_back(value); }
  Ref pop() {
    if (stack_.empty() || stack_.back()->kind == Value::Kind::kMark) fail("a value is missing");
    const Ref value = stack_.back();
    stack_.pop_back();
    return value;
  }
  // Everything above the topmost mark, which goes as well.
  std::vector<Ref> pop_to_mark() {
    const auto mark = std::find_if(stack_.rbegin(), stack_.rend(),
                                   [](Ref value) { return value->kind == Value::Kind::kMark; });
    if (mark == stack_.rend()) fail("a mark is missing");
    std::vector<Ref> items(mark.base(), stack_.end());
    stack_.erase(mark.base() - 1, stack_.end());
    return items;
  }
  // The topmost value, to be added to.
  Value& top(Value::Kind kind, const char* what) {
    if (stack_.empty() || stack_.back()->kind != kind) fail(fmt::format("expected {}", what));
    return *stack_.back();
  }

  void push_int(int64_t number) {
    Value& value = make(Value::Kind::kInt);
    value.number = number;
    push(&value);
  }
  void push_bool(bool flag) {
    Value& value = make(Value::Kind::kBool);
    value.number = flag ? 1 : 0;
    push(&value);
  }
  void push_text(std::string text) {
    Value& value = make(Value::Kind::kText);
    value.text = std::move(text);
    push(&value);
  }
  void push_items(std::vector<Ref> items) {
    Value& value = make(Value::Kind::kItems);
    value.items = std::move(items);
    push(&value);
  }
  void push_tuple(size_t count) {
    std::vector<Ref> items(count);
    for (size_t i = count; i-- > 0;) items[i] = pop();
    push_items(std::move(items));
  }

  void push_global(const std::string& name) {
    const bool is_known = name == kRebuildTensor || name == kRebuildParameter ||
                          name == kOrderedDict || storage_dtype(name);
    if (!is_known) {
      fail(fmt::format("asks for {}, which is no part of a dictionary of tensors",
                       json_excerpt(name)));
    }
    Value& value = make(Value::Kind::kGlobal);
    value.text = name;
    push(&value);
  }

  void remember(uint64_t place) {
    if (stack_.empty()) fail("a value is missing");
    memo_[place] = stack_.back();
  }
  void recall(uint64_t place) {
    const auto found = memo_.find(place);
    if (found == memo_.end())
      fail(fmt::format("expected value {} of the memo, which is not there", place));
    push(found->second);
  }

  void add_entries(Value& dict, const std::vector<Ref>& items) {
    if (items.size() % 2 != 0) fail("a key has no value");
    for (size_t i = 0; i < items.size(); i += 2) dict.entries.emplace_back(items[i], items[i + 1]);
  }

  void step(uint8_t opcode) {
    switch (opcode) {
      case kProto: {
        const uint64_t protocol = take_number(1);
        if (protocol < 2 || protocol > 5)
          fail(fmt::format("expected protocol 2 to 5, got {}", protocol));
        return;
      }
      case kFrame:
        take_number(8);
        return;
      case kMark:
        return push(&make(Value::Kind::kMark));
      case kPop:
        pop();
        return;
      case kNone:
        return push(&make(Value::Kind::kNone));
      case kNewTrue:
      case kNewFalse:
        return push_bool(opcode == kNewTrue);
      case kBinInt:
        return push_int(static_cast<int32_t>(static_cast<uint32_t>(take_number(4))));
      case kBinInt1:
        return push_int(static_cast<int64_t>(take_number(1)));
      case kBinInt2:
        return push_int(static_cast<int64_t>(take_number(2)));
      case kLong1:
        return push_long();
      case kBinFloat:
        take(8);
        return push(&make(Value::Kind::kFloat));
      case kBinUnicode:
        return push_text(take_text(take_number(4)));
      case kShortBinUnicode:
        return push_text(take_text(take_number(1)));
      default:
        return step_of_structure(opcode);
    }
  }

  void step_of_structure(uint8_t opcode) {
    switch (opcode) {
      case kEmptyTuple:
      case kEmptyList:
        return push_items({});
      case kTuple1:
      case kTuple2:
      case kTuple3:
        return push_tuple(opcode - kTuple1 + 1);
      case kTuple:
        return push_items(pop_to_mark());
      case kEmptyDict:
        return push(&make(Value::Kind::kDict));
      case kAppend: {
        const Ref item = pop();
        top(Value::Kind::kItems, "a list").items.push_back(item);
        return;
      }
      case kAppends: {
        const std::vector<Ref> items = pop_to_mark();
        auto& list = top(Value::Kind::kItems, "a list").items;
        list.insert(list.end(), items.begin(), items.end());
        return;
      }
      case kSetItem: {
        const Ref value = pop();
        const Ref key = pop();
        add_entries(top(Value::Kind::kDict, "a dictionary"), {key, value});
        return;
      }
      case kSetItems: {
        const std::vector<Ref> items = pop_to_mark();
        add_entries(top(Value::Kind::kDict, "a dictionary"), items);
        return;
      }
      case kBinPut:
        return remember(take_number(1));
      case kLongBinPut:
        return remember(take_number(4));
      case kMemoize:
        return remember(memo_.size());
      case kBinGet:
        return recall(take_number(1));
      case kLongBinGet:
        return recall(take_number(4));
      default:
        return step_of_objects(opcode);
    }
  }

  void step_of_objects(uint8_t opcode) {
    switch (opcode) {
      case kGlobal: {
        const std::string module = take_line();
        return push_global(module + "." + take_line());
      }
      case kStackGlobal: {
        const Ref name = pop();
        const Ref module = pop();
        if (name->kind != Value::Kind::kText || module->kind != Value::Kind::kText) {
          fail("expected the name of a module and of what is in it");
        }
        return push_global(module->text + "." + name->text);
      }
      case kBinPersId:
        return push_storage(pop());
      case kReduce: {
        const Ref arguments = pop();
        const Ref function = pop();
        return push_result(*function, *arguments);
      }
      case kBuild: {
        // State of an OrderedDict: attributes (`_metadata`), which hold no tensors.
        pop();
        top(Value::Kind::kDict, "a dictionary before its attributes");
        return;
      }
      default:
        fail(fmt::format("instruction {:#04x} is no part of a dictionary of tensors", opcode));
    }
  }

  // Two's complement, little-endian, of any length; of 8 bytes at most here.
  void push_long() {
    const uint64_t bytes = take_number(1);
    if (bytes > 8) fail(fmt::format("expected a number of at most 8 bytes, got {}", bytes));
    uint64_t value = take_number(static_cast<size_t>(bytes));
    const bool is_negative = bytes > 0 && (value >> (8 * bytes - 1) & 1) != 0;
    if (is_negative && bytes < 8) value |= ~uint64_t{0} << (8 * bytes);
    push_int(static_cast<int64_t>(value));
  }

  // ('storage', torch.FloatStorage, key, device, elements)
  void push_storage(Ref id) {
    const auto& items = id->items;
    const bool is_storage = id->kind == Value::Kind::kItems && items.size() == 5 &&
                            items[0]->kind == Value::Kind::kText && items[0]->text == "storage" &&
                            items[1]->kind == Value::Kind::kGlobal &&
                            storage_dtype(items[1]->text) && items[2]->kind == Value::Kind::kText &&
                            items[4]->kind == Value::Kind::kInt;
    if (!is_storage) fail("expected the storage of a tensor");
    PickledTensor storage;
    storage.dtype = *storage_dtype(items[1]->text);
    storage.storage = items[2]->text;
    storage.storage_elements = items[4]->number;
    if (storage.storage_elements < 0) fail("a storage has fewer than 0 elements");
    Value& value = make(Value::Kind::kStorage);
    value.tensor = std::move(storage);
    push(&value);
  }

  // What calling one of the known functions would make.
  void push_result(const Value& function, const Value& arguments) {
    if (function.kind != Value::Kind::kGlobal || arguments.kind != Value::Kind::kItems) {
      fail("expected a function and its arguments");
    }
    if (function.text == kOrderedDict) {
      if (!arguments.items.empty()) fail("expected an empty OrderedDict");
      return push(&make(Value::Kind::kDict));
    }
    if (function.text == kRebuildTensor) return push_tensor(arguments.items);
    if (function.text == kRebuildParameter) {
      // (tensor, requires_grad, hooks)
      if (arguments.items.empty() || arguments.items[0]->kind != Value::Kind::kTensor) {
        fail("expected the tensor of a parameter");
      }
      return push(arguments.items[0]);
    }
    fail(fmt::format("{} cannot be called", function.text));
  }

  Shape numbers_of(Ref tuple, const char* what) const {
    Shape numbers;
    if (tuple->kind != Value::Kind::kItems) fail(fmt::format("expected the {} of a tensor", what));
    for (const Ref item : tuple->items) {
      if (item->kind != Value::Kind::kInt || item->number < 0) {
        fail(fmt::format("expected the {} of a tensor, each 0 or more", what));
      }
      numbers.push_back(item->number);
    }
    return numbers;
  }

  // (storage, offset, sizes, strides, requires_grad, hooks)
  void push_tensor(const std::vector<Ref>& arguments) {
    if (arguments.size() < 4 || arguments[0]->kind != Value::Kind::kStorage ||
        arguments[1]->kind != Value::Kind::kInt) {
      fail("expected storage, offset, sizes and strides of a tensor");
    }
    PickledTensor tensor = arguments[0]->tensor;
    tensor.offset = arguments[1]->number;
    tensor.shape = numbers_of(arguments[2], "sizes");
    tensor.strides = numbers_of(arguments[3], "strides");
    check_bounds(tensor);
    Value& value = make(Value::Kind::kTensor);
    value.tensor = std::move(tensor);
    push(&value);
  }

  void check_bounds(const PickledTensor& tensor) const {
    if (tensor.shape.size() != tensor.strides.size() || tensor.offset < 0) {
      fail("sizes, strides and offset of a tensor do not go together");
    }
    // The place behind the last element, and the number of elements; both with room to overflow in.
    constexpr auto kMost = static_cast<__int128>(std::numeric_limits<int64_t>::max());
    __int128 last = tensor.offset;
    __int128 count = 1;
    for (size_t i = 0; i < tensor.shape.size(); ++i) {
      count *= tensor.shape[i];
      last += static_cast<__int128>(std::max<int64_t>(tensor.shape[i] - 1, 0)) * tensor.strides[i];
      if (last > kMost || count > kMost) fail("a tensor is larger than any memory");
    }
    if (count > 0 && last >= tensor.storage_elements) {
      fail(fmt::format("a tensor of {} reaches to element {} of a storage of {}",
                       shape_text(tensor.shape), static_cast<int64_t>(last),
                       tensor.storage_elements));
    }
  }

  std::vector<PickledTensor> tensors_of(const Value& dict) const {
    std::vector<PickledTensor> tensors;
    std::set<std::string_view> seen;
    for (const auto& [key, value] : dict.entries) {
      if (key->kind != Value::Kind::kText) fail("a key of the dictionary is no text");
      if (value->kind != Value::Kind::kTensor) {
        fail(fmt::format("the value of {} is no tensor", json_excerpt(key->text)));
      }
      if (!seen.insert(key->text).second) {
        fail(fmt::format("tensor {} is there twice", json_excerpt(key->text)));
      }
      tensors.push_back(value->tensor);
      tensors.back().name = key->text;
    }
    return tensors;
  }

  std::span<const std::byte> bytes_;
  const std::string& origin_;
  size_t next_ = 0;
  size_t at_ = 0;  // where the instruction begins
  std::deque<Value> values_;
  std::vector<Ref> stack_;
  std::map<uint64_t, Ref> memo_;
};

// The writer's side of the instructions.
class PickleText {
 public:
  void op(uint8_t opcode) { text_.push_back(static_cast<char>(opcode)); }
  void number(uint64_t value, int bytes) {
    for (int i = 0; i < bytes; ++i) op(static_cast<uint8_t>(value >> (8 * i)));
  }
  void integer(int64_t value) {
    if (value >= 0 && value <= std::numeric_limits<int32_t>::max()) {
      op(kBinInt);
      number(static_cast<uint64_t>(value), 4);
      return;
    }
    op(kLong1);
    number(8, 1);
    number(static_cast<uint64_t>(value), 8);
  }
  void unicode(std::string_view value) {
    op(kBinUnicode);
    number(value.size(), 4);
    text_ += value;
  }
  void global(std::string_view module, std::string_view name) {
    op(kGlobal);
    text_ += fmt::format("{}\n{}\n", module, name);
  }
  void tuple(const Shape& values) {
    op(kMark);
    for (const int64_t value : values) integer(value);
    op(kTuple);
  }
  std::string take() { return std::move(text_); }

 private:
  std::string text_;
};

Shape contiguous_strides(const Shape& shape) {
  Shape strides(shape.size(), 1);
  for (size_t i = shape.size(); i-- > 1;)
    strides[i - 1] = strides[i] * std::max<int64_t>(shape[i], 1);
  return strides;
}

}  // namespace

bool PickledTensor::is_contiguous() const {
  const Shape wanted = contiguous_strides(shape);
  for (size_t i = 0; i < shape.size(); ++i) {
    if (shape[i] == 0) return true;
    if (shape[i] != 1 && strides[i] != wanted[i]) return false;
  }
  return true;
}

std::vector<PickledTensor> parse_torch_pickle(std::span<const std::byte> pickle,
                                              const std::string& origin) {
  return Interpreter(pickle, origin).run();
}

std::string torch_pickle(const std::vector<PickleDeclaration>& tensors) {
  PickleText pickle;
  pickle.op(kProto);
  pickle.number(2, 1);
  pickle.op(kEmptyDict);
  pickle.op(kMark);
  for (size_t i = 0; i < tensors.size(); ++i) {
    const PickleDeclaration& tensor = tensors[i];
    pickle.unicode(tensor.name);
    pickle.global("torch._utils", "_rebuild_tensor_v2");
    pickle.op(kMark);
    pickle.op(kMark);
    pickle.unicode("storage");
    pickle.global("torch", storage_name(tensor.dtype));
    pickle.unicode(std::to_string(i));
    pickle.unicode("cpu");
    pickle.integer(shape_elements(tensor.shape));
    pickle.op(kTuple);
    pickle.op(kBinPersId);
    pickle.integer(0);
    pickle.tuple(tensor.shape);
    pickle.tuple(contiguous_strides(tensor.shape));
    pickle.op(kNewFalse);
    pickle.global("collections", "OrderedDict");
    pickle.op(kEmptyTuple);
    pickle.op(kReduce);
    pickle.op(kTuple);
    pickle.op(kReduce);
  }
  pickle.op(kSetItems);
  pickle.op(kStop);
  return pickle.take();
}

}  // namespace molora
