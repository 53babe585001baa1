#include <array>
#include <ctime>

#include <gmock/gmock.h>

#include "core/hf_fixture.hpp"
#include "hone/core/error.hpp"
#include "hone/core/hf/hf_tokenizer.hpp"

namespace hone {
namespace {

using ::testing::HasSubstr;
using testing::message_of;

constexpr const char* kTokenizer = R"({
  "version": "1.0", "truncation": null, "padding": null, "normalizer": null, "added_tokens": [],
  "pre_tokenizer": null, "post_processor": null, "decoder": null,
  "model": {"type": "WordLevel", "unk_token": "<unk>", "vocab": {"<unk>": 0}}
})";

class HfChatTemplateTest : public testing::FolderTest {
 protected:
  void SetUp() override {
    FolderTest::SetUp();
    write("tokenizer.json", kTokenizer);
  }
  std::string render(std::string_view source, bool add_generation_prompt = false) {
    write("chat_template.jinja", source);
    return load_tokenizer(folder())->apply_chat_template(messages_, add_generation_prompt);
  }

  std::vector<ChatMessage> messages_{{"user", "Hi <b>"}, {"assistant", "Ho"}};
};

TEST_F(HfChatTemplateTest, RendersMessagesAndTheGenerationPrompt) {
  const std::string source =
      "{% for m in messages %}\n  {{ m.role }}: {{ m['content'] }}\n{% endfor %}\n"
      "{% if add_generation_prompt %}\nassistant:{% endif %}\n";
  EXPECT_EQ(render(source), "  user: Hi <b>\n  assistant: Ho\n");
  EXPECT_EQ(render(source, true), "  user: Hi <b>\n  assistant: Ho\nassistant:");
}

TEST_F(HfChatTemplateTest, KnowsTheSpecialTokens) {
  write("tokenizer_config.json", R"({"bos_token": "<s>", "eos_token": {"content": "</s>"},
                                     "image_token": "<i>"})");
  EXPECT_EQ(render("{{ bos_token }}{{ eos_token }}{{ image_token }}{{ pad_token is defined }}"),
            "<s></s><i>False");
}

TEST_F(HfChatTemplateTest, FileWinsOverConfiguration) {
  write("tokenizer_config.json", R"({"chat_template": "from the configuration"})");
  EXPECT_EQ(load_tokenizer(folder())->apply_chat_template({}, false), "from the configuration");
  EXPECT_EQ(render("from the file"), "from the file");
}

TEST_F(HfChatTemplateTest, TakesTheDefaultOfSeveral) {
  write("tokenizer_config.json",
        R"({"chat_template": [{"name": "rag", "template": "a"}, {"name": "default", "template": "b"}]})");
  EXPECT_EQ(load_tokenizer(folder())->apply_chat_template({}, false), "b");
}

TEST_F(HfChatTemplateTest, FormatsTheLocalTime) {
  constexpr const char* kFormat = "%d %b %Y %H:%M:%S";
  const auto format_now = [&] {
    const std::time_t now = std::time(nullptr);
    std::tm parts{};
    ::localtime_r(&now, &parts);
    std::array<char, 64> text{};
    std::strftime(text.data(), text.size(), kFormat, &parts);
    return std::string{text.data()};
  };
  write("chat_template.jinja", std::string{"{{ strftime_now('"} + kFormat + "') }}");
  const auto tokenizer = load_tokenizer(folder());
  // The second may turn between two calls, not twice in a row.
  for (int attempt = 0; attempt < 100; ++attempt) {
    const std::string before = format_now();
    const std::string text = tokenizer->apply_chat_template({}, false);
    if (before != format_now()) continue;
    EXPECT_EQ(text, before);
    return;
  }
  FAIL() << "the clock runs too fast";
}

TEST_F(HfChatTemplateTest, FormatsEmptyTimes) {
  EXPECT_EQ(render("[{{ strftime_now('') }}]"), "[]");
}

TEST_F(HfChatTemplateTest, ReportsWhatTheTemplateRaises) {
  EXPECT_THAT(message_of<InputError>([&] { render("\n{{ raise_exception('roles must alternate') }}"); }),
              AllOf(HasSubstr(folder().string()), HasSubstr("roles must alternate"),
                    HasSubstr("chat_template:2")));
}

TEST_F(HfChatTemplateTest, ReportsErrorsOfTheTemplate) {
  EXPECT_THAT(message_of<InputError>([&] { render("{{ messages[0].content.nope() }}"); }),
              HasSubstr("nope"));
  EXPECT_THAT(message_of<InputError>([&] { render("{{ missing.deeper }}"); }), HasSubstr("undefined"));
  EXPECT_THAT(message_of<InputError>([&] { render("{{ missing|tojson }}"); }), HasSubstr("tojson"));
}

TEST_F(HfChatTemplateTest, BrokenTemplateLeavesTheTokenizerUsable) {
  write("chat_template.jinja", "{% for m in messages %}");
  const auto tokenizer = load_tokenizer(folder());
  EXPECT_TRUE(tokenizer->has_chat_template());
  EXPECT_EQ(tokenizer->encode("x").size(), 1);
  EXPECT_THAT(message_of<InputError>([&] { tokenizer->apply_chat_template({}, false); }),
              HasSubstr("does not compile"));
}

TEST_F(HfChatTemplateTest, SaysThatThereIsNone) {
  const auto tokenizer = load_tokenizer(folder());
  EXPECT_FALSE(tokenizer->has_chat_template());
  EXPECT_THAT(message_of<InputError>([&] { tokenizer->apply_chat_template({}, false); }),
              HasSubstr("no chat template"));
}

TEST_F(HfChatTemplateTest, RefusesMessagesThatAreNotUtf8) {
  messages_[0].content = "\xc3";
  EXPECT_THAT(message_of<InputError>([&] { render("{{ messages[0].content }}"); }),
              HasSubstr("UTF-8"));
}

TEST_F(HfChatTemplateTest, EndlessRecursionIsAnError) {
  const auto message = message_of<InputError>(
      [&] { render("{% macro again() %}{{ again() }}{% endmacro %}{{ again() }}"); });
  EXPECT_THAT(message, HasSubstr("recursion"));
}

}  // namespace
}  // namespace hone
