#include "hone/core/data/line_reader.hpp"

#include <cerrno>
#include <cstring>
#include <utility>

#include "hone/core/error.hpp"
#include "hone/core/printable.hpp"

namespace hone {
namespace {

constexpr std::string_view kByteOrderMark = "\xEF\xBB\xBF";

bool is_blank(const std::string& text) {
  return text.find_first_not_of(" \t\r") == std::string::npos;
}

void require_regular(const std::filesystem::path& path) {
  std::error_code error;
  const auto status = std::filesystem::status(path, error);
  if (!std::filesystem::exists(status)) {
    throw MissingInputError(printable(path.string()) + ": no such file");
  }
  if (std::filesystem::is_directory(status)) {
    throw InputError(printable(path.string()) + ": is a folder; expected a JSON-lines file");
  }
}

}  // namespace

LineReader::LineReader(std::filesystem::path path, LineLimits limits)
    : path_(std::move(path)), limits_(limits) {
  require_regular(path_);
  errno = 0;
  file_.open(path_, std::ios::binary);
  if (!file_) {
    throw Error(ExitCode::Io,
                printable(path_.string()) + ": cannot be opened: " + std::strerror(errno));
  }
}

std::string LineReader::where() const {
  return printable(path_.string()) + ":" + std::to_string(line_number_);
}

bool LineReader::read_line(std::string& text) {
  // std::getline would take a line of any size into memory before anybody could refuse it.
  text.clear();
  std::streambuf& buffer = *file_.rdbuf();
  for (int c = buffer.sbumpc(); c != std::char_traits<char>::eof(); c = buffer.sbumpc()) {
    if (c == '\n') return true;
    if (text.size() == limits_.max_line_bytes) {
      throw InputError(where() + ": the line is longer than " +
                       std::to_string(limits_.max_line_bytes) +
                       " bytes; expected one JSON object per line");
    }
    text.push_back(static_cast<char>(c));
  }
  return !text.empty();
}

std::optional<Line> LineReader::next() {
  std::string text;
  for (;;) {
    ++line_number_;
    if (!read_line(text)) return std::nullopt;
    if (line_number_ == 1 && text.starts_with(kByteOrderMark)) text.erase(0, kByteOrderMark.size());
    if (!is_blank(text)) break;
  }
  if (text.ends_with('\r')) text.pop_back();
  const std::size_t bad = find_invalid_utf8(text);
  if (bad != std::string::npos) {
    throw InputError(where() + ":" + std::to_string(bad + 1) + ": byte " +
                     printable(std::string_view{text}.substr(bad, 1)) +
                     " is not UTF-8; convert the file (iconv -t utf-8)");
  }
  return Line{std::move(text), where()};
}

}  // namespace hone
