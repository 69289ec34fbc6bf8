// TensorBoard event files: records of the TFRecord format, each an Event (proto/
// tensorboard_event.proto), appended while a run goes on.
//
// A record is: length (8 bytes), masked CRC-32C of the length (4), the event, its masked CRC-32C
// (4); all numbers little-endian. A reader that finds the last record cut short goes on to the next
// file. A file is never changed by a later start: that opens one of its own, whose first events
// take back what earlier files say of steps that are done again. One process writes.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

namespace molora {

// The checksum of the TFRecord format: CRC-32C, rotated right by 15 bits, plus a constant, so that
// the CRC of data that hold CRCs is still one that notices (tensorflow/core/lib/hash/crc32c.h).
uint32_t masked_crc32c(std::string_view bytes);

// One record around these bytes.
std::string event_record(std::string_view event);

struct Scalar {
  std::string tag;  // "train/loss"
  double value = 0.0;
};

class EventFile {
 public:
  // Makes a file in `folder` (and the folder) that readers take after all that lie there. Of what
  // those hold, `first_step` and later steps no longer count. Throws: IoError.
  EventFile(const std::filesystem::path& folder, int64_t first_step);
  ~EventFile();
  EventFile(const EventFile&) = delete;
  EventFile& operator=(const EventFile&) = delete;
  EventFile(EventFile&&) = delete;
  EventFile& operator=(EventFile&&) = delete;

  // Appends the scalars of a step as one event, rounded to fp32 as the format has them, and hands
  // them to the operating system. `wall_time`: seconds since 1970. None: nothing. Throws: IoError.
  void append(int64_t step, double wall_time, const std::vector<Scalar>& scalars);
  // Returns when everything appended is on the device. Throws: IoError.
  void sync();

  const std::filesystem::path& path() const { return path_; }

 private:
  void write(const std::string& event);

  std::filesystem::path path_;
  int descriptor_ = -1;
};

// Whether there is an event file in the folder.
bool has_event_files(const std::filesystem::path& folder);

}  // namespace molora
