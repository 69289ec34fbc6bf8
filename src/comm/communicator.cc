#include "comm/communicator.h"

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <numeric>
#include <utility>

#include "base/check.h"

namespace molora {

namespace {

void copy_bytes(std::span<const std::byte> from, std::span<std::byte> to) {
  MOLORA_CHECK_EQ(from.size(), to.size());
  if (!from.empty()) std::memcpy(to.data(), from.data(), from.size());
}

size_t total(std::span<const size_t> parts) {
  return std::accumulate(parts.begin(), parts.end(), size_t{0});
}

// A group of one: the wrappers never call these.
class SingleCommunicator final : public Communicator {
 public:
  explicit SingleCommunicator(const std::string& name) : Communicator(name, 0, 1) {}

 private:
  void do_barrier() override { MOLORA_CHECK(false); }
  void do_broadcast(std::span<std::byte>, int) override { MOLORA_CHECK(false); }
  void do_all_gather(std::span<const std::byte>, std::span<std::byte>) override {
    MOLORA_CHECK(false);
  }
  void do_all_to_all(std::span<const std::byte>, std::span<const size_t>, std::span<std::byte>,
                     std::span<const size_t>) override {
    MOLORA_CHECK(false);
  }
};

}  // namespace

Communicator::Communicator(std::string name, int rank, int size)
    : name_(std::move(name)), rank_(rank), size_(size) {
  MOLORA_CHECK(size > 0 && rank >= 0 && rank < size, "rank {} of {}", rank, size);
}

void Communicator::barrier() {
  record_.enter(CollectiveKind::kBarrier, 0);
  if (size_ > 1) do_barrier();
  record_.leave();
}

void Communicator::broadcast(std::span<std::byte> buffer, int root) {
  MOLORA_CHECK(root >= 0 && root < size_, "root {} of {}", root, size_);
  record_.enter(CollectiveKind::kBroadcast,
                rank_ == root ? buffer.size() * static_cast<size_t>(size_ - 1) : 0);
  if (size_ > 1) do_broadcast(buffer, root);
  record_.leave();
}

void Communicator::all_gather(std::span<const std::byte> send, std::span<std::byte> recv) {
  MOLORA_CHECK_EQ(recv.size(), send.size() * static_cast<size_t>(size_));
  record_.enter(CollectiveKind::kAllGather, send.size() * static_cast<size_t>(size_ - 1));
  if (size_ > 1) {
    do_all_gather(send, recv);
  } else {
    copy_bytes(send, recv);
  }
  record_.leave();
}

void Communicator::all_to_all(std::span<const std::byte> send, std::span<const size_t> send_bytes,
                              std::span<std::byte> recv, std::span<const size_t> recv_bytes) {
  MOLORA_CHECK_EQ(send_bytes.size(), size_);
  MOLORA_CHECK_EQ(recv_bytes.size(), size_);
  MOLORA_CHECK_EQ(total(send_bytes), send.size());
  MOLORA_CHECK_EQ(total(recv_bytes), recv.size());
  const auto self = static_cast<size_t>(rank_);
  MOLORA_CHECK_EQ(send_bytes[self], recv_bytes[self], "bytes that rank {} keeps", rank_);
  record_.enter(CollectiveKind::kAllToAll, send.size() - send_bytes[self]);
  if (size_ > 1) {
    do_all_to_all(send, send_bytes, recv, recv_bytes);
  } else {
    copy_bytes(send, recv);
  }
  record_.leave();
}

std::unique_ptr<Communicator> make_single_communicator(const std::string& name) {
  return std::make_unique<SingleCommunicator>(name);
}

std::string broadcast_text(Communicator& communicator, const std::string& text, int root) {
  uint64_t length = text.size();
  communicator.broadcast(std::as_writable_bytes(std::span(&length, 1)), root);
  std::string result = communicator.rank() == root ? text : std::string(length, '\0');
  communicator.broadcast(std::as_writable_bytes(std::span(result.data(), result.size())), root);
  return result;
}

std::vector<std::string> all_gather_text(Communicator& communicator, const std::string& text) {
  const auto members = static_cast<size_t>(communicator.size());
  const uint64_t length = text.size();
  std::vector<uint64_t> lengths(members);
  communicator.all_gather(std::as_bytes(std::span(&length, 1)),
                          std::as_writable_bytes(std::span(lengths)));
  // Equal blocks of the longest text: texts are short, and one collective is one collective.
  const uint64_t longest = *std::max_element(lengths.begin(), lengths.end());
  std::string block = text;
  block.resize(longest);
  std::string blocks(longest * members, '\0');
  communicator.all_gather(std::as_bytes(std::span(block.data(), block.size())),
                          std::as_writable_bytes(std::span(blocks.data(), blocks.size())));
  std::vector<std::string> texts;
  for (size_t i = 0; i < members; ++i) texts.push_back(blocks.substr(i * longest, lengths[i]));
  return texts;
}

}  // namespace molora
