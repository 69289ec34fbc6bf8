#include "checkpoint/open_files.h"

#include <algorithm>
#include <utility>

namespace molora {

OpenFiles::OpenFiles(FileSystem& files, std::filesystem::path folder)
    : files_(files), folder_(std::move(folder)) {}

const ReadableFile& OpenFiles::at(const std::string& name) {
  const auto found =
      std::find_if(open_.begin(), open_.end(), [&](const Open& open) { return open.name == name; });
  if (found != open_.end()) {
    open_.splice(open_.begin(), open_, found);
  } else {
    open_.push_front({name, files_.open(folder_ / name)});
    if (open_.size() > kMostOpen) open_.pop_back();
  }
  return *open_.front().file;
}

}  // namespace molora
