#include "support/disk_image.h"

#include <algorithm>
#include <cerrno>
#include <string_view>
#include <utility>

#include "io/io_failure.h"

namespace molora::testing {

namespace {

using NodePtr = DiskImage::NodePtr;
using EntriesByFolder = std::map<const DiskNode*, DiskNode::Entries>;

// The names on the way to a file, from the root.
std::vector<std::string> names_of(const std::filesystem::path& path) {
  std::vector<std::string> names;
  for (const auto& part : path.lexically_normal().relative_path()) {
    if (!part.empty() && part != ".") names.push_back(part.string());
  }
  return names;
}

NodePtr child(const DiskNode& folder, const std::string& name) {
  const auto found = folder.entries.find(name);
  return found == folder.entries.end() ? nullptr : found->second;
}

uint64_t bytes_under(const DiskNode& node) {
  uint64_t bytes = node.bytes.size();
  for (const auto& [name, entry] : node.entries) bytes += bytes_under(*entry);
  return bytes;
}

void list_under(const DiskNode& folder, const std::string& prefix,
                std::map<std::string, std::string>& into) {
  for (const auto& [name, node] : folder.entries) {
    into[prefix + name + (node->is_folder ? "/" : "")] = node->bytes;
    list_under(*node, prefix + name + "/", into);
  }
}

bool is_within(const NodePtr& node, const DiskNode& folder) {
  for (const auto& [name, entry] : folder.entries) {
    if (entry == node || is_within(node, *entry)) return true;
  }
  return false;
}

uint64_t below(std::mt19937_64& random, uint64_t bound) {
  return std::uniform_int_distribution<uint64_t>(0, bound - 1)(random);
}

std::string surviving_bytes(const DiskNode& file, Survival how, std::mt19937_64& random) {
  if (how == Survival::kNothingUnsynced || file.has_lost_bytes) return file.synced_bytes;
  if (how == Survival::kAllNames) return file.is_truncated ? "" : file.synced_bytes;
  if (how == Survival::kEverything) return file.bytes;
  if (file.is_truncated && below(random, 2) == 0) return file.synced_bytes;
  const size_t least = file.is_truncated ? 0 : file.synced_bytes.size();
  const size_t length = least + below(random, file.bytes.size() - least + 1);
  std::string bytes = file.bytes.substr(0, length);
  // The length of a file can be on the device before its bytes.
  if (below(random, 4) == 0)
    std::fill(bytes.begin() + static_cast<ptrdiff_t>(least), bytes.end(), 0);
  return bytes;
}

// What is left of a file or folder, names and bytes all on the device.
NodePtr survivor(const DiskNode& node, const EntriesByFolder& entries, Survival how,
                 std::mt19937_64& random) {
  auto copy = std::make_shared<DiskNode>();
  copy->is_folder = node.is_folder;
  if (!node.is_folder) {
    copy->bytes = surviving_bytes(node, how, random);
    copy->synced_bytes = copy->bytes;
    return copy;
  }
  const auto changed = entries.find(&node);
  for (const auto& [name, entry] :
       changed == entries.end() ? node.synced_entries : changed->second) {
    copy->entries[name] = survivor(*entry, entries, how, random);
  }
  copy->synced_entries = copy->entries;
  return copy;
}

void edit(DiskNode::Entries& entries, const std::string& name, const NodePtr& node) {
  if (node == nullptr) {
    entries.erase(name);
  } else {
    entries[name] = node;
  }
}

}  // namespace

DiskImage::DiskImage() : root_(std::make_shared<DiskNode>()) { root_->is_folder = true; }

NodePtr DiskImage::find(const Path& path) const {
  NodePtr node = root_;
  for (const std::string& name : names_of(path)) {
    node = child(*node, name);
    if (node == nullptr) return nullptr;
  }
  return node;
}

DiskImage::Place DiskImage::look(const Path& path) const {
  std::vector<std::string> names = names_of(path);
  if (names.empty()) return {.failure = EBUSY};
  const std::string last = names.back();
  names.pop_back();
  NodePtr folder = root_;
  for (const std::string& name : names) {
    folder = child(*folder, name);
    if (folder == nullptr) return {.failure = ENOENT};
    if (!folder->is_folder) return {.failure = ENOTDIR};
  }
  return {folder, last, child(*folder, last)};
}

DiskImage::Place DiskImage::place_of(const std::string& operation, const Path& path) const {
  Place place = look(path);
  if (place.failure != 0) throw_io(operation, path, place.failure);
  return place;
}

void DiskImage::make(Change change) {
  for (const Edit& part : change) edit(part.folder->entries, part.name, part.node);
  pending_.push_back(std::move(change));
}

NodePtr DiskImage::create(const Path& path) {
  const Place place = place_of("create", path);
  if (place.node == nullptr) {
    auto file = std::make_shared<DiskNode>();
    make({{place.folder, place.name, file}});
    return file;
  }
  if (place.node->is_folder) throw_io("create", path, EISDIR);
  place.node->bytes.clear();
  place.node->is_truncated = true;
  place.node->has_lost_bytes = false;
  return place.node;
}

void DiskImage::make_folder(const Path& path) {
  if (names_of(path).empty()) return;
  const Place place = place_of("make the folder", path);
  if (place.node != nullptr && place.node->is_folder) return;
  if (place.node != nullptr) throw_io("make the folder", path, EEXIST);
  auto folder = std::make_shared<DiskNode>();
  folder->is_folder = true;
  make({{place.folder, place.name, folder}});
}

NodePtr DiskImage::open(const Path& path) const {
  const Place place = place_of("open", path);
  if (place.node == nullptr) throw_io("open", path, ENOENT);
  return place.node;
}

void DiskImage::rename(const Path& from, const Path& to) {
  const std::string operation = "rename to " + to.filename().string();
  const auto fail = [&](int code) { throw_io(operation, from, code); };
  const Place old = place_of(operation, from);
  const Place place = look(to);
  if (old.node == nullptr) fail(ENOENT);
  if (place.failure != 0) fail(place.failure);
  if (place.node == old.node) return;
  if (place.folder == old.node || is_within(place.folder, *old.node)) fail(EINVAL);
  if (place.node != nullptr) {
    if (place.node->is_folder && !old.node->is_folder) fail(EISDIR);
    if (!place.node->is_folder && old.node->is_folder) fail(ENOTDIR);
    if (!place.node->entries.empty()) fail(ENOTEMPTY);
  }
  make({{old.folder, old.name, nullptr}, {place.folder, place.name, old.node}});
}

void DiskImage::remove(const Path& path) {
  const Place place = look(path);
  if (place.failure == ENOENT) return;
  if (place.failure != 0) throw_io("remove", path, place.failure);
  if (place.node == nullptr) return;
  if (!place.node->entries.empty()) throw_io("remove", path, ENOTEMPTY);
  make({{place.folder, place.name, nullptr}});
}

// A change of two folders reaches the device with the first of them that is synced, and then brings
// along what the other one had before.
void DiskImage::sync_folder(const Path& path) {
  const NodePtr folder = find(path);
  if (folder == nullptr) throw_io("open the folder", path, ENOENT);
  if (!folder->is_folder) throw_io("open the folder", path, ENOTDIR);
  std::vector<const DiskNode*> wanted = {folder.get()};
  const auto is_wanted = [&](const Edit& part) {
    return std::find(wanted.begin(), wanted.end(), part.folder.get()) != wanted.end();
  };
  std::vector<Change> taken;
  for (size_t i = pending_.size(); i-- > 0;) {
    if (std::none_of(pending_[i].begin(), pending_[i].end(), is_wanted)) continue;
    for (const Edit& part : pending_[i]) wanted.push_back(part.folder.get());
    taken.push_back(std::move(pending_[i]));
    pending_.erase(pending_.begin() + static_cast<ptrdiff_t>(i));
  }
  std::reverse(taken.begin(), taken.end());
  for (const Change& change : taken) {
    for (const Edit& part : change) edit(part.folder->synced_entries, part.name, part.node);
  }
}

uint64_t DiskImage::total_bytes() const { return bytes_under(*root_); }

std::map<std::string, std::string> DiskImage::contents() const {
  std::map<std::string, std::string> found;
  list_under(*root_, "", found);
  return found;
}

void DiskImage::append(DiskNode& file, std::string_view bytes) { file.bytes += bytes; }

void DiskImage::sync(DiskNode& file) {
  if (file.has_lost_bytes) return;
  file.synced_bytes = file.bytes;
  file.is_truncated = false;
}

std::set<const DiskNode*> DiskImage::folders_of(const Change& change) {
  std::set<const DiskNode*> folders;
  for (const Edit& part : change) folders.insert(part.folder.get());
  return folders;
}

std::vector<const DiskImage::Change*> DiskImage::surviving_changes(Survival how,
                                                                   std::mt19937_64& random) const {
  if (how == Survival::kNothingUnsynced) return {};
  std::map<const DiskNode*, uint64_t> left;  // changes of a folder that may still survive
  for (const Change& change : pending_) {
    for (const DiskNode* folder : folders_of(change)) ++left[folder];
  }
  if (how == Survival::kRandom) {
    for (auto& [folder, number] : left) number = below(random, number + 1);
  }
  std::vector<const Change*> surviving;
  for (const Change& change : pending_) {
    const std::set<const DiskNode*> folders = folders_of(change);
    const bool is_lost = std::any_of(folders.begin(), folders.end(),
                                     [&](const DiskNode* folder) { return left[folder] == 0; });
    for (const DiskNode* folder : folders) left[folder] = is_lost ? 0 : left[folder] - 1;
    if (!is_lost) surviving.push_back(&change);
  }
  return surviving;
}

DiskImage DiskImage::after_crash(Survival how, uint64_t seed) const {
  std::mt19937_64 random(seed);
  EntriesByFolder entries;
  for (const Change* change : surviving_changes(how, random)) {
    for (const Edit& part : *change) {
      const DiskNode* folder = part.folder.get();
      edit(entries.try_emplace(folder, folder->synced_entries).first->second, part.name, part.node);
    }
  }
  DiskImage left;
  left.root_ = survivor(*root_, entries, how, random);
  return left;
}

}  // namespace molora::testing
