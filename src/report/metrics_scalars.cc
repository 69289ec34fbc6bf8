#include "report/metrics_scalars.h"

#include <algorithm>
#include <cmath>
#include <string>
#include <utility>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

namespace molora {

namespace {

using nlohmann::json;

std::string as_tag(std::string text) {
  for (char& c : text) {
    const bool is_plain = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') ||
                          (c >= '0' && c <= '9') || c == '_' || c == '-' || c == '.' ||
                          static_cast<unsigned char>(c) >= 0x80;  // of a letter in UTF-8
    if (!is_plain) c = '_';
  }
  return text;
}

class Scalars {
 public:
  void add(const std::string& tag, double value) {
    if (std::isfinite(value)) all_.push_back({tag, value});
  }
  // Every member of the object that is a number, but those named.
  void add_numbers(const std::string& group, const json& object,
                   const std::vector<std::string>& but = {}) {
    if (!object.is_object()) return;
    for (const auto& [name, value] : object.items()) {
      if (!value.is_number() || std::find(but.begin(), but.end(), name) != but.end()) continue;
      add(group + "/" + as_tag(name), value.get<double>());
    }
  }
  std::vector<Scalar> take() { return std::move(all_); }

 private:
  std::vector<Scalar> all_;
};

const json& member(const json& object, const char* name) {
  static const json kNothing;
  const auto found = object.is_object() ? object.find(name) : object.end();
  return object.is_object() && found != object.end() ? *found : kNothing;
}

// Of all routers, the largest and the smallest part that one expert has of its router's choices.
void add_expert_shares(Scalars& scalars, const json& loads) {
  double largest = 0.0;
  double smallest = 1.0;
  bool has_any = false;
  for (const json& load : loads) {
    double total = 0.0;
    for (const json& count : load) total += count.is_number() ? count.get<double>() : 0.0;
    if (total <= 0.0) continue;
    has_any = true;
    for (const json& count : load) {
      const double share = (count.is_number() ? count.get<double>() : 0.0) / total;
      largest = std::max(largest, share);
      smallest = std::min(smallest, share);
    }
  }
  if (!has_any) return;
  scalars.add("experts/largest_share", largest);
  scalars.add("experts/smallest_share", smallest);
}

void add_step(Scalars& scalars, const json& line) {
  scalars.add_numbers("train", line, {"step"});
  scalars.add_numbers("speed", member(line, "timing"));
  const json& sent = member(line, "sent_bytes");
  if (sent.is_object()) {
    for (const auto& [axis, kinds] : sent.items()) {
      scalars.add_numbers("communication/" + as_tag(axis), kinds);
    }
  }
  add_expert_shares(scalars, member(line, "expert_load"));
}

void add_evaluation(Scalars& scalars, const json& line) {
  scalars.add_numbers("eval", line, {"step"});
  for (const json& task : member(line, "tasks")) {
    const json& name = member(task, "task");
    if (!name.is_string()) continue;
    scalars.add_numbers("eval/" + as_tag(name.get<std::string>()), task);
  }
}

void add_ranks(Scalars& scalars, const json& line) {
  size_t rank = 0;
  for (const json& usage : member(member(line, "timing"), "ranks")) {
    scalars.add_numbers(fmt::format("ranks/{}", rank++), usage);
  }
}

void add_routers(Scalars& scalars, const json& line) {
  for (const json& router : member(line, "routers")) {
    const json& name = member(router, "name");
    if (!name.is_string()) continue;
    const std::string group = "routers/" + as_tag(name.get<std::string>());
    scalars.add_numbers(group, router, {"layer"});
    const json& dead = member(router, "dead");
    if (dead.is_array()) scalars.add(group + "/dead_experts", static_cast<double>(dead.size()));
  }
}

}  // namespace

std::vector<Scalar> metrics_scalars(const json& line) {
  const json& type = member(line, "type");
  Scalars scalars;
  if (type == "step") add_step(scalars, line);
  if (type == "eval") add_evaluation(scalars, line);
  if (type == "ranks") add_ranks(scalars, line);
  if (type == "routers") add_routers(scalars, line);
  return scalars.take();
}

}  // namespace molora
