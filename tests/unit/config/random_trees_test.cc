// Random configurations: whatever is written, it is either refused with a ConfigError or read to a
// configuration that survives being printed and read again.
#include <random>
#include <string>
#include <vector>

#include <google/protobuf/util/message_differencer.h>
#include <gtest/gtest.h>

#include "base/error.h"
#include "config/config_difference.h"
#include "config/load_config.h"
#include "config/resolved_yaml.h"
#include "config/schema.h"
#include "support/config_faults.h"

namespace molora {
namespace {

using google::protobuf::util::MessageDifferencer;
using testing::config_from;

constexpr int kTrees = 2000;

class RandomText {
 public:
  explicit RandomText(uint32_t seed) : engine_(seed) {
    for (const SchemaField& field : all_fields(*RunConfig::descriptor())) {
      names_.emplace_back(field.field->name());
      if (field.field->cpp_type() != FieldDescriptor::CPPTYPE_ENUM) continue;
      for (const std::string& value : value_names(*field.field->enum_type())) {
        scalars_.push_back(value);
      }
    }
  }

  size_t below(size_t bound) { return engine_() % bound; }

  // A flow mapping over the fields of `type`, mostly of the right shape.
  std::string mapping(const Descriptor& type, size_t depth) {
    std::string text = "{";
    for (int i = 0; i < type.field_count(); ++i) {
      if (below(3) != 0) continue;
      const FieldDescriptor& field = *type.field(i);
      if (text.size() > 1) text += ", ";
      text += below(200) == 0 ? names_[below(names_.size())] : std::string(field.name());
      text += ": " + (below(100) == 0 ? anything(depth) : value(field, depth));
    }
    return text + "}";
  }

  // An override of a random name.
  std::string override_text() {
    std::string text = names_[below(names_.size())];
    while (below(2) == 0) text += (below(3) == 0 ? "[0]." : ".") + names_[below(names_.size())];
    return text + (below(20) == 0 ? "" : "=") + anything(4);
  }

  // A few bytes of `text` replaced, dropped or doubled.
  std::string damaged(std::string text) {
    for (size_t times = 1 + below(4); times > 0 && !text.empty(); --times) {
      const size_t at = below(text.size());
      switch (below(3)) {
        case 0:
          text[at] = static_cast<char>(below(256));
          break;
        case 1:
          text.erase(at, 1 + below(8));
          break;
        default:
          text.insert(at, text.substr(below(text.size()), 1 + below(16)));
      }
    }
    return text;
  }

 private:
  std::string value(const FieldDescriptor& field, size_t depth) {
    if (is_message(field)) {
      const std::string item = mapping(*field.message_type(), depth + 1);
      return field.is_repeated() && below(2) == 0 ? "[" + item + ", " + item + "]" : item;
    }
    switch (field.cpp_type()) {
      case FieldDescriptor::CPPTYPE_ENUM: {
        const std::vector<std::string> values = value_names(*field.enum_type());
        return values[below(values.size())];
      }
      case FieldDescriptor::CPPTYPE_BOOL:
        return below(2) == 0 ? "true" : "false";
      case FieldDescriptor::CPPTYPE_DOUBLE:
        return "0." + std::to_string(1 + below(1'000'000));
      case FieldDescriptor::CPPTYPE_STRING:
        return below(2) == 0 ? "\"a\\n\\\"\\u4f60 'b\"" : "plain text";
      default:
        return std::to_string(2 + below(1000));
    }
  }

  std::string anything(size_t depth) {
    const size_t kind = depth > 6 ? 0 : below(5);
    if (kind == 3) return "[" + anything(depth + 1) + ", " + anything(depth + 1) + "]";
    if (kind == 4) return "{" + names_[below(names_.size())] + ": " + anything(depth + 1) + "}";
    return scalars_[below(scalars_.size())];
  }

  std::mt19937 engine_;
  std::vector<std::string> names_;
  std::vector<std::string> scalars_ = {
      "1",    "0",       "-1",          "1.5",    "1e9",  "99999999999999999999",
      ".inf", ".nan",    "true",        "no",     "null", "~",
      "''",   "\"\\0\"", "&a x",        "*a",     "!t x", "[",
      "}",    "a: b",    "? x",         "# none", "\t",   "|",
      "%",    "@",       "\xe4\xbd\xa0"};
};

// What became of a text: whether it was read. Everything but a ConfigError escapes.
bool is_read(const std::string& yaml, const std::vector<std::string>& overrides) {
  LoadedConfig loaded;
  try {
    loaded = parse_config({{"random", yaml}}, overrides, ConfigUse::kTrain);
  } catch (const ConfigError& error) {
    EXPECT_NE(std::string(error.what()), "") << yaml;
    return false;
  }
  const RunConfig again =
      parse_config({{"again", resolved_yaml(loaded.config)}}, {}, ConfigUse::kTrain).config;
  EXPECT_TRUE(MessageDifferencer::Equals(loaded.config, again)) << yaml;
  return true;
}

TEST(RandomTrees, AreReadOrRefused) {
  RandomText random(1);
  int read = 0;
  for (int i = 0; i < kTrees; ++i) {
    read += is_read(random.mapping(*RunConfig::descriptor(), 0), {"model.path=m", "data.train=t"})
                ? 1
                : 0;
  }
  EXPECT_GT(read, kTrees / 20);
  EXPECT_LT(read, kTrees - kTrees / 20);
}

TEST(RandomTrees, AreReadOrRefusedWithRandomOverrides) {
  RandomText random(2);
  for (int i = 0; i < kTrees; ++i) {
    is_read(random.mapping(*RunConfig::descriptor(), 0),
            {random.override_text(), random.override_text()});
  }
}

TEST(RandomTrees, AreReadOrRefusedWhenBytesAreDamaged) {
  RandomText random(3);
  const std::string yaml = resolved_yaml(config_from(""));
  int read = 0;
  for (int i = 0; i < kTrees; ++i) read += is_read(random.damaged(yaml), {}) ? 1 : 0;
  EXPECT_GT(read, 0);
  EXPECT_LT(read, kTrees);
}

}  // namespace
}  // namespace molora
