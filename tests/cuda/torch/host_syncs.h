// Where the host waits for the fake device: counted, and on request printed or refused.
#pragma once

namespace molora::fake_torch {

// An operator makes the host wait; `what` names it. Throws c10::Error with FAKE_TORCH_SYNC=error.
void note_host_sync(const char* what);

// A copy to the host that does not wait.
void note_host_read();

}  // namespace molora::fake_torch
