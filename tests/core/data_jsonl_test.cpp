#include "hone/core/data/jsonl.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "fakes/temp_dir.hpp"
#include "hone/core/error.hpp"

namespace hone {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Not;

class JsonlTest : public ::testing::Test {
 protected:
  std::vector<TrainingRow> lines(std::string_view text, LineLimits limits = {}) {
    return read_training_rows(dir_.write("train.jsonl", text), limits);
  }
  std::vector<DataRow> rows(std::string_view text, LineLimits limits = {}) {
    std::vector<DataRow> rows;
    for (auto& line : lines(text, limits)) rows.push_back(std::move(line.data));
    return rows;
  }
  std::vector<PromptRow> prompts(std::string_view text) {
    return read_prompts(dir_.write("train.jsonl", text));
  }
  /// What the reader says about `text`, with its folder cut off.
  std::string complaint(std::string_view text, LineLimits limits = {}) {
    return message_of([&] { rows(text, limits); });
  }
  std::string prompt_complaint(std::string_view text) {
    return message_of([&] { prompts(text); });
  }

  hone::testing::TempDir dir_;

 private:
  template <typename Function>
  std::string message_of(Function&& read) {
    try {
      read();
    } catch (const InputError& error) {
      EXPECT_EQ(error.exit_code(), ExitCode::InvalidData);
      const std::string text = error.what();
      const auto at = text.find("train.jsonl");
      return at == std::string::npos ? "no file named in: " + text : text.substr(at);
    }
    return "no error";
  }
};

TEST_F(JsonlTest, ReadsTexts) {
  const auto read =
      rows("{\"text\": \"one\"}\n{\"text\": \"z\\u00e9ro \\ud83d\\ude00\", \"id\": 3}\n");
  ASSERT_EQ(read.size(), 2U);
  EXPECT_EQ(std::get<TextRow>(read[0]).text, "one");
  EXPECT_EQ(std::get<TextRow>(read[1]).text, "z\xC3\xA9ro \xF0\x9F\x98\x80");
}

TEST_F(JsonlTest, ReadsPromptsAndCompletionsAsTextAndAsMessages) {
  const auto read = rows(
      R"({"prompt": "1+1=", "completion": "2"})"
      "\n"
      R"({"prompt": [{"role": "user", "content": "hi"}],)"
      R"( "completion": [{"role": "assistant", "content": "ho"}]})");
  ASSERT_EQ(read.size(), 2U);
  EXPECT_EQ(std::get<std::string>(std::get<CompletionRow>(read[0]).completion), "2");
  const auto& turns = std::get<std::vector<ChatMessage>>(std::get<CompletionRow>(read[1]).prompt);
  ASSERT_EQ(turns.size(), 1U);
  EXPECT_EQ(turns[0].role, "user");
  EXPECT_EQ(turns[0].content, "hi");
}

TEST_F(JsonlTest, ReadsConversations) {
  const auto read = rows(R"({"messages": [{"role": "user", "content": "a", "name": null},)"
                         R"( {"role": "assistant", "content": ""}]})");
  const auto& messages = std::get<MessagesRow>(read.at(0)).messages;
  ASSERT_EQ(messages.size(), 2U);
  EXPECT_EQ(messages[1].role, "assistant");
  EXPECT_EQ(messages[1].content, "");
}

TEST_F(JsonlTest, ReadsTokens) {
  const auto read = rows(
      "{\"input_ids\": [1, 2147483647]}\n"
      "{\"input_ids\": [0, 5], \"attention_mask\": [0, 1], \"labels\": [-100, 5]}\n");
  ASSERT_EQ(read.size(), 2U);
  const auto& bare = std::get<TokensRow>(read[0]);
  EXPECT_THAT(bare.input_ids, ElementsAre(1, 2147483647));
  EXPECT_FALSE(bare.attention_mask.has_value());
  EXPECT_FALSE(bare.labels.has_value());
  const auto& full = std::get<TokensRow>(read[1]);
  EXPECT_THAT(full.attention_mask.value(), ElementsAre(0, 1));
  EXPECT_THAT(full.labels.value(), ElementsAre(-100, 5));
}

TEST_F(JsonlTest, SkipsBlankLinesByteOrderMarkAndCarriageReturns) {
  EXPECT_EQ(rows("\xEF\xBB\xBF\n  \t\r\n{\"text\": \"a\"}\r\n\n{\"text\": \"b\"}").size(), 2U);
}

TEST_F(JsonlTest, AMissingFileIsMissingInput) {
  EXPECT_THROW(read_training_rows(dir_.path() / "absent.jsonl"), MissingInputError);
  EXPECT_THROW(read_prompts(dir_.path() / "absent.jsonl"), MissingInputError);
}

TEST_F(JsonlTest, AFolderIsNotAFile) { EXPECT_THROW(read_training_rows(dir_.path()), InputError); }

TEST_F(JsonlTest, NamesLineAndByteOfBrokenJson) {
  EXPECT_THAT(complaint("{\"text\": \"a\"}\n\n{\"text\": oops}\n"),
              AllOf(HasSubstr("train.jsonl:3:10: not valid JSON"), HasSubstr("invalid literal"),
                    Not(HasSubstr("json.exception"))));
  EXPECT_THAT(complaint("{\"text\": \"a\"} {\"text\": \"b\"}"),
              HasSubstr("train.jsonl:1:15: not valid"));
  EXPECT_THAT(complaint("{\"text\": \"a"), HasSubstr("train.jsonl:1:"));
}

TEST_F(JsonlTest, SaysWhatToDoWithJsonThatIsNotJsonLines) {
  EXPECT_THAT(complaint("[\n {\"text\": \"a\"}\n]\n"),
              AllOf(HasSubstr("train.jsonl:1"), HasSubstr("jq -c")));
  EXPECT_THAT(complaint("{\n \"text\": \"a\"\n}\n"),
              AllOf(HasSubstr("train.jsonl:1"), HasSubstr("jq -c")));
  EXPECT_THAT(complaint("[{\"text\": \"a\"}]"), HasSubstr("found an array"));
  EXPECT_THAT(complaint("\"text\""), HasSubstr("expected a JSON object, found a string"));
}

TEST_F(JsonlTest, NamesTheKeysExpectedAndFound) {
  EXPECT_THAT(complaint("{\"prompt\": \"a\", \"response\": \"b\"}"),
              HasSubstr("train.jsonl:1: expected keys {text}, {prompt, completion}, {messages} or "
                        "{input_ids, attention_mask?, labels?}, found {prompt, response}"));
  EXPECT_THAT(complaint("{}"), HasSubstr("found {}"));
  EXPECT_THAT(complaint("{\"text\": \"a\", \"messages\": []}"),
              HasSubstr("holds both {text} and {messages}"));
}

TEST_F(JsonlTest, RefusesMixedForms) {
  EXPECT_THAT(
      complaint(
          "\n{\"messages\": [{\"role\": \"user\", \"content\": \"a\"}]}\n{\"text\": \"b\"}\n"),
      AllOf(HasSubstr("train.jsonl:3: expected keys {messages} as in "),
            HasSubstr("train.jsonl:2, found {text}")));
  EXPECT_THAT(
      complaint(R"({"prompt": "a", "completion": [{"role": "assistant", "content": "b"}]})"),
      HasSubstr("both be strings or both be lists"));
}

TEST_F(JsonlTest, RefusesAnEmptyFile) {
  EXPECT_THAT(complaint(""), HasSubstr("holds no rows"));
  EXPECT_THAT(complaint("\n \n"), HasSubstr("holds no rows"));
  EXPECT_THAT(prompt_complaint(""), HasSubstr("holds no rows"));
}

TEST_F(JsonlTest, RefusesBytesThatAreNotUtf8) {
  EXPECT_THAT(complaint("{\"text\": \"ok\"}\n{\"text\": \"caf\xE9\"}\n"),
              HasSubstr("train.jsonl:2:14: byte \\xe9 is not UTF-8"));
  // Overlong, surrogate, cut off.
  for (const char* bad : {"\xC0\xAF", "\xED\xA0\x80", "\xF0\x9F\x98", "\xF5\x80\x80\x80"}) {
    EXPECT_THAT(complaint(std::string{"{\"text\": \""} + bad + "\"}"), HasSubstr("is not UTF-8"));
  }
}

TEST_F(JsonlTest, RefusesNumbersOutOfRange) {
  for (const char* bad :
       {"-1", "2147483648", "18446744073709551615", "1.5", "\"3\"", "true", "null"}) {
    EXPECT_THAT(complaint(std::string{"{\"input_ids\": [1, "} + bad + "]}"),
                HasSubstr("train.jsonl:1: input_ids[1] must be a whole number in [0, 2147483647]"))
        << bad;
  }
  EXPECT_THAT(complaint("{\"input_ids\": [1e999]}"), HasSubstr("train.jsonl:1: not valid JSON"));
  EXPECT_THAT(complaint("{\"input_ids\": [1], \"attention_mask\": [2]}"),
              HasSubstr("attention_mask[0]"));
  EXPECT_THAT(complaint("{\"input_ids\": [1], \"labels\": [-1]}"), HasSubstr("or -100, found -1"));
  EXPECT_THAT(complaint("{\"input_ids\": []}"), HasSubstr("at least one"));
}

TEST_F(JsonlTest, KnowsWhereEachRowStandsAndWhatItWeighs) {
  const auto read = lines("{\"text\": \"a\"}\n\n{\"text\": \"b\", \"weight\": 0.25}\n");
  ASSERT_EQ(read.size(), 2U);
  EXPECT_EQ(read[0].weight, 1.0);
  EXPECT_EQ(read[1].weight, 0.25);
  EXPECT_THAT(read[1].where, HasSubstr("train.jsonl:3"));
  EXPECT_EQ(lines("{\"input_ids\": [1, 2], \"weight\": 0}")[0].weight, 0.0);
  for (const char* bad : {"-1", "\"1\"", "null", "true", "1e-40"}) {
    EXPECT_THAT(complaint(std::string{"{\"text\": \"a\", \"weight\": "} + bad + "}"),
                HasSubstr("train.jsonl:1: weight must be 0 or a number"))
        << bad;
  }
}

TEST_F(JsonlTest, RefusesAMisspeltKeyBesideInputIds) {
  EXPECT_THAT(complaint("{\"input_ids\": [1, 2], \"label\": [1, 2]}"),
              HasSubstr("unknown key \"label\""));
}

TEST_F(JsonlTest, RefusesMessagesItWouldHalfUnderstand) {
  EXPECT_THAT(complaint(R"({"messages": []})"), HasSubstr("at least one"));
  EXPECT_THAT(complaint(R"({"messages": [{"role": "user"}]})"),
              HasSubstr("messages[0] must be {role, content}, found {role}"));
  EXPECT_THAT(complaint(R"({"messages": [{"role": "user", "content": [{"type": "image"}]}]})"),
              HasSubstr("messages[0].content must be a string"));
  EXPECT_THAT(complaint(R"({"messages": [{"role": "", "content": "a"}]})"),
              HasSubstr("role is empty"));
  EXPECT_THAT(complaint(R"({"messages": [{"role": "a", "content": "b", "tool_calls": [1]}]})"),
              HasSubstr("tool_calls"));
  EXPECT_THAT(complaint(R"({"text": 3})"), HasSubstr("text must be a string, found 3"));
}

TEST_F(JsonlTest, RefusesAKeyThatComesTwice) {
  EXPECT_THAT(complaint(R"({"text": "a", "text": "b"})"),
              HasSubstr("train.jsonl:1: the key \"text\" comes twice"));
  EXPECT_EQ(rows(R"({"text": "a", "x": {"text": 1}, "y": [{"text": 2}, {"text": 3}]})").size(), 1U);
}

TEST_F(JsonlTest, CapsLineLengthAndDepth) {
  EXPECT_EQ(rows("{\"text\":\"aaaaaaa\"}", {.max_line_bytes = 18}).size(), 1U);
  EXPECT_THAT(complaint("{\"text\":\"a\"}\n{\"text\":\"aaaaaaaa\"}\n", {.max_line_bytes = 18}),
              HasSubstr("train.jsonl:2: the line is longer than 18 bytes"));
  const std::string deep = "{\"text\": \"a\", \"x\": " + std::string(100'000, '[');
  EXPECT_THAT(complaint(deep), HasSubstr("nested more than 64 levels deep"));
  EXPECT_EQ(rows("{\"text\":\"a\",\"x\":[[1]]}", {.max_depth = 3}).size(), 1U);
  EXPECT_THAT(complaint("{\"text\":\"a\",\"x\":[[1]]}", {.max_depth = 2}),
              HasSubstr("nested more than 2"));
}

TEST_F(JsonlTest, AMessageCarriesNoControlCharacterOfTheFile) {
  EXPECT_THAT(complaint("{\"te\x1b[31m\": 1}"), Not(HasSubstr("\x1b")));
  EXPECT_THAT(complaint(R"({"a\u001b[2Jb": 1})"),
              AllOf(Not(HasSubstr("\x1b")), HasSubstr("\\x1b")));
}

TEST_F(JsonlTest, ReadsPromptsWithTheirWholeRow) {
  const auto read = prompts(
      "\n{\"prompt\": \"1+1=\", \"answer\": 2.50}  \n"
      "{\"prompt\": [{\"role\": \"user\", \"content\": \"x\"}]}\n");
  ASSERT_EQ(read.size(), 2U);
  EXPECT_EQ(std::get<std::string>(read[0].prompt), "1+1=");
  EXPECT_THAT(read[0].json, HasSubstr("\"answer\": 2.50"));
  EXPECT_THAT(read[0].where, ::testing::EndsWith("train.jsonl:2"));
  EXPECT_EQ(std::get<std::vector<ChatMessage>>(read[1].prompt)[0].content, "x");
}

TEST_F(JsonlTest, APromptRowNeedsAPrompt) {
  EXPECT_THAT(prompt_complaint("{\"question\": \"a\"}"),
              AllOf(HasSubstr("expected the key prompt"), HasSubstr("found {question}")));
  EXPECT_THAT(prompt_complaint("{\"prompt\": 7}"), HasSubstr("prompt must be a string or a list"));
}

}  // namespace
}  // namespace hone
