// What a rank's stream is at, published for as long as this object lives.
#pragma once

#include <algorithm>
#include <cstring>
#include <string>

#include "segment.h"

namespace molora::fake_nccl {

class CurrentActivity {
 public:
  CurrentActivity(RankSlot& slot, Activity activity, const std::string& text) : slot_(slot) {
    const size_t size = std::min(text.size(), sizeof slot.doing - 1);
    std::memcpy(slot.doing, text.data(), size);
    slot.doing[size] = '\0';
    slot.serial.fetch_add(1);
    slot.activity.store(activity);
  }
  ~CurrentActivity() { slot_.activity.store(Activity::kNone); }
  CurrentActivity(const CurrentActivity&) = delete;
  CurrentActivity& operator=(const CurrentActivity&) = delete;
  CurrentActivity(CurrentActivity&&) = delete;
  CurrentActivity& operator=(CurrentActivity&&) = delete;

 private:
  RankSlot& slot_;
};

}  // namespace molora::fake_nccl
