// The FileSystem of this machine: POSIX calls.
#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <utility>

#include "io/file.h"
#include "io/file_system.h"
#include "io/io_failure.h"

namespace molora {

namespace {

class LocalWritableFile final : public WritableFile {
 public:
  explicit LocalWritableFile(const std::filesystem::path& path)
      : path_(path),
        descriptor_(::open(path.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644)) {
    if (descriptor_ < 0) throw_io("create", path, errno);
  }
  ~LocalWritableFile() override {
    if (descriptor_ >= 0) ::close(descriptor_);
  }
  LocalWritableFile(const LocalWritableFile&) = delete;
  LocalWritableFile& operator=(const LocalWritableFile&) = delete;
  LocalWritableFile(LocalWritableFile&&) = delete;
  LocalWritableFile& operator=(LocalWritableFile&&) = delete;

  size_t write_some(std::span<const std::byte> bytes) override {
    while (!bytes.empty()) {
      const ssize_t put = ::write(descriptor_, bytes.data(), bytes.size());
      if (put >= 0) return static_cast<size_t>(put);
      if (errno != EINTR) throw_io("write", path_, errno);
    }
    return 0;
  }

  void sync() override {
    if (::fsync(descriptor_) != 0) throw_io("sync", path_, errno);
  }

  void close() override {
    const int descriptor = std::exchange(descriptor_, -1);
    if (::close(descriptor) != 0) throw_io("close", path_, errno);
  }

 private:
  std::filesystem::path path_;
  int descriptor_;
};

class LocalReadableFile final : public ReadableFile {
 public:
  explicit LocalReadableFile(const std::filesystem::path& path) : reader_(path) {}
  uint64_t size() const override { return reader_.size(); }
  void read_at(uint64_t offset, std::span<std::byte> into) const override {
    reader_.read_at(offset, into);
  }

 private:
  FileReader reader_;
};

// An open folder that closes itself.
class Folder {
 public:
  explicit Folder(const std::filesystem::path& path) : value_(::opendir(path.c_str())) {}
  ~Folder() {
    if (value_ != nullptr) ::closedir(value_);
  }
  Folder(const Folder&) = delete;
  Folder& operator=(const Folder&) = delete;
  Folder(Folder&&) = delete;
  Folder& operator=(Folder&&) = delete;
  DIR* value() const { return value_; }

 private:
  DIR* value_;
};

class LocalFiles final : public FileSystem {
 public:
  std::unique_ptr<WritableFile> create(const std::filesystem::path& path) override {
    return std::make_unique<LocalWritableFile>(path);
  }

  std::unique_ptr<ReadableFile> open(const std::filesystem::path& path) override {
    return std::make_unique<LocalReadableFile>(path);
  }

  void make_folder(const std::filesystem::path& path) override {
    if (::mkdir(path.c_str(), 0755) == 0) return;
    const int code = errno;
    if (code == EEXIST && std::filesystem::is_directory(path)) return;
    throw_io("make the folder", path, code);
  }

  void sync_folder(const std::filesystem::path& path) override {
    const Folder folder(path);
    if (folder.value() == nullptr) throw_io("open the folder", path, errno);
    if (::fsync(::dirfd(folder.value())) != 0) throw_io("sync the folder", path, errno);
  }

  void rename(const std::filesystem::path& from, const std::filesystem::path& to) override {
    if (::rename(from.c_str(), to.c_str()) != 0) {
      throw_io("rename to " + to.filename().string(), from, errno);
    }
  }

  void remove(const std::filesystem::path& path) override {
    if (::remove(path.c_str()) != 0 && errno != ENOENT) throw_io("remove", path, errno);
  }

  std::vector<Entry> list(const std::filesystem::path& path) override {
    const Folder folder(path);
    if (folder.value() == nullptr) {
      if (errno == ENOENT || errno == ENOTDIR) return {};
      throw_io("list the folder", path, errno);
    }
    std::vector<Entry> entries;
    for (;;) {
      errno = 0;
      const dirent* found = ::readdir(folder.value());
      if (found == nullptr && errno != 0) throw_io("list the folder", path, errno);
      if (found == nullptr) break;
      const std::string name = found->d_name;
      if (name == "." || name == "..") continue;
      struct stat status {};
      // A name that went away in between is not an entry any more.
      if (::lstat((path / name).c_str(), &status) != 0) continue;
      entries.push_back({name, S_ISDIR(status.st_mode)});
    }
    std::sort(entries.begin(), entries.end(),
              [](const Entry& a, const Entry& b) { return a.name < b.name; });
    return entries;
  }

  bool exists(const std::filesystem::path& path) override {
    struct stat status {};
    if (::stat(path.c_str(), &status) == 0) return true;
    if (errno != ENOENT && errno != ENOTDIR) throw_io("look for", path, errno);
    return false;
  }
};

}  // namespace

FileSystem& local_files() {
  static LocalFiles files;
  return files;
}

}  // namespace molora
