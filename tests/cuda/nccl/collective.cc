#include "collective.h"

#include <algorithm>
#include <cstring>
#include <string>
#include <vector>

#include <fmt/format.h>

#include "activity.h"
#include "reduction.h"
#include "settings.h"

namespace molora::fake_nccl {

namespace {

// A piece of what one rank sends: bytes [first, first + bytes) of its send buffer.
struct Piece {
  size_t first = 0;
  size_t bytes = 0;
  uint64_t round = 0;
};

class Collective {
 public:
  Collective(Communicator& communicator, const Operation& operation)
      : comm_(communicator),
        operation_(operation),
        number_(++communicator.num_collectives),
        block_(operation.count * bytes_of(operation.type)),
        text_(fmt::format("{} (collective {})", text_of(operation), number_)) {}

  bool run() {
    const CurrentActivity activity(comm_.slot(), Activity::kCollective, text_);
    size_t longest = 0;
    for (int rank = 0; rank < comm_.size(); ++rank) {
      longest = std::max(longest, send_bytes(operation_, rank, comm_.size()));
    }
    const uint64_t begin = comm_.slot().written.load();
    const uint64_t rounds = std::max<uint64_t>(1, (longest + kRoundBytes - 1) / kRoundBytes);
    for (uint64_t i = 0; i < rounds; ++i) {
      const Piece piece{i * kRoundBytes, std::min(kRoundBytes, longest - i * kRoundBytes),
                        begin + i};
      if (!write(piece) || (i == 0 && !all_agree(begin))) return false;
      read(piece);
      comm_.slot().read.store(piece.round + 1);
      comm_.segment().ring();
    }
    return true;
  }

 private:
  template <typename Condition>
  bool all(const Condition& condition) const {
    for (int rank = 0; rank < comm_.size(); ++rank) {
      if (!condition(comm_.segment().slot(rank))) return false;
    }
    return true;
  }

  // Writes this rank's piece and waits for those of the others.
  bool write(const Piece& piece) {
    RankSlot& mine = comm_.slot();
    const auto is_free = [&](const RankSlot& slot) { return slot.read.load() + 1 >= piece.round; };
    if (!comm_.wait_until([&] { return all(is_free); }, text_)) return false;
    mine.headers[piece.round % 2] = {operation_.kind, operation_.type,  operation_.reduction,
                                     operation_.root, operation_.count, number_};
    const size_t mine_bytes = send_bytes(operation_, comm_.rank(), comm_.size());
    if (mine_bytes > piece.first) {
      std::memcpy(comm_.segment().round_data(comm_.rank(), piece.round),
                  static_cast<const std::byte*>(operation_.send) + piece.first,
                  std::min(piece.bytes, mine_bytes - piece.first));
    }
    mine.needs_written.store(piece.round + 1);
    mine.written.store(piece.round + 1);
    comm_.segment().ring();
    const auto is_there = [&](const RankSlot& slot) { return slot.written.load() > piece.round; };
    return comm_.wait_until([&] { return all(is_there); }, text_);
  }

  std::string text_at(int rank, uint64_t round) const {
    const CollectiveHeader& header = comm_.segment().slot(rank).headers[round % 2];
    Operation operation;
    operation.kind = header.kind;
    operation.type = header.type;
    operation.reduction = header.reduction;
    operation.root = header.root;
    operation.count = header.count;
    return fmt::format("{} (collective {})", text_of(operation), header.number);
  }

  // Every rank comes to the same verdict: the culprit is the first that differs from most others.
  bool all_agree(uint64_t round) {
    std::vector<std::string> texts;
    for (int rank = 0; rank < comm_.size(); ++rank) texts.push_back(text_at(rank, round));
    const auto votes = [&](const std::string& text) {
      return std::count(texts.begin(), texts.end(), text);
    };
    const std::string common = *std::max_element(
        texts.begin(), texts.end(),
        [&](const std::string& a, const std::string& b) { return votes(a) < votes(b); });
    const auto culprit = std::find_if(texts.begin(), texts.end(),
                                      [&](const std::string& text) { return text != common; });
    if (culprit == texts.end()) return true;
    const auto rank = static_cast<int>(culprit - texts.begin());
    comm_.breach(rank, "agree",
                 fmt::format("calls {}, expected {} as rank {}", *culprit, common,
                             std::find(texts.begin(), texts.end(), common) - texts.begin()));
    return false;
  }

  const std::byte* data(int rank, const Piece& piece) const {
    return comm_.segment().round_data(rank, piece.round);
  }
  std::byte* out() const { return static_cast<std::byte*>(operation_.recv); }
  bool is_root() const { return comm_.rank() == operation_.root; }

  void read(const Piece& piece) {
    const auto me = static_cast<size_t>(comm_.rank());
    switch (operation_.kind) {
      case OperationKind::kAllGather:
        return gather(piece);
      case OperationKind::kGather:
        return is_root() ? gather(piece) : void();
      case OperationKind::kBroadcast:
        std::memcpy(out() + piece.first, data(operation_.root, piece), piece.bytes);
        return;
      case OperationKind::kScatter:
        return copy_block(operation_.root, piece, out());
      case OperationKind::kAlltoAll:
        for (int rank = 0; rank < comm_.size(); ++rank) {
          copy_block(rank, piece, out() + static_cast<size_t>(rank) * block_);
        }
        return;
      case OperationKind::kAllReduce:
        return reduce_range(piece, 0);
      case OperationKind::kReduce:
        return is_root() ? reduce_range(piece, 0) : void();
      case OperationKind::kReduceScatter:
        return reduce_range(piece, me * block_);
      case OperationKind::kSend:
      case OperationKind::kRecv:
        break;
    }
  }

  void gather(const Piece& piece) {
    for (int rank = 0; rank < comm_.size(); ++rank) {
      std::memcpy(out() + static_cast<size_t>(rank) * block_ + piece.first, data(rank, piece),
                  piece.bytes);
    }
  }

  // What of this rank's block [rank * block, (rank + 1) * block) is in the piece that `from` has
  // sent.
  void copy_block(int from, const Piece& piece, std::byte* to) {
    const size_t begin = static_cast<size_t>(comm_.rank()) * block_;
    const size_t first = std::max(begin, piece.first);
    const size_t end = std::min(begin + block_, piece.first + piece.bytes);
    if (first >= end) return;
    std::memcpy(to + (first - begin), data(from, piece) + (first - piece.first), end - first);
  }

  // Reduces what of [begin, begin + block) of all send buffers is in the piece.
  void reduce_range(const Piece& piece, size_t begin) {
    const size_t first = std::max(begin, piece.first);
    const size_t end = std::min(begin + block_, piece.first + piece.bytes);
    if (first >= end) return;
    const size_t width = bytes_of(operation_.type);
    std::vector<const std::byte*> inputs;
    for (int rank = 0; rank < comm_.size(); ++rank) {
      inputs.push_back(data(rank, piece) + (first - piece.first));
    }
    ReductionStep step{operation_.type, operation_.reduction, settings().order, first / width,
                       operation_.count};
    if (operation_.kind == OperationKind::kReduceScatter) {
      step.total *= static_cast<size_t>(comm_.size());
    }
    reduce(step, inputs, (end - first) / width, out() + (first - begin));
  }

  Communicator& comm_;
  const Operation& operation_;
  const uint64_t number_;
  const size_t block_;  // bytes of `count` elements
  const std::string text_;
};

}  // namespace

bool run_collective(Communicator& communicator, const Operation& operation) {
  return Collective(communicator, operation).run();
}

}  // namespace molora::fake_nccl
