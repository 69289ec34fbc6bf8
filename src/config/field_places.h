// Where each field of a configuration was set.
#pragma once

#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "config/faults.h"

namespace molora {

class FieldPlaces {
 public:
  void set(const std::string& field, const Place& place) { places_[field] = place; }
  bool is_set(std::string_view field) const { return places_.contains(field); }
  // Where a message about `field` should point: its own place, else that of the section around it
  // in a file, else the first file, else no source at all.
  Place nearest(std::string_view field, const std::vector<ConfigSource>& sources) const;

 private:
  std::map<std::string, Place, std::less<>> places_;
};

}  // namespace molora
