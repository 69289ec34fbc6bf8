#include "export/torch_archive.h"

#include <caffe2/serialize/inline_container.h>

#include <exception>
#include <span>
#include <string_view>

#include <fmt/format.h>

#include "base/error.h"
#include "io/file.h"
#include "io/torch_pickle.h"
#include "tensor/tensor_bytes.h"

namespace molora {

namespace {

using caffe2::serialize::PyTorchStreamReader;
using caffe2::serialize::PyTorchStreamWriter;

constexpr std::string_view kZipBegin = "PK\x03\x04";
constexpr char kPickle[] = "data.pkl";
constexpr char kByteOrder[] = "byteorder";
constexpr std::string_view kLittle = "little";

void check_beginning(const FileReader& file) {
  std::string begin(kZipBegin.size(), '\0');
  if (file.size() >= begin.size()) {
    file.read_at(0, std::as_writable_bytes(std::span(begin.data(), begin.size())));
  }
  if (begin == kZipBegin) return;
  throw DataError(fmt::format(
      "{}: expected an archive of torch.save(), got a file that is no zip archive. One that torch "
      "before 1.6 wrote has to be loaded and saved again with a newer torch",
      file.path().string()));
}

// An archive whose failures are ours: LibTorch's name no file.
class Archive {
  // Runs `work` on a record.
  template <typename Work>
  auto named(const std::string& record, const Work& work) {
    try {
      return work();
    } catch (const c10::Error& error) {
      throw DataError(fmt::format("{}: record {} cannot be read: {}", origin_, record,
                                  error.what_without_backtrace()));
    }
  }

 public:
  explicit Archive(const std::filesystem::path& path)
      : origin_(path.string()), file_(path), reader_(open()) {}

  bool has(const std::string& record) {
    return named(record, [&] { return reader_.hasRecord(record); });
  }

  std::string read(const std::string& record) {
    const uint64_t bytes = size(record);
    std::string content(bytes, '\0');
    named(record, [&] { return reader_.getRecord(record, content.data(), bytes); });
    return content;
  }

  // REQUIRES: `into` is contiguous.
  void read_into(const std::string& record, Tensor& into) {
    const uint64_t bytes = size(record);
    if (bytes != into.nbytes()) {
      throw DataError(fmt::format("{}: record {} has {} bytes, its tensors ask for {}", origin_,
                                  record, bytes, into.nbytes()));
    }
    if (bytes == 0) return;
    named(record, [&] { return reader_.getRecord(record, into.data_ptr(), bytes); });
  }

  const std::string& origin() const { return origin_; }

 private:
  // Records are stored, not packed: none can be larger than the file.
  uint64_t size(const std::string& record) {
    const uint64_t bytes = named(record, [&] { return reader_.getRecordSize(record); });
    if (bytes > file_.size()) {
      throw DataError(fmt::format("{}: record {} says that it has {} bytes, the file has {}",
                                  origin_, record, bytes, file_.size()));
    }
    return bytes;
  }

  PyTorchStreamReader open() {
    check_beginning(file_);
    try {
      return PyTorchStreamReader(origin_);
    } catch (const c10::Error& error) {
      throw DataError(
          fmt::format("{}: the archive is damaged: {}", origin_, error.what_without_backtrace()));
    }
  }

  std::string origin_;
  FileReader file_;
  PyTorchStreamReader reader_;
};

}  // namespace

std::map<std::string, Tensor> read_torch_archive(const std::filesystem::path& path) {
  Archive archive(path);
  if (archive.has(kByteOrder)) {
    const std::string order = archive.read(kByteOrder);
    if (order != kLittle) {
      throw DataError(fmt::format("{}: expected little-endian numbers, got byte order {}",
                                  archive.origin(), order));
    }
  }
  const std::string pickle = archive.read(kPickle);
  const std::vector<PickledTensor> entries =
      parse_torch_pickle(std::as_bytes(std::span(pickle)), archive.origin());
  std::map<std::string, Tensor> storages;
  std::map<std::string, Tensor> tensors;
  for (const PickledTensor& entry : entries) {
    Tensor& storage = storages[entry.storage];
    const at::ScalarType type = scalar_type(entry.dtype);
    if (!storage.defined()) {
      storage = at::empty({entry.storage_elements}, at::TensorOptions().dtype(type));
      archive.read_into("data/" + entry.storage, storage);
    }
    if (storage.scalar_type() != type || storage.numel() != entry.storage_elements) {
      throw DataError(fmt::format("{}: tensor {} takes its storage for another than it is",
                                  archive.origin(), entry.name));
    }
    tensors.emplace(entry.name, storage.as_strided(entry.shape, entry.strides, entry.offset)
                                    .clone(at::MemoryFormat::Contiguous));
  }
  return tensors;
}

void write_torch_archive(const std::filesystem::path& path,
                         const std::vector<PublishedTensor>& tensors) {
  std::vector<PickleDeclaration> declarations;
  declarations.reserve(tensors.size());
  for (const PublishedTensor& tensor : tensors) {
    declarations.push_back(
        {tensor.name, stored_dtype(tensor.value.scalar_type()), tensor.value.sizes().vec()});
  }
  const std::string pickle = torch_pickle(declarations);
  FileWriter file(path);
  // Called from C code, through which nothing may be thrown; and the archive's destructor, which
  // finishes it, ends the program where a write fails. So a failure is kept and told of afterwards.
  std::exception_ptr failure;
  const auto write = [&](const void* data, size_t bytes) -> size_t {
    try {
      if (!failure) file.write(std::string_view(static_cast<const char*>(data), bytes));
    } catch (const Error&) {
      failure = std::current_exception();
    }
    return bytes;
  };
  {
    PyTorchStreamWriter writer(write);
    writer.writeRecord(kPickle, pickle.data(), pickle.size());
    writer.writeRecord(kByteOrder, kLittle.data(), kLittle.size());
    for (size_t i = 0; i < tensors.size() && !failure; ++i) {
      const Tensor value = tensors[i].value.contiguous();
      writer.writeRecord(fmt::format("data/{}", i), value.data_ptr(), value.nbytes());
    }
    writer.writeEndOfFile();
  }
  if (failure) std::rethrow_exception(failure);
  file.finish();
}

}  // namespace molora
