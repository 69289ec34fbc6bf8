#include "tokenizer/sentencepiece_library.h"

#include <dlfcn.h>

#include <filesystem>

#include <fmt/format.h>

#include "base/error.h"
#include "tokenizer/sentencepiece/sentencepiece_module.h"

namespace molora {

namespace {

// Beside the folder of the program: <prefix>/bin/<program>, <prefix>/lib/<module>.
std::string module_path() {
  const std::filesystem::path program = std::filesystem::read_symlink("/proc/self/exe");
  return (program.parent_path().parent_path() / "lib" / kSentencePieceModule).string();
}

// Never unloaded: the program ends with it.
OpenSentencePiece* find_opener() {
  void* module = ::dlopen(module_path().c_str(), RTLD_NOW | RTLD_LOCAL);
  void* symbol = module == nullptr ? nullptr : ::dlsym(module, kOpenSentencePieceName);
  if (symbol == nullptr) {
    throw IoError(fmt::format(
        "the SentencePiece module cannot be loaded: {}. It belongs beside the program's "
        "folder, in lib; build or install molora again",
        ::dlerror()));
  }
  return reinterpret_cast<OpenSentencePiece*>(symbol);
}

}  // namespace

std::unique_ptr<SentencePieceModel> load_sentencepiece(std::string_view content,
                                                       const std::string& origin) {
  static OpenSentencePiece* const open = find_opener();
  std::string error;
  std::unique_ptr<SentencePieceModel> model(open(content, error));
  if (model == nullptr) {
    throw DataError(fmt::format("{}: is not a SentencePiece model: {}", origin, error));
  }
  return model;
}

}  // namespace molora
