#include "io/file.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <system_error>
#include <utility>

#include <fmt/format.h>

#include "base/error.h"
#include "io/file_system.h"
#include "io/io_failure.h"

namespace molora {

namespace {

uint64_t regular_file_size(int descriptor, const std::filesystem::path& path) {
  struct stat status {};
  if (::fstat(descriptor, &status) != 0) throw_io("inspect", path, errno);
  if (!S_ISREG(status.st_mode)) {
    throw IoError(fmt::format("{}: expected a file, found {}", path.string(),
                              S_ISDIR(status.st_mode) ? "a folder" : "something else"));
  }
  return static_cast<uint64_t>(status.st_size);
}

}  // namespace

FileReader::FileReader(const std::filesystem::path& path)
    : path_(path), descriptor_(::open(path.c_str(), O_RDONLY | O_CLOEXEC)) {
  if (descriptor_ < 0) throw_io("open", path, errno);
  try {
    size_ = regular_file_size(descriptor_, path);
  } catch (...) {
    close();
    throw;
  }
}

FileReader::~FileReader() { close(); }

FileReader::FileReader(FileReader&& other) noexcept
    : path_(std::move(other.path_)),
      descriptor_(std::exchange(other.descriptor_, -1)),
      size_(std::exchange(other.size_, 0)) {}

FileReader& FileReader::operator=(FileReader&& other) noexcept {
  if (this != &other) {
    close();
    path_ = std::move(other.path_);
    descriptor_ = std::exchange(other.descriptor_, -1);
    size_ = std::exchange(other.size_, 0);
  }
  return *this;
}

void FileReader::close() noexcept {
  // Nothing was written, so that closing has nothing to report.
  if (descriptor_ >= 0) ::close(descriptor_);
  descriptor_ = -1;
}

void FileReader::read_at(uint64_t offset, std::span<std::byte> into) const {
  while (!into.empty()) {
    const ssize_t got = ::pread(descriptor_, into.data(), into.size(), static_cast<off_t>(offset));
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) throw_io("read", path_, errno);
    if (got == 0) {
      throw IoError(fmt::format("{}: has nothing at byte {}, expected {} more: it shrank",
                                path_.string(), offset, into.size()));
    }
    offset += static_cast<uint64_t>(got);
    into = into.subspan(static_cast<size_t>(got));
  }
}

MappedFile::MappedFile(const std::filesystem::path& path) : MappedFile(FileReader(path)) {}

MappedFile::MappedFile(const FileReader& reader) : path_(reader.path()), size_(reader.size()) {
  if (size_ == 0) return;
  void* address = ::mmap(nullptr, size_, PROT_READ, MAP_PRIVATE, reader.descriptor_, 0);
  if (address == MAP_FAILED) throw_io("map", path_, errno);
  data_ = static_cast<const std::byte*>(address);
}

MappedFile::~MappedFile() { unmap(); }

MappedFile::MappedFile(MappedFile&& other) noexcept
    : path_(std::move(other.path_)),
      data_(std::exchange(other.data_, nullptr)),
      size_(std::exchange(other.size_, 0)) {}

MappedFile& MappedFile::operator=(MappedFile&& other) noexcept {
  if (this != &other) {
    unmap();
    path_ = std::move(other.path_);
    data_ = std::exchange(other.data_, nullptr);
    size_ = std::exchange(other.size_, 0);
  }
  return *this;
}

void MappedFile::unmap() noexcept {
  // munmap fails only on wrong arguments; the address and size are those that mmap gave.
  if (data_ != nullptr) ::munmap(const_cast<std::byte*>(data_), size_);
  data_ = nullptr;
}

std::string read_file(const std::filesystem::path& path, uint64_t max_bytes) {
  return read_file(local_files(), path, max_bytes);
}

void write_file_atomic(const std::filesystem::path& path, std::string_view content) {
  write_file_atomic(local_files(), path, content);
}

void sync_folder(const std::filesystem::path& folder) { local_files().sync_folder(folder); }

void make_folders(const std::filesystem::path& folder) {
  std::error_code code;
  std::filesystem::create_directories(folder, code);
  if (code) throw_io("make the folder", folder, code.value());
}

FileWriter::FileWriter(const std::filesystem::path& path) : file_(local_files().create(path)) {}

FileWriter::~FileWriter() = default;

void FileWriter::write(std::span<const std::byte> bytes) {
  file_->write(bytes);
  size_ += bytes.size();
}

void FileWriter::finish() {
  file_->sync();
  file_->close();
}

}  // namespace molora
