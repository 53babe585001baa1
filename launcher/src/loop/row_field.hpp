#pragma once

#include <string>
#include <vector>

#include "hone/core/data/jsonl.hpp"

namespace hone::launcher {

/// The texts that a prompt's row gives for `field`: a string as it is, a number or true/false as
/// JSON writes it, a list of these one by one. Never empty.
/// Throws: InputError with the row's place where the field is missing or of another kind.
std::vector<std::string> field_texts(const PromptRow& row, const std::string& field);

}  // namespace hone::launcher
