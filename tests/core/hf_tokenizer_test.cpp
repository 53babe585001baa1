#include "hone/core/hf/hf_tokenizer.hpp"

#include <atomic>
#include <thread>

#include <gmock/gmock.h>

#include "core/hf_fixture.hpp"
#include "hone/core/error.hpp"

namespace hone {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using testing::message_of;
using Ids = std::vector<std::int64_t>;

/// Words by white space; <s> before every text, an id gap after the words.
constexpr const char* kTokenizer = R"({
  "version": "1.0", "truncation": {"max_length": 2, "strategy": "LongestFirst", "stride": 0,
                                   "direction": "Right"},
  "padding": null, "normalizer": null,
  "added_tokens": [
    {"id": 0, "content": "<s>", "single_word": false, "lstrip": false, "rstrip": false,
     "normalized": false, "special": true},
    {"id": 9, "content": "</s>", "single_word": false, "lstrip": false, "rstrip": false,
     "normalized": false, "special": true}],
  "pre_tokenizer": {"type": "WhitespaceSplit"},
  "post_processor": {"type": "TemplateProcessing",
    "single": [{"SpecialToken": {"id": "<s>", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}],
    "pair": [{"Sequence": {"id": "A", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 1}}],
    "special_tokens": {"<s>": {"id": "<s>", "ids": [0], "tokens": ["<s>"]}}},
  "decoder": null,
  "model": {"type": "WordLevel", "unk_token": "<unk>",
            "vocab": {"<s>": 0, "<unk>": 1, "one": 2, "two": 3, "three": 4, "</s>": 9}}
})";

class HfTokenizerTest : public testing::FolderTest {
 protected:
  void SetUp() override {
    FolderTest::SetUp();
    write("tokenizer.json", kTokenizer);
  }
};

TEST_F(HfTokenizerTest, EncodesWithAndWithoutSpecialTokens) {
  const auto tokenizer = load_tokenizer(folder());
  // Three words: the truncation to two that tokenizer.json holds is not applied.
  EXPECT_THAT(tokenizer->encode("one two three"), ElementsAre(0, 2, 3, 4));
  EXPECT_THAT(tokenizer->encode("one two four", false), ElementsAre(2, 3, 1));
  EXPECT_THAT(tokenizer->encode(""), ElementsAre(0));
  EXPECT_THAT(tokenizer->encode("", false), ElementsAre());
}

