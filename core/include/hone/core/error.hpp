#pragma once

#include <cerrno>
#include <stdexcept>
#include <string>
#include <system_error>

namespace hone {

/// What a process exits with; scripts decide from these, so the values never change.
enum class ExitCode : int {
  Success = 0,
  Usage = 64,        ///< bad option, flag or configuration
  InvalidData = 65,  ///< a data, model or checkpoint file is malformed
  MissingInput = 66, ///< a file or folder that was named does not exist
  Environment = 69,  ///< MPI, GPU, NCCL or versions that do not fit
  Internal = 70,     ///< a bug, or ranks out of step
  OutOfMemory = 71,
  RunHeld = 73,      ///< the run directory is in use, or there is no space
  Io = 74,
  Stopped = 75,      ///< stopped early with everything saved: run again to resume
  Diverged = 76,     ///< loss or gradients are not finite
};

/// Of an error of the operating system, as std::filesystem throws them.
inline ExitCode exit_code_of(const std::system_error& error) {
  const int number = error.code().value();
  if (number == ENOMEM) return ExitCode::OutOfMemory;
  return number == ENOSPC || number == EDQUOT ? ExitCode::RunHeld : ExitCode::Io;
}

/// Base of every error hone throws. The message says where, what was expected, what was found and
/// what to do; `exit_code()` is what the program ends with when nobody handles it.
class Error : public std::runtime_error {
 public:
  Error(ExitCode code, const std::string& message) : std::runtime_error(message), code_(code) {}
  ExitCode exit_code() const noexcept { return code_; }

 private:
  ExitCode code_;
};

/// A wrong option, flag or configuration key: the user edits the command or the YAML.
class ConfigError : public Error {
 public:
  explicit ConfigError(const std::string& message) : Error(ExitCode::Usage, message) {}
};

/// A wrong sample, data file, model folder or tokenizer: the user edits the input.
class InputError : public Error {
 public:
  explicit InputError(const std::string& message, ExitCode code = ExitCode::InvalidData)
      : Error(code, message) {}
};

/// A file or folder that was named is not there.
class MissingInputError : public InputError {
 public:
  explicit MissingInputError(const std::string& message)
      : InputError(message, ExitCode::MissingInput) {}
};

/// A collective failed or ranks called different ones.
class CommunicatorError : public Error {
 public:
  explicit CommunicatorError(const std::string& message, ExitCode code = ExitCode::Internal)
      : Error(code, message) {}
};

/// A checkpoint could not be written, found or trusted.
class CheckpointError : public Error {
 public:
  explicit CheckpointError(const std::string& message, ExitCode code = ExitCode::InvalidData)
      : Error(code, message) {}
};

/// The machine cannot run the job as started (MPI, binding, GPU, versions).
class LaunchError : public Error {
 public:
  explicit LaunchError(const std::string& message, ExitCode code = ExitCode::Environment)
      : Error(code, message) {}
};

/// Loss or gradients are not finite; no update was applied for the batch that is named.
class DivergedError : public Error {
 public:
  explicit DivergedError(const std::string& message) : Error(ExitCode::Diverged, message) {}
};

}  // namespace hone
