#include "model/weight_files.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <functional>
#include <limits>
#include <map>
#include <set>
#include <sstream>
#include <utility>

#include <fmt/format.h>

#include "base/check.h"
#include "base/error.h"
#include "base/nearest_name.h"
#include "io/digest.h"
#include "tensor/tensor_bytes.h"

namespace molora {

namespace {

constexpr char kEmbeddingName[] = "model.embed_tokens.weight";
constexpr char kHeadName[] = "lm_head.weight";

// The frequencies that old Llama files carry along must be the ones that will be used.
void check_stored_frequencies(const StoredTensor& tensor, const Architecture& a) {
  const Tensor stored = mapped_tensor(tensor.file, tensor.entry).to(at::kDouble).flatten();
  bool same = !a.rope.llama3 && stored.numel() == a.head_dim / 2;
  for (int64_t i = 0; same && i < stored.numel(); ++i) {
    const double expected =
        std::pow(a.rope.theta, -2.0 * static_cast<double>(i) / static_cast<double>(a.head_dim));
    same = std::abs(stored[i].item<double>() - expected) <= 0.01 * expected;
  }
  if (!same) throw_data_error(tensor, "stored rotary frequencies differ from those of config.json");
}

// Tensors beside the expected ones that may stand in a file because they say nothing new. A head
// beside a tied embedding is compared with it when the contents are checked.
bool is_harmless_extra(const StoredTensor& tensor, const Architecture& a) {
  if (tensor.entry.name.ends_with(".rotary_emb.inv_freq")) {
    check_stored_frequencies(tensor, a);
    return true;
  }
  return tensor.entry.name == kHeadName && a.has_tied_head;
}

void check_names(const StoredTensors& found, const std::vector<ExpectedTensor>& expected,
                 const Architecture& architecture, const std::filesystem::path& folder) {
  std::set<std::string> names;
  std::vector<std::string> left_over;
  for (const ExpectedTensor& tensor : expected) names.insert(tensor.name);
  for (const auto& [name, tensor] : found) {
    if (names.count(name) == 0 && !is_harmless_extra(tensor, architecture)) {
      left_over.push_back(name);
    }
  }
  for (const ExpectedTensor& tensor : expected) {
    if (found.count(tensor.name) > 0) continue;
    const std::string nearest = nearest_name(tensor.name, left_over);
    throw DataError(fmt::format("{}: tensor {} of shape {} is missing{}", folder.string(),
                                tensor.name, shape_text(tensor.shape),
                                nearest.empty() ? "" : "; the files hold " + nearest + " instead"));
  }
  if (!left_over.empty()) {
    const StoredTensor& first = found.at(left_over.front());
    throw_data_error(
        first,
        fmt::format("this architecture has no such tensor ({} such tensors in all); it would "
                    "be ignored and the result would be wrong",
                    left_over.size()));
  }
}

void check_header(const StoredTensor& tensor, const Shape& shape) {
  const TensorEntry& entry = tensor.entry;
  if (entry.shape != shape) {
    throw_data_error(tensor, fmt::format("has shape {}, config.json asks for {}",
                                         shape_text(entry.shape), shape_text(shape)));
  }
  if (!at::isFloatingType(scalar_type(entry.dtype))) {
    throw_data_error(tensor, fmt::format("has element type {}, expected F32, F16 or BF16",
                                         dtype_name(entry.dtype)));
  }
}

// NaN and infinity are stored with all bits of the exponent set: adding its lowest bit to it sets
// the sign, which carries into no neighbour, so that the numbers of a machine word are seen at
// once.
template <typename Number>
bool all_finite(std::span<const std::byte> bytes, Number exponent) {
  constexpr uint64_t kEach = ~uint64_t{0} / std::numeric_limits<Number>::max();
  const uint64_t exponents = kEach * exponent;
  const uint64_t lowest = kEach * static_cast<Number>(exponent & (~exponent + 1U));
  uint64_t sums = 0;
  const auto add = [&](const std::byte* from, size_t count) {
    uint64_t word = 0;
    std::memcpy(&word, from, count);
    sums |= (word & exponents) + lowest;
  };
  const size_t whole = bytes.size() / sizeof(uint64_t) * sizeof(uint64_t);
  for (size_t i = 0; i < whole; i += sizeof(uint64_t)) add(bytes.data() + i, sizeof(uint64_t));
  if (whole < bytes.size()) add(bytes.data() + whole, bytes.size() - whole);
  const uint64_t signs = kEach << (std::numeric_limits<Number>::digits - 1);
  return (sums & signs) == 0;
}

bool all_finite(std::span<const std::byte> bytes, DType dtype) {
  switch (dtype) {
    case DType::kF64:
      return all_finite<uint64_t>(bytes, 0x7ff0'0000'0000'0000);
    case DType::kF32:
      return all_finite<uint32_t>(bytes, 0x7f80'0000);
    case DType::kF16:
      return all_finite<uint16_t>(bytes, 0x7c00);
    case DType::kBF16:
      return all_finite<uint16_t>(bytes, 0x7f80);
    default:
      MOLORA_CHECK(false, "{} is not a floating-point type", dtype_name(dtype));
  }
  return false;
}

// The line of check_contents() for one tensor.
std::string checked_digest(const StoredTensor& tensor, const ReadBuffer& buffer) {
  const TensorEntry& entry = tensor.entry;
  Xxh3 digest;
  read_blocks(tensor, buffer, [&](std::span<const std::byte> block) {
    if (!all_finite(block, entry.dtype)) throw_data_error(tensor, "holds NaN or infinite values");
    digest.update(block);
  });
  return fmt::format("{} {} {} {}\n", entry.name, dtype_name(entry.dtype), shape_text(entry.shape),
                     digest.hex());
}

// A head beside a tied embedding must be that embedding, byte for byte.
void check_tied_head(const StoredTensor& head, const StoredTensor& embedding,
                     const ReadBuffer& buffer) {
  bool is_same = head.entry.bytes == embedding.entry.bytes;
  const ReadBuffer other_buffer;
  uint64_t begin = 0;
  const auto compare = [&](std::span<const std::byte> block) {
    Tensor bytes = other_buffer.elements(static_cast<int64_t>(block.size()), at::kByte);
    const std::span<std::byte> other = mutable_tensor_bytes(bytes);
    embedding.file->read(embedding.entry, begin, other);
    is_same = is_same && std::equal(block.begin(), block.end(), other.begin());
    begin += block.size();
  };
  if (is_same) read_blocks(head, buffer, compare);
  if (!is_same) {
    throw_data_error(head,
                     "differs from model.embed_tokens.weight although tie_word_embeddings is true");
  }
}

// The lines of all texts, sorted. A line begins with a name and a blank, which comes before every
// character of a name: the lines are in the order of the names.
std::vector<std::string> sorted_lines(const std::vector<std::string>& texts) {
  std::vector<std::string> lines;
  for (const std::string& text : texts) {
    std::istringstream stream(text);
    for (std::string line; std::getline(stream, line);) lines.push_back(line);
  }
  std::sort(lines.begin(), lines.end());
  return lines;
}

}  // namespace

WeightFiles::WeightFiles(const std::filesystem::path& folder, const Architecture& architecture)
    : folder_(folder),
      architecture_(architecture),
      expected_(expected_tensors(architecture)),
      tensors_(open_weight_folder(folder)) {
  check_names(tensors_, expected_, architecture_, folder_);
  for (const ExpectedTensor& tensor : expected_) check_header(at(tensor.name), tensor.shape);
}

bool WeightFiles::is_tied_head(const std::string& name) const {
  return name == kHeadName && architecture_.has_tied_head;
}

// Largest first, each to the share with the least so far: no share gets more than the mean and
// one tensor.
std::vector<std::string> WeightFiles::names_of_share(int64_t share, int64_t num_shares) const {
  MOLORA_CHECK(share >= 0 && share < num_shares, "share {} of {}", share, num_shares);
  std::vector<std::pair<uint64_t, std::string>> by_bytes;
  for (const ExpectedTensor& tensor : expected_) {
    by_bytes.emplace_back(at(tensor.name).entry.bytes, tensor.name);
  }
  if (architecture_.has_tied_head && tensors_.count(kHeadName) > 0) {
    by_bytes.emplace_back(2 * at(kHeadName).entry.bytes, kHeadName);
  }
  std::sort(by_bytes.begin(), by_bytes.end(), std::greater<>());
  std::vector<uint64_t> bytes_of_share(static_cast<size_t>(num_shares));
  std::vector<std::string> names;
  for (const auto& [bytes, name] : by_bytes) {
    const auto least = std::min_element(bytes_of_share.begin(), bytes_of_share.end());
    *least += bytes;
    if (least - bytes_of_share.begin() == share) names.push_back(name);
  }
  return names;
}

std::string WeightFiles::check_contents(int64_t share, int64_t num_shares) const {
  const std::vector<std::string> names = names_of_share(share, num_shares);
  std::vector<std::string> digests(names.size());
  for_each_on_threads(names.size(), [&](size_t i, const ReadBuffer& buffer) {
    if (is_tied_head(names[i])) {
      check_tied_head(at(names[i]), at(kEmbeddingName), buffer);
    } else {
      digests[i] = checked_digest(at(names[i]), buffer);
    }
  });
  return fmt::format("{}", fmt::join(digests, ""));
}

std::string WeightFiles::fingerprint(const std::vector<std::string>& digests) const {
  std::map<std::string, int64_t> digests_missing;
  for (const ExpectedTensor& tensor : expected_) digests_missing[tensor.name] = 1;
  std::string text;
  for (const std::string& line : sorted_lines(digests)) {
    --digests_missing[line.substr(0, line.find(' '))];
    text += line + "\n";
  }
  for (const auto& [name, missing] : digests_missing) {
    if (missing == 0) continue;
    throw DataError(
        fmt::format("{}: tensor {} was checked by {}; the folder must hold the same files on every "
                    "machine",
                    folder_.string(), name,
                    missing > 0 ? "no rank" : "a rank that should not have checked it"));
  }
  return xxh3_hex(std::as_bytes(std::span(text.data(), text.size())));
}

int64_t WeightFiles::stored_bytes() const {
  uint64_t bytes = 0;
  for (const ExpectedTensor& tensor : expected_) bytes += at(tensor.name).entry.bytes;
  return static_cast<int64_t>(bytes);
}

}  // namespace molora
