#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <fstream>
#include <optional>
#include <string>

namespace hone {

/// What a parser of foreign lines may use before it refuses them.
struct LineLimits {
  std::size_t max_line_bytes = std::size_t{16} << 20;
  int max_depth = 64;  ///< objects and arrays within each other
  std::size_t max_values = 1'000'000;   ///< texts, numbers and words of a line, however deep
  std::size_t max_members = 250'000;    ///< its keys, objects and arrays, which need more memory
};

/// One line of a text file, without its end.
struct Line {
  std::string text;
  std::string where;  ///< "train.jsonl:12", the front of any message about it
};

/// Reads a text file line by line and never holds more than one line of it. Lines of white space
/// only are skipped; "\r\n" ends a line too.
/// Throws: MissingInputError where the file does not exist; InputError (file:line) for a line over
/// the limit or bytes that are not UTF-8; Error with ExitCode::Io where it cannot be read.
class LineReader {
 public:
  explicit LineReader(std::filesystem::path path, LineLimits limits = {});

  /// The next line that is not blank, or none at the end of the file.
  std::optional<Line> next();

 private:
  /// False at the end of the file.
  bool read_line(std::string& text);
  std::string where() const;

  std::filesystem::path path_;
  LineLimits limits_;
  std::ifstream file_;
  std::int64_t line_number_ = 0;
};

}  // namespace hone
