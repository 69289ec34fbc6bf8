// The files of one step folder, kept open for reading: tensors have slices in many files, and
// opening costs most where files are far away.
#pragma once

#include <cstddef>
#include <filesystem>
#include <list>
#include <memory>
#include <string>

#include "io/file_system.h"

namespace molora {

class OpenFiles {
 public:
  // At most so many at a time, whatever the number of ranks that wrote the checkpoint.
  static constexpr size_t kMostOpen = 64;

  // `files` is referred to.
  OpenFiles(FileSystem& files, std::filesystem::path folder);

  // Valid until the next call. Throws: IoError.
  const ReadableFile& at(const std::string& name);

 private:
  struct Open {
    std::string name;
    std::unique_ptr<ReadableFile> file;
  };
  FileSystem& files_;
  std::filesystem::path folder_;
  std::list<Open> open_;  // the one used last comes first
};

}  // namespace molora
