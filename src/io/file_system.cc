#include "io/file_system.h"

#include <fmt/format.h>

#include "base/check.h"
#include "base/error.h"

namespace molora {

void WritableFile::write(std::span<const std::byte> bytes) {
  while (!bytes.empty()) {
    const size_t put = write_some(bytes);
    MOLORA_CHECK(put > 0 && put <= bytes.size(), "{} of {} bytes written", put, bytes.size());
    bytes = bytes.subspan(put);
  }
}

std::string read_file(FileSystem& files, const std::filesystem::path& path, uint64_t max_bytes) {
  const auto file = files.open(path);
  if (file->size() > max_bytes) {
    throw IoError(fmt::format("{}: {} bytes, but at most {} are expected here", path.string(),
                              file->size(), max_bytes));
  }
  std::string content(file->size(), '\0');
  file->read_at(0, std::as_writable_bytes(std::span(content.data(), content.size())));
  return content;
}

void write_file_atomic(FileSystem& files, const std::filesystem::path& path,
                       std::string_view content) {
  std::filesystem::path temporary = path;
  temporary += ".tmp";
  const auto file = files.create(temporary);
  file->write(content);
  file->sync();
  file->close();
  files.rename(temporary, path);
  files.sync_folder(path.has_parent_path() ? path.parent_path() : ".");
}

void make_folders(FileSystem& files, const std::filesystem::path& path) {
  if (path.empty() || files.exists(path)) return;
  const std::filesystem::path parent = path.parent_path();
  make_folders(files, parent);
  files.make_folder(path);
  files.sync_folder(parent.empty() ? "." : parent);
}

void remove_all(FileSystem& files, const std::filesystem::path& path) {
  for (const FileSystem::Entry& entry : files.list(path)) {
    if (entry.is_folder) {
      remove_all(files, path / entry.name);
    } else {
      files.remove(path / entry.name);
    }
  }
  files.remove(path);
}

}  // namespace molora
