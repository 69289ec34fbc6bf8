#include "tokenizer/sentencepiece/sentencepiece_module.h"

#include <exception>
#include <memory>
#include <stdexcept>
#include <type_traits>

#include <sentencepiece_processor.h>

namespace molora {

namespace {

class ProcessorModel final : public SentencePieceModel {
 public:
  // Throws: std::runtime_error with the library's reason.
  explicit ProcessorModel(std::string_view content) {
    check(processor_.LoadFromSerializedProto(content));
  }

  int size() const override { return processor_.GetPieceSize(); }
  std::string piece(int id) const override { return processor_.IdToPiece(id); }
  bool is_control(int id) const override { return processor_.IsControl(id); }
  bool is_unknown(int id) const override { return processor_.IsUnknown(id); }
  int bos_id() const override { return processor_.bos_id(); }
  int eos_id() const override { return processor_.eos_id(); }

  std::vector<int> encode(std::string_view text) const override {
    std::vector<int> ids;
    check(processor_.Encode(text, &ids));
    return ids;
  }
  std::vector<std::string> encode_as_pieces(std::string_view text) const override {
    std::vector<std::string> pieces;
    check(processor_.Encode(text, &pieces));
    return pieces;
  }

 private:
  static void check(const sentencepiece::util::Status& status) {
    if (!status.ok()) throw std::runtime_error(status.ToString());
  }

  sentencepiece::SentencePieceProcessor processor_;
};

}  // namespace

extern "C" SentencePieceModel* molora_open_sentencepiece(std::string_view content,
                                                         std::string& error) {
  try {
    return std::make_unique<ProcessorModel>(content).release();
  } catch (const std::exception& reason) {
    error = reason.what();
    return nullptr;
  }
}
static_assert(std::is_same_v<decltype(molora_open_sentencepiece), OpenSentencePiece>);

}  // namespace molora
