// Whole tensors put together from the slices that the processes of a run hold.
#pragma once

#include <cstring>
#include <string>
#include <utility>
#include <vector>

#include <nlohmann/json.hpp>

#include "comm/communicator.h"
#include "parallel/parameter.h"
#include "support/training_run.h"

namespace molora::testing {

// A parameter with one of its values, as text: a line of JSON, then the bytes.
inline std::string slice_to_text(const Parameter& parameter, const at::Tensor& value) {
  const at::Tensor slice = value.cpu().contiguous();
  const nlohmann::json header = {{"name", parameter.name},
                                 {"whole", parameter.global_shape},
                                 {"offset", parameter.offset},
                                 {"shape", slice.sizes().vec()},
                                 {"type", static_cast<int>(slice.scalar_type())},
                                 {"bytes", slice.nbytes()}};
  std::string text = header.dump() + "\n";
  text.append(static_cast<const char*>(slice.const_data_ptr()), slice.nbytes());
  return text;
}

// Adds the slices of every rank to `whole`, on every rank. Collective over `host`.
inline void gather_slices(Communicator& host,
                          const std::vector<std::pair<Parameter, at::Tensor>>& mine,
                          WholeTensors& whole) {
  std::string text;
  for (const auto& [parameter, value] : mine) text += slice_to_text(parameter, value);
  for (const std::string& of_rank : all_gather_text(host, text)) {
    for (size_t at = 0; at < of_rank.size();) {
      const size_t end = of_rank.find('\n', at);
      const auto header = nlohmann::json::parse(of_rank.substr(at, end - at));
      at::Tensor slice = at::empty(header["shape"].get<std::vector<int64_t>>(),
                                   static_cast<at::ScalarType>(header["type"].get<int>()));
      std::memcpy(slice.data_ptr(), of_rank.data() + end + 1, slice.nbytes());
      at = end + 1 + header["bytes"].get<size_t>();
      whole.add({.name = header["name"],
                 .value = slice,
                 .global_shape = header["whole"],
                 .offset = header["offset"]},
                slice);
    }
  }
}

}  // namespace molora::testing
