/// Ids, texts and chats equal to transformers', on the tokenizers that make_tokenizers.py made.

#include <fstream>

#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include "hone/core/error.hpp"
#include "hone/core/hf/hf_tokenizer.hpp"

namespace hone {
namespace {

using nlohmann::json;
using Ids = std::vector<std::int64_t>;

const std::filesystem::path kCases = HONE_TOKENIZER_CASES;

json read_json(const std::filesystem::path& file) {
  std::ifstream stream{file};
  return stream ? json::parse(stream) : json();
}

std::vector<std::string> case_names() {
  const json names = read_json(kCases / "cases.json");
  return names.is_array() ? names.get<std::vector<std::string>>() : std::vector<std::string>{};
}

json optional_id(std::optional<std::int64_t> id) { return id ? json(*id) : json(nullptr); }

void expect_chat(const Tokenizer& tokenizer, const json& chat) {
  std::vector<ChatMessage> messages;
  for (const auto& message : chat["messages"]) {
    messages.push_back({message["role"], message["content"]});
  }
  const auto render = [&] {
    return tokenizer.apply_chat_template(messages, chat["add_generation_prompt"]);
  };
  if (chat.contains("text")) {
    EXPECT_EQ(render(), chat["text"]);
    return;
  }
  try {
    ADD_FAILURE() << "expected: " << chat["error"] << ", got: " << render();
  } catch (const InputError& error) {
    EXPECT_NE(std::string{error.what()}.find(chat["error"].get<std::string>()), std::string::npos)
        << error.what();
  }
}

class HfParityTest : public ::testing::TestWithParam<std::string> {
 protected:
  void SetUp() override {
    expected_ = read_json(kCases / GetParam() / "expect.json");
    tokenizer_ = load_tokenizer(kCases / GetParam() / "model");
  }
  json expected_;
  std::unique_ptr<Tokenizer> tokenizer_;
};

TEST_P(HfParityTest, Ids) {
  for (const auto& text : expected_["texts"]) {
    SCOPED_TRACE(text["text"]);
    const auto input = text["text"].get<std::string>();
    EXPECT_EQ(tokenizer_->encode(input), text["ids"].get<Ids>());
    EXPECT_EQ(tokenizer_->encode(input, false), text["plain_ids"].get<Ids>());
  }
}

TEST_P(HfParityTest, DecodedTexts) {
  for (const char* part : {"texts", "decodings"}) {
    for (const auto& text : expected_[part]) {
      SCOPED_TRACE(text.dump());
      EXPECT_EQ(tokenizer_->decode(text["ids"].get<Ids>()), text["decoded"]);
      EXPECT_EQ(tokenizer_->decode(text["ids"].get<Ids>(), false), text["decoded_with_special"]);
    }
  }
}

TEST_P(HfParityTest, SpecialIds) {
  EXPECT_EQ(tokenizer_->vocab_size(), expected_["vocab_size"]);
  EXPECT_EQ(optional_id(tokenizer_->bos_id()), expected_["bos_id"]);
  EXPECT_EQ(optional_id(tokenizer_->eos_id()), expected_["eos_id"]);
  EXPECT_EQ(optional_id(tokenizer_->pad_id()), expected_["pad_id"]);
}

TEST_P(HfParityTest, Chats) {
  EXPECT_EQ(tokenizer_->has_chat_template(), expected_["has_chat_template"]);
  for (const auto& chat : expected_["chats"]) {
    SCOPED_TRACE(chat["messages"].dump());
    expect_chat(*tokenizer_, chat);
  }
}

INSTANTIATE_TEST_SUITE_P(Tokenizers, HfParityTest, ::testing::ValuesIn(case_names()),
                         [](const auto& info) { return info.param; });

TEST(HfParity, HasCases) {
  EXPECT_FALSE(case_names().empty()) << kCases << " holds none: run the tests through ctest, which "
                                        "makes them first";
}

}  // namespace
}  // namespace hone
