// The SentencePiece library, loaded at first use and kept apart from everything else.
//
// Debian's libsentencepiece exports a protobuf of its own, of another version than ours. In one
// program each would call into the other's functions, which ends it before main(). So the library
// is never on the link line, where the linker would let our symbols take the place of its own, but
// in a module (sentencepiece/) that is loaded by itself; and our protobuf is linked statically, so
// that none of it is visible to the module.
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <vector>

namespace molora {

// One loaded model. Threads: const methods may be called from several threads at once.
class SentencePieceModel {
 public:
  virtual ~SentencePieceModel() = default;

  virtual int size() const = 0;  // pieces, ids 0 to size() - 1
  virtual std::string piece(int id) const = 0;
  virtual bool is_control(int id) const = 0;
  virtual bool is_unknown(int id) const = 0;
  virtual int bos_id() const = 0;  // -1: the model has none
  virtual int eos_id() const = 0;
  virtual std::vector<int> encode(std::string_view text) const = 0;
  virtual std::vector<std::string> encode_as_pieces(std::string_view text) const = 0;
};

// Reads a model given as its bytes; `origin` names it in messages. Throws: DataError when it is not
// a SentencePiece model; IoError when the module is not beside the program.
std::unique_ptr<SentencePieceModel> load_sentencepiece(std::string_view content,
                                                       const std::string& origin);

}  // namespace molora
