#pragma once

#include <array>

namespace hone::bench {

/// 2,298 tokens, log-normal as texts are; dealt to two ranks by tokens 1,149 each. data_parallel.py
/// has the same ones.
inline constexpr std::array kLengths{111, 306, 347, 172, 183, 102, 77, 78,
                                     73,  256, 135, 152, 92,  69,  64, 81};

}  // namespace hone::bench
