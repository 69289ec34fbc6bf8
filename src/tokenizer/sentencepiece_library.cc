#include "tokenizer/sentencepiece_library.h"

#include <dlfcn.h>

#include <fmt/format.h>

#include "base/error.h"
#include "tokenizer/sentencepiece/sentencepiece_module.h"

namespace molora {

namespace {

// Never unloaded: the program ends with it.
OpenSentencePiece* find_opener() {
  void* module = ::dlopen(kSentencePieceModule, RTLD_NOW | RTLD_LOCAL);
  void* symbol = module == nullptr ? nullptr : ::dlsym(module, kOpenSentencePieceName);
  if (symbol == nullptr) {
    throw IoError(
        fmt::format("{} cannot be loaded: {}. It belongs beside the program, in ../lib; "
                    "build or install molora again",
                    kSentencePieceModule, ::dlerror()));
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
