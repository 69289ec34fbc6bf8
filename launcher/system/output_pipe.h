// What a process prints into a pipe, taken from it in whole lines.
#pragma once

#include <string>

#include "launcher/system/file_descriptor.h"

namespace molora {

class OutputPipe {
 public:
  // The end to read from; becomes one that does not block. None: at its end already.
  explicit OutputPipe(FileDescriptor from);

  // -1 at the end, or when there is no pipe.
  int descriptor() const { return from_.get(); }
  // Reads what is there, at most so many bytes, and returns the lines that are whole; lines longer
  // than 64 KiB come in pieces.
  std::string take_lines(size_t max_bytes = size_t{1} << 20);
  // What is left without a line end. REQUIRES: nothing more is expected.
  std::string take_rest();

 private:
  FileDescriptor from_;
  std::string buffer_;
};

// Both ends of a new pipe, closed on exec. Throws: IoError.
struct PipeEnds {
  FileDescriptor read;
  FileDescriptor write;
};
PipeEnds make_pipe();

}  // namespace molora
