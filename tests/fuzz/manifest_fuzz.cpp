// manifest.json of a checkpoint: as it is, and with a digest that fits, behind which the parser proper
// begins.
#include "digest.hpp"
#include "fuzz_target.hpp"
#include "manifest.hpp"
#include "manifest_format.hpp"

int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace hone::checkpoints::detail;
  const auto text = hone::fuzz::text_of(data, size);
  hone::fuzz::expect_refusal_or_result([&] { parse_manifest(std::string{text}); });
  std::string sealed{text};
  sealed.append(kDigestHead).append(sha256_of(text)).append(kDigestTail);
  return hone::fuzz::expect_refusal_or_result([&] {
    // What is read can be written, and is the same when it is read again.
    const auto written = write_manifest(parse_manifest(sealed));
    if (write_manifest(parse_manifest(written)) != written) std::abort();
  });
}
