#include "end_of_job.hpp"

#include <nlohmann/json.hpp>

#include "hone/core/error.hpp"

namespace hone::launcher::control {
namespace {

constexpr std::size_t kMaxCause = 8192;  ///< what a record and a screen can hold

}  // namespace

std::string to_bytes(const EndOfJob& end) {
  const nlohmann::json json{{"rank", end.rank},
                            {"code", end.code},
                            {"cause", end.cause.substr(0, kMaxCause)},
                            {"told", end.told}};
  return json.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
}

EndOfJob end_of_job(std::string_view bytes) {
  try {
    const auto json = nlohmann::json::parse(bytes);
    return {.rank = json.at("rank"),
            .code = json.at("code"),
            .cause = json.at("cause"),
            .told = json.at("told")};
  } catch (const nlohmann::json::exception& error) {
    throw InputError{std::string{"control channel: "} + error.what()};
  }
}

}  // namespace hone::launcher::control
