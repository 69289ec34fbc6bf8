// What the fake NCCL says on stderr.
#pragma once

#include <string>

namespace molora::fake_nccl {

// "fake nccl: <text>" in one piece.
void say(const std::string& text);

// The same and the end of the process: what cannot be answered is never answered with a success.
[[noreturn]] void stop(const std::string& text);

// What call of this thread is under way, for messages: "ncclAllReduce".
const char*& current_call();

}  // namespace molora::fake_nccl