TEST_F(HfTokenizerTest, DecodesWithAndWithoutSpecialTokens) {
  const auto tokenizer = load_tokenizer(folder());
  EXPECT_EQ(tokenizer->decode(Ids{0, 2, 3, 9}), "one two");
  EXPECT_EQ(tokenizer->decode(Ids{0, 2, 3, 9}, false), "<s> one two </s>");
  EXPECT_EQ(tokenizer->decode(Ids{}), "");
  EXPECT_EQ(tokenizer->decode(Ids{2, 7, 4'000'000'000, 3}), "one two") << "ids without a token";
}

TEST_F(HfTokenizerTest, RefusesIdsThatAreNone) {
  const auto tokenizer = load_tokenizer(folder());
  for (const std::int64_t id : {std::int64_t{-100}, std::int64_t{1} << 32}) {
    EXPECT_THAT(message_of<InputError>([&] { tokenizer->decode(Ids{2, id}); }),
                HasSubstr(std::to_string(id) + " is not a token id"));
  }
}

TEST_F(HfTokenizerTest, RefusesTextThatIsNotUtf8) {
  const auto tokenizer = load_tokenizer(folder());
  EXPECT_THAT(message_of<InputError>([&] { tokenizer->encode("one \xff"); }),
              AllOf(HasSubstr(folder().string()), HasSubstr("not valid UTF-8 at byte 4")));
}

TEST_F(HfTokenizerTest, VocabularyReachesBeyondItsGaps) {
  EXPECT_EQ(load_tokenizer(folder())->vocab_size(), 10);
}

TEST_F(HfTokenizerTest, HasNoIdsWhereNothingNamesThem) {
  const auto tokenizer = load_tokenizer(folder());
  EXPECT_EQ(tokenizer->bos_id(), std::nullopt);
  EXPECT_EQ(tokenizer->eos_id(), std::nullopt);
  EXPECT_EQ(tokenizer->pad_id(), std::nullopt);
}

TEST_F(HfTokenizerTest, TakesIdsFromTheTokensOfItsConfiguration) {
  write("tokenizer_config.json",
        R"({"bos_token": "<s>", "eos_token": {"content": "</s>"}, "pad_token": "<pad>"})");
  write("generation_config.json", R"({"eos_token_id": 3})");
  const auto tokenizer = load_tokenizer(folder());
  EXPECT_EQ(tokenizer->bos_id(), 0);
  EXPECT_EQ(tokenizer->eos_id(), 9);
  EXPECT_EQ(tokenizer->pad_id(), 10) << "a named token that the vocabulary lacks is added";
  EXPECT_EQ(tokenizer->vocab_size(), 11);
}

TEST_F(HfTokenizerTest, TakesIdsFromTheModelWhereTheConfigurationNamesNoToken) {
  write("tokenizer_config.json", R"({"model_max_length": 1024, "pad_token": null})");
  write("generation_config.json", R"({"eos_token_id": [9, 3], "pad_token_id": null})");
  write("config.json", R"({"bos_token_id": 0, "eos_token_id": 4, "pad_token_id": -1})");
  const auto tokenizer = load_tokenizer(folder());
  EXPECT_EQ(tokenizer->bos_id(), 0);
  EXPECT_EQ(tokenizer->eos_id(), 9) << "the first of several, generation_config.json before config.json";
  EXPECT_EQ(tokenizer->pad_id(), std::nullopt);
}

TEST_F(HfTokenizerTest, ReadsSpecialTokensMapOnlyWithoutAddedTokensDecoder) {
  write("special_tokens_map.json", R"({"eos_token": "three"})");
  EXPECT_EQ(load_tokenizer(folder())->eos_id(), 4);
  write("tokenizer_config.json",
        R"({"eos_token": "</s>", "added_tokens_decoder": {"9": {"content": "</s>"}}})");
  EXPECT_EQ(load_tokenizer(folder())->eos_id(), 9);
}

TEST_F(HfTokenizerTest, EncodesFromSeveralThreads) {
  const auto tokenizer = load_tokenizer(folder());
  std::vector<std::thread> threads;
  std::atomic<int> right = 0;
  for (int i = 0; i < 4; ++i) {
    threads.emplace_back([&] {
      for (int k = 0; k < 200; ++k) right += tokenizer->encode("one two") == Ids{0, 2, 3};
    });
  }
  for (auto& thread : threads) thread.join();
  EXPECT_EQ(right, 800);
}

TEST_F(HfTokenizerTest, NamesTheFileThatIsBroken) {
  const std::vector<std::pair<std::string, std::string>> broken{
      {"tokenizer.json", "{\"version\": \"1.0\", "},
      {"tokenizer.json", ""},
      {"tokenizer.json", "{}"},
      {"tokenizer.json", "\xff\xfe"},
      {"tokenizer_config.json", "{"},
      {"tokenizer_config.json", "[]"},
      {"tokenizer_config.json", R"({"added_tokens_decoder": {"x": {"content": "a"}}})"},
      {"tokenizer_config.json", R"({"added_tokens_decoder": {"3": "a"}})"},
      {"tokenizer_config.json", R"({"chat_template": [{"name": "other", "template": ""}]})"},
      {"tokenizer_config.json", R"({"chat_template": 3})"},
      {"special_tokens_map.json", "nonsense"},
      {"generation_config.json", "\0"},
      {"config.json", "{\"a\": }"}};
  for (const auto& [name, text] : broken) {
    SCOPED_TRACE(name + ": " + text);
    const std::string before = testing::read_file(folder() / name);
    write(name, text);
    EXPECT_THAT(message_of<InputError>([&] { load_tokenizer(folder()); }), HasSubstr(name));
    write(name, before.empty() ? "{}" : before);
  }
}

TEST_F(HfTokenizerTest, SaysWhatItLookedForWhereTheTokenizerIsMissing) {
  std::filesystem::remove(folder() / "tokenizer.json");
  EXPECT_THAT(message_of<MissingInputError>([&] { load_tokenizer(folder()); }),
              HasSubstr((folder() / "tokenizer.json").string() + " does not exist"));
  write("tokenizer.model", "x");
  EXPECT_THAT(message_of<MissingInputError>([&] { load_tokenizer(folder()); }),
              AllOf(HasSubstr("tokenizer.model"), HasSubstr("save_pretrained")));
}

TEST_F(HfTokenizerTest, SaysHowToFetchWhatLooksLikeAHubId) {
  EXPECT_THAT(message_of<MissingInputError>([] { load_tokenizer("meta-llama/Llama-3.2-1B"); }),
              AllOf(HasSubstr("reads local folders"),
                    HasSubstr("hf download meta-llama/Llama-3.2-1B --local-dir Llama-3.2-1B")));
  const auto plain = message_of<MissingInputError>([&] { load_tokenizer(folder() / "no" / "x"); });
  EXPECT_THAT(plain, AllOf(HasSubstr("does not exist"), Not(HasSubstr("hf download"))));
  const auto file = message_of<MissingInputError>([&] { load_tokenizer(folder() / "tokenizer.json"); });
  EXPECT_THAT(file, HasSubstr("is a file"));
}

}  // namespace
}  // namespace hone
