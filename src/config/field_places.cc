#include "config/field_places.h"

namespace molora {

Place FieldPlaces::nearest(std::string_view field, const std::vector<ConfigSource>& sources) const {
  if (const auto own = places_.find(field); own != places_.end()) return own->second;
  for (size_t end = field.size(); end > 0; --end) {
    if (end < field.size() && field[end] != '.' && field[end] != '[') continue;
    const auto around = places_.find(field.substr(0, end));
    if (around != places_.end() && sources[around->second.source].has_lines) return around->second;
  }
  for (size_t source = 0; source < sources.size(); ++source) {
    if (sources[source].has_lines) return {source, 0};
  }
  return {sources.size(), 0};
}

}  // namespace molora
