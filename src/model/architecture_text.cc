#include "model/architecture_text.h"

#include <map>
#include <sstream>

#include <fmt/format.h>

namespace molora {

namespace {

const char* family_name(Family family) {
  switch (family) {
    case Family::kLlama:
      return "llama";
    case Family::kMistral:
      return "mistral";
    case Family::kQwen2:
      return "qwen2";
    case Family::kQwen3:
      return "qwen3";
  }
  return "?";
}

std::string rope_text(const Rope& rope) {
  std::string text = fmt::format("rope_theta {}\n", rope.theta);
  if (!rope.llama3) return text;
  return text + fmt::format("rope_scaling llama3 factor {} low {} high {} original {}\n",
                            rope.llama3->factor, rope.llama3->low_freq_factor,
                            rope.llama3->high_freq_factor, rope.llama3->original_max_position);
}

std::map<std::string, std::string> lines_of(const std::string& text) {
  std::map<std::string, std::string> lines;
  std::istringstream stream(text);
  for (std::string name, value; stream >> name && std::getline(stream >> std::ws, value);) {
    lines[name] = value;
  }
  return lines;
}

}  // namespace

std::string architecture_text(const Architecture& a) {
  std::string text = fmt::format(
      "family {}\nvocab_size {}\nhidden_size {}\nintermediate_size {}\nnum_layers {}\nnum_heads "
      "{}\nnum_kv_heads {}\nhead_dim {}\nrms_norm_eps {}\nqkv_bias {}\no_bias {}\nmlp_bias "
      "{}\nqk_norm {}\ntied_head {}\n",
      family_name(a.family), a.vocab_size, a.hidden_size, a.intermediate_size, a.num_layers,
      a.num_heads, a.num_kv_heads, a.head_dim, a.rms_norm_eps, a.has_qkv_bias, a.has_o_bias,
      a.has_mlp_bias, a.has_qk_norm, a.has_tied_head);
  text += rope_text(a.rope);
  return text + fmt::format("attention_window {}\n", fmt::join(a.attention_window, ","));
}

std::string architecture_difference(const std::string& before, const std::string& after) {
  if (before.empty() || after.empty()) return "";
  const std::map<std::string, std::string> old_lines = lines_of(before);
  std::map<std::string, std::string> lines = lines_of(after);
  std::string text;
  const auto add = [&](const std::string& name, const std::string& a, const std::string& b) {
    if (a != b) text += fmt::format("{}{}: {} -> {}", text.empty() ? "" : ", ", name, a, b);
  };
  for (const auto& [name, value] : old_lines) {
    const auto found = lines.find(name);
    add(name, value, found == lines.end() ? "(none)" : found->second);
    if (found != lines.end()) lines.erase(found);
  }
  for (const auto& [name, value] : lines) add(name, "(none)", value);
  return text;
}

}  // namespace molora
