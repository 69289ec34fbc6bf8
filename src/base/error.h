// The exceptions of the project, and the process exit code that each of them ends in.
//
// Two kinds only. What the world did (a wrong file, a full disk, a lost peer) is one of the typed
// errors below; what we did (a broken invariant) is an InternalError, thrown by MOLORA_CHECK.
// A message says what failed, where, what was expected and what was found, and what to do.
// The library never exits: main() turns the exception into exit_code().
#pragma once

#include <stdexcept>
#include <string>

namespace molora {

// What the process tells its parent. Documented in README.md; the numbers are those of sysexits.h
// where one fits.
enum class ExitCode : int {
  kDone = 0,
  kConfig = 64,    // configuration or input is wrong: never worth a retry
  kInternal = 70,  // a fault of this program
  kMemory = 71,    // out of memory, of the machine or of a control group
  kStorage = 74,   // reading or writing failed: disk full, file damaged, permission
  kRequeue = 75,   // stopped on request after a save: start again to go on
  kPeer = 76,      // another rank was lost or hangs: retry
};

class Error : public std::runtime_error {
 public:
  ExitCode exit_code() const { return exit_code_; }

 protected:
  Error(ExitCode exit_code, const std::string& message)
      : std::runtime_error(message), exit_code_(exit_code) {}

 private:
  ExitCode exit_code_;
};

// The configuration or the command line asks for something impossible or unknown.
class ConfigError : public Error {
 public:
  explicit ConfigError(const std::string& message) : Error(ExitCode::kConfig, message) {}
};

// A model, tokenizer or data file says something that cannot be used as it is.
class DataError : public Error {
 public:
  explicit DataError(const std::string& message) : Error(ExitCode::kConfig, message) {}
};

// The training itself has gone wrong: steps that are not finite.
class NumericsError : public Error {
 public:
  explicit NumericsError(const std::string& message) : Error(ExitCode::kConfig, message) {}
};

// The operating system refused: open, read, write, sync, rename, map.
class IoError : public Error {
 public:
  explicit IoError(const std::string& message) : Error(ExitCode::kStorage, message) {}
};

// A checkpoint cannot be written, found or trusted.
class CheckpointError : public Error {
 public:
  explicit CheckpointError(const std::string& message) : Error(ExitCode::kStorage, message) {}
};

// A collective failed or a peer is gone; the communicator may only be destroyed afterwards.
class CommError : public Error {
 public:
  explicit CommError(const std::string& message) : Error(ExitCode::kPeer, message) {}
};

// An invariant of this program does not hold.
class InternalError : public Error {
 public:
  explicit InternalError(const std::string& message) : Error(ExitCode::kInternal, message) {}
};

}  // namespace molora
